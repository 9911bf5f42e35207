//! BARs: layouts of any shape, registers under any writes, MSI-X at any place, and devices on simulated kernels.
#![allow(clippy::unwrap_used)] // A test that cannot go on has failed.

mod capability;
mod described;
mod devices;
mod layout;
mod malformed;
mod registers;
mod relocation;
mod shapes;
