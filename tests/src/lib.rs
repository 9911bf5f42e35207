//! Suites that run against a real VFIO kernel, and the device drivers that they use.
//!
//! `hardware-tests` is the program. It runs in the lab's machines and on anybody's own: a device that
//! [`devices`] has a driver for does DMA and raises interrupts, and [`suites`] says what that proves; any
//! other device is attached, its memory mapped, its regions read, its interrupts fired by the kernel. What a host has
//! to be given for it (a driver, a node, a limit), and in which order, is in the README.
//!
//! Simulated machines need nothing of that: `cargo run -p vfio-tests --bin hardware-tests -- --sim x86_64` takes about
//! five seconds.
//!
//! Every byte that is moved is random and of this run, and it is compared on the side that chose it.
//!
//! # A first program
//!
//! `first-dma` is a driver in thirty lines, without `unsafe` and without a word about the architecture:
//!
//! ```no_run
#![doc = include_str!("bin/first-dma.rs")]
//! ```

pub mod assigned;
pub mod conformance;
pub mod contract;
pub mod devices;
pub mod differential;
mod engine;
pub mod exit;
pub mod guest;
mod mirror;
pub mod numbers;
mod output;
mod random;
pub mod recording;
mod rights;
mod shared_memory;
pub mod suites;
pub mod tce;
mod wait;

pub use output::{compared, header, simulated};
pub use shared_memory::SharedMemory;

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
