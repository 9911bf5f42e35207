//! What sysfs says of PCI devices and IOMMU groups. Nothing here changes anything.

mod bdf;
mod bridge;
mod group;
mod pci;

pub use bdf::{Bdf, ParseBdfError};
pub use bridge::{BridgeWindow, BusSpace, IoSpace, bridge_windows, io_space};
pub use group::{IommuGroup, group, groups};
pub use pci::{PciDevice, device};
