//! Hosts that were captured, and what somebody may send in their place: the program with `--root`.
#![allow(clippy::unwrap_used, clippy::panic)] // A test that cannot go on has failed.

mod answers;
mod archives;
mod hosts;
mod names;
mod secrets;
mod trees;
