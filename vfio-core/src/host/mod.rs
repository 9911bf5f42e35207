//! What sysfs and proc say of PCI devices, IOMMU groups, the IOMMU and the host. Nothing here opens a node or changes
//! anything.

mod acs;
mod bars;
mod bdf;
mod bridge;
mod distribution;
mod group;
mod holders;
mod interfaces;
mod iommu;
mod pci;
mod power;
mod process;
mod reserved;
mod text;
mod topology;
mod version;

pub use acs::{Acs, acs};
pub use bars::{HostBar, bars, unassigned_ports};
pub use bdf::{Bdf, ParseBdfError};
pub use bridge::{BridgeWindow, BusSpace, IoSpace, bridge_windows, has_fixed_window, io_space};
pub use distribution::Distribution;
pub use group::{IommuGroup, group, groups};
pub(crate) use holders::holders_of;
pub use holders::{Holder, Holders, holders};
pub(crate) use interfaces::parameter_file;
pub use interfaces::{Interfaces, device_node, module_parameter};
pub use iommu::{
    boot_arguments, firmware_table, interrupt_remapping, iommu_kind, iommus, vtd_address_bits,
};
pub(crate) use iommu::{is_x86, switched_off};
pub use pci::{PciDevice, device};
pub(crate) use power::attribute_file;
pub use power::{attribute, is_dead, reset_methods};
pub use process::User;
pub(crate) use reserved::reserved_file;
pub use reserved::{ReservedRegion, reserved_regions};
pub(crate) use text::{exists, text};
pub(crate) use topology::{Placed, below, with_bridges};
pub use topology::{bridges_above, devices, physical_function, reset_with_the_bus};
pub(crate) use version::kernel_version;
