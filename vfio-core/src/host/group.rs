//! IOMMU groups, as sysfs has them.

use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};
use crate::kernel::{Errno, Kernel};

use super::pci::{PciDevice, device};

const GROUPS: &str = "/sys/kernel/iommu_groups";

/// An IOMMU group: what can only be given away together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IommuGroup {
    /// Its number.
    pub id: u32,
    /// Its members that are PCI devices.
    pub devices: Vec<PciDevice>,
}

impl IommuGroup {
    /// The members that keep it from being viable.
    pub fn spoilers(&self) -> impl Iterator<Item = &PciDevice> {
        self.devices
            .iter()
            .filter(|device| device.spoils_its_group())
    }

    /// Whether user space can have it: some member is bound to VFIO, and none spoils it.
    pub fn is_ready(&self) -> bool {
        self.spoilers().next().is_none() && self.devices.iter().any(PciDevice::is_bound_to_vfio)
    }
}

/// Every group of this host, by number. None, if there is no IOMMU.
///
/// # Errors
/// What the kernel answered.
pub fn groups(kernel: &dyn Kernel) -> Result<Vec<IommuGroup>> {
    let names = match kernel.list(Path::new(GROUPS)) {
        Err(Errno::NOENT) => Vec::new(),
        names => names.map_err(|errno| Error::kernel("list", GROUPS, errno))?,
    };
    let mut ids: Vec<u32> = names
        .iter()
        .filter_map(|name| name.to_str()?.parse().ok())
        .collect();
    ids.sort_unstable();
    let found = ids.into_iter().map(|id| group(kernel, id));
    found.filter(|group| !is_gone(group)).collect()
}

/// One group of this host.
///
/// # Errors
/// What the kernel answered.
pub fn group(kernel: &dyn Kernel, id: u32) -> Result<IommuGroup> {
    let dir = PathBuf::from(format!("{GROUPS}/{id}/devices"));
    let names = kernel
        .list(&dir)
        .map_err(|errno| Error::kernel("list", dir.display().to_string(), errno).of_group(id))?;
    let devices = names
        .iter()
        .filter_map(|name| name.to_str()?.parse().ok()) // members that are not on PCI have other names
        .map(|bdf| device(kernel, bdf))
        .filter(|device| !is_gone(device))
        .collect::<Result<_>>()?;
    Ok(IommuGroup { id, devices })
}

/// Whether it was there when its name was read, and is no longer.
fn is_gone<T>(found: &Result<T>) -> bool {
    found.as_ref().is_err_and(|error| {
        error.kind() == ErrorKind::NoSuchDevice || error.errno() == Some(Errno::NOENT)
    })
}
