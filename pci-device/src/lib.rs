//! What PCI itself defines of a device that user space owns through VFIO: its config space, and its BARs.

mod assigned;
pub mod bar;
mod capability;
mod config;
pub mod quirk;
pub mod virtual_config;
pub mod vmm;

pub use assigned::{
    AssignedDevice, MappedAccess, Notification, Notifications, ResetMethod, RomSource, Settings,
    Vmm, reset_guest,
};
pub use capability::{Capability, CapabilityId};
pub use config::{Command, ConfigSpace};
