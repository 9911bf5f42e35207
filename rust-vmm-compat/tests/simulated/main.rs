//! What devices of a simulated machine reach of guest memory that `vm-memory` describes.

mod board;
#[cfg(feature = "vfio-ioctls")]
mod domain_ops;
mod guest_ram;
