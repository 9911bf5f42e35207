//! BARs: layouts of any shape, registers under any writes, and the shapes of devices on simulated kernels.
#![allow(clippy::unwrap_used)] // A test that cannot go on has failed.

mod devices;
mod layout;
mod registers;
mod shapes;
