//! The ways in to VFIO that the running kernel has. Asking opens nothing: opening a node can load a module.

use std::path::{Path, PathBuf};

use crate::kernel::Kernel;

use super::Bdf;
use super::power::attribute_file;
use super::text::{exists, names, text};

/// Which interfaces of VFIO are there now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interfaces {
    /// Containers and groups (`/dev/vfio/vfio`, `/dev/vfio/N`).
    pub container: bool,
    /// A character device for each device (`/dev/vfio/devices/vfioN`); seen only where a device is bound.
    pub cdev: bool,
    /// `/dev/iommu`.
    pub iommufd: bool,
    /// Whether any part of VFIO for PCI devices is there.
    pub pci_driver: bool,
}

impl Interfaces {
    /// What the host has.
    pub fn of(kernel: &dyn Kernel) -> Self {
        let has_node = |dir: &str| {
            let dirs = names(kernel, dir).unwrap_or_default();
            dirs.iter()
                .any(|name| exists(kernel, format!("{dir}/{name}/dev")))
        };
        Self {
            container: exists(kernel, "/sys/class/misc/vfio"),
            cdev: has_node("/sys/class/vfio-dev"),
            iommufd: exists(kernel, "/sys/class/misc/iommu"),
            pci_driver: exists(kernel, "/sys/bus/pci/drivers/vfio-pci"),
        }
    }
}

/// The node of a device that is bound to VFIO, by itself, which iommufd wants: `/dev/vfio/devices/vfio0`. Whether the
/// kernel has such nodes, another question answers; sysfs names them all the same.
pub fn device_node(kernel: &dyn Kernel, bdf: Bdf) -> Option<PathBuf> {
    let names = names(kernel, attribute_file(bdf, "vfio-dev")).ok()?;
    Some(Path::new("/dev/vfio/devices").join(names.first()?))
}

/// What a parameter of a loaded module says; `None` if the module or the parameter is not there, or may not be read.
pub fn module_parameter(kernel: &dyn Kernel, module: &str, name: &str) -> Option<String> {
    text(kernel, parameter_file(module, name)).ok()
}

/// Where a parameter of a loaded module is.
pub(crate) fn parameter_file(module: &str, name: &str) -> String {
    format!("/sys/module/{module}/parameters/{name}")
}
