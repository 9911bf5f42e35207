//! What devices of a simulated machine reach of guest memory that `vm-memory` describes.
#![allow(clippy::unwrap_used, clippy::panic)] // a test that cannot be set up must fail

mod board;
#[cfg(feature = "vfio-ioctls")]
mod domain_ops;
mod guest_ram;
