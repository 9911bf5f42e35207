//! The groups as data.

use schemars::JsonSchema;
use serde::Serialize;
use vfio_core::host::{IommuGroup, PciDevice};

use crate::host::About;
use crate::names::Names;

/// Every group of the host.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Report {
    pub(crate) schema_version: u32,
    #[serde(flatten)]
    pub(crate) about: About,
    pub(crate) groups: Vec<GroupRow>,
    /// The devices that no IOMMU translates for.
    pub(crate) without_group: Vec<DeviceRow>,
}

/// An IOMMU group.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct GroupRow {
    pub(crate) id: u32,
    /// Whether no member keeps it from being given away.
    pub(crate) viable: bool,
    /// Whether a device of it can be assigned as it is now: it is viable, and a member is bound to VFIO.
    pub(crate) ready: bool,
    pub(crate) devices: Vec<DeviceRow>,
}

/// A PCI device.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct DeviceRow {
    pub(crate) bdf: String,
    pub(crate) vendor: u16,
    pub(crate) device: u16,
    pub(crate) class: u32,
    /// Vendor and device, as people call them.
    pub(crate) name: Option<String>,
    /// What it is.
    pub(crate) class_name: Option<String>,
    pub(crate) driver: Option<String>,
    /// Whether its driver keeps the group from being assigned.
    pub(crate) in_the_way: bool,
}

/// Rows for all groups.
pub(crate) fn rows(groups: &[IommuGroup], names: &Names) -> Vec<GroupRow> {
    let row = |group: &IommuGroup| GroupRow {
        id: group.id,
        viable: group.spoilers().next().is_none(),
        ready: group.is_ready(),
        devices: group
            .devices
            .iter()
            .map(|device| DeviceRow::new(device, names))
            .collect(),
    };
    groups.iter().map(row).collect()
}

impl DeviceRow {
    pub(crate) fn new(device: &PciDevice, names: &Names) -> Self {
        Self {
            bdf: device.bdf.to_string(),
            vendor: device.vendor,
            device: device.device,
            class: device.class,
            name: names.device(device),
            class_name: names.class(device.class).map(str::to_owned),
            driver: device.driver.clone(),
            in_the_way: device.spoils_its_group(),
        }
    }

    /// What it is called, or else its numbers.
    pub(crate) fn title(&self) -> String {
        let numbers = format!("{:04x}:{:04x}", self.vendor, self.device);
        match &self.name {
            Some(name) => format!("{name} [{numbers}]"),
            None => numbers,
        }
    }
}
