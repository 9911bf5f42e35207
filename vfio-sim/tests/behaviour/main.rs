//! The simulated kernel answers as Linux does; the numbers are those of the page of kernel behaviours.
#![allow(clippy::unwrap_used, clippy::panic)] // a test that cannot be set up must fail

mod container;
mod door;
mod fds;
mod group;
mod host_tree;
mod machines;
