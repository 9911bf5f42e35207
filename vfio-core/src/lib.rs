//! Linux VFIO: a PCI device for a user-space program, safely, through whichever IOMMU the host has.
pub mod address;
pub mod call;
mod container;
pub mod device;
pub mod diagnosis;
mod error;
mod group;
pub mod host;
pub mod info_chain;
pub mod iommu;
pub mod kernel;
mod memory;
pub mod uapi;
mod vfio;

pub use container::{CONTAINER_NODE, Container};
pub use device::Device;
pub use error::{Answer, Error, ErrorKind, Result};
pub use group::group_node;
pub use inventory;
pub use memory::Register;
pub use vfio::Vfio;
