//! What PCI itself defines of a device that user space owns through VFIO: its config space.

mod capability;
mod config;

pub use capability::{Capability, CapabilityId};
pub use config::{Command, ConfigSpace};
