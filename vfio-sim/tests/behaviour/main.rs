//! The simulated kernel answers as Linux does; the numbers are those of the page of kernel behaviours.
#![allow(clippy::unwrap_used, clippy::panic)] // a test that cannot be set up must fail

mod binding;
mod config;
mod container;
mod device;
mod dma;
mod door;
mod fds;
mod group;
mod host_tree;
mod irqs;
mod isolation;
mod kvm;
mod machines;
mod memlock;
mod memory;
mod model;
mod noiommu;
mod present;
mod probe;
mod profiles;
mod reset;
mod rig;
mod spapr;
