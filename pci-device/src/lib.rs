//! What PCI itself defines of a device that user space owns through VFIO: its config space, and its BARs.

pub mod bar;
mod capability;
mod config;

pub use capability::{Capability, CapabilityId};
pub use config::{Command, ConfigSpace};
