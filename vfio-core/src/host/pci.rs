//! One PCI device, as sysfs has it.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};
use crate::kernel::{Errno, Kernel};

use super::Bdf;
use super::text::link_name;

/// What sysfs says of a PCI device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PciDevice {
    /// Where it is.
    pub bdf: Bdf,
    /// Its vendor id.
    pub vendor: u16,
    /// Its device id.
    pub device: u16,
    /// Its class code: base class, subclass, programming interface.
    pub class: u32,
    /// The driver that it is bound to.
    pub driver: Option<String>,
    /// Its IOMMU group.
    pub group: Option<u32>,
    /// The NUMA node that it is next to, where the host has several and says so.
    pub numa_node: Option<u32>,
}

impl PciDevice {
    /// Whether it is bound to a VFIO driver: `vfio-pci`, or a vendor's variant of it, all of which have
    /// `vfio` in their name.
    pub fn is_bound_to_vfio(&self) -> bool {
        self.driver
            .as_ref()
            .is_some_and(|name| name.contains("vfio"))
    }

    /// Whether it keeps its group from being viable: it belongs to a driver of the kernel's own.
    /// Drivers that leave DMA to others (`vfio-pci`, `pci-stub`, `pcieport`) do not.
    pub fn spoils_its_group(&self) -> bool {
        match self.driver.as_deref() {
            None | Some("pci-stub" | "pcieport") => false,
            Some(_) => !self.is_bound_to_vfio(),
        }
    }
}

impl fmt::Display for PciDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let driver = self.driver.as_deref().unwrap_or("no driver");
        write!(f, "{} ({driver})", self.bdf)
    }
}

/// Where sysfs has the device.
fn directory(bdf: Bdf) -> PathBuf {
    PathBuf::from(format!("/sys/bus/pci/devices/{bdf}"))
}

/// Looks a device up.
///
/// # Errors
/// [`ErrorKind::NoSuchDevice`]; what the kernel answered.
pub fn device(kernel: &dyn Kernel, bdf: Bdf) -> Result<PciDevice> {
    let dir = directory(bdf);
    let failed = |file: &str, errno| match errno {
        Errno::NOENT | Errno::NOTDIR => {
            let operation = "look up PCI device";
            Error::new(ErrorKind::NoSuchDevice, operation, bdf.to_string())
                .because(format!("{} is not there", dir.display()))
                .of_device(bdf)
        }
        errno => Error::kernel("read", dir.join(file).display().to_string(), errno).of_device(bdf),
    };
    let id = |file| hex_file(kernel, &dir.join(file)).map_err(|errno| failed(file, errno));
    let link = |file| link_name(kernel, dir.join(file)).map_err(|errno| failed(file, errno));
    Ok(PciDevice {
        bdf,
        vendor: u16::try_from(id("vendor")?).unwrap_or(u16::MAX),
        device: u16::try_from(id("device")?).unwrap_or(u16::MAX),
        class: id("class")?,
        driver: link("driver")?,
        group: link("iommu_group")?.and_then(|name| name.parse().ok()),
        numa_node: numa_node(kernel, &dir),
    })
}

/// The kernel says -1 for none; one without NUMA has no such file.
fn numa_node(kernel: &dyn Kernel, dir: &Path) -> Option<u32> {
    let bytes = kernel.read(&dir.join("numa_node")).ok()?;
    std::str::from_utf8(&bytes).ok()?.trim().parse().ok()
}

/// A file with one hexadecimal number.
fn hex_file(kernel: &dyn Kernel, path: &Path) -> std::result::Result<u32, Errno> {
    let bytes = kernel.read(path)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| Errno::INVAL)?;
    let digits = text.trim().trim_start_matches("0x");
    u32::from_str_radix(digits, 16).map_err(|_| Errno::INVAL)
}
