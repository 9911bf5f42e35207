//! Machines, described as data.

use vfio_core::kernel::Errno;

/// A host: its kernel, its IOMMUs, its devices.
///
/// [`x86_64`](Self::x86_64), [`aarch64`](Self::aarch64), [`pseries`](Self::pseries) and
/// [`powernv9`](Self::powernv9) are ready; another host is one of them with other fields:
///
/// ```
/// use vfio_sim::Machine;
/// use vfio_sim::machine::{Device, Group};
///
/// let shared = Group::new(
///     5,
///     [
///         Device::edu("0000:00:01.0"),
///         Device::nvme("0000:00:02.0").driven_by("nvme"),
///     ],
/// );
/// assert!(!shared.is_viable());
/// let host = Machine {
///     groups: vec![shared],
///     ..Machine::x86_64()
/// };
/// # let _ = host;
/// ```
#[derive(Debug, Clone)]
pub struct Machine {
    /// What it is called.
    pub name: String,
    /// The architecture, as `uname` names it: `ppc64le`.
    pub arch: String,
    /// The release of its kernel, as `uname` names it: `6.12.95`.
    pub release: String,
    /// The size of a page in bytes.
    pub page_size: usize,
    /// What opening `/dev/vfio/vfio` answers: `ENOENT` where VFIO is missing.
    pub container_node: Result<(), Errno>,
    /// The IOMMU drivers of its VFIO.
    pub iommus: Vec<IommuDriver>,
    /// Its IOMMU groups.
    pub groups: Vec<Group>,
    /// The devices that no IOMMU translates for.
    pub ungrouped: Vec<Device>,
}

impl Machine {
    /// The same, but `VFIO_SET_IOMMU` refuses a type that is advertised, as pseries refuses sPAPR v2 with
    /// `EINVAL` where it has no dynamic windows. (What is not advertised is refused anyway.)
    #[must_use]
    pub fn refuse(mut self, extension: u32, errno: Errno) -> Self {
        for known in self
            .iommus
            .iter_mut()
            .flat_map(|iommu| &mut iommu.extensions)
        {
            if known.number == extension {
                known.set_iommu = Err(errno);
            }
        }
        self
    }

    pub(crate) fn group(&self, id: u32) -> Option<&Group> {
        self.groups.iter().find(|group| group.id == id)
    }
}

/// A driver that VFIO has for one kind of IOMMU: type1 or sPAPR.
#[derive(Debug, Clone)]
pub struct IommuDriver {
    /// What it answers `VFIO_CHECK_EXTENSION` with 1 for.
    pub extensions: Vec<Extension>,
}

impl IommuDriver {
    /// What `VFIO_SET_IOMMU` of that type answers; `None` if it is not advertised.
    pub(crate) fn set_iommu(&self, number: usize) -> Option<Result<(), Errno>> {
        self.extensions
            .iter()
            .find(|extension| usize::try_from(extension.number) == Ok(number))
            .map(|extension| extension.set_iommu)
    }
}

/// An extension that is advertised.
#[derive(Debug, Clone, Copy)]
pub struct Extension {
    /// Its number.
    pub number: u32,
    /// What `VFIO_SET_IOMMU` answers when it is asked for as a type: some are none, some are refused.
    pub set_iommu: Result<(), Errno>,
}

/// An IOMMU group.
#[derive(Debug, Clone)]
pub struct Group {
    /// Its number.
    pub id: u32,
    /// Its members.
    pub devices: Vec<Device>,
    /// What opening `/dev/vfio/ID` answers, if a member is bound to VFIO; without one, there is no node.
    pub node: Result<(), Errno>,
}

impl Group {
    /// A group whose node may be opened.
    pub fn new(id: u32, devices: impl IntoIterator<Item = Device>) -> Self {
        Self {
            id,
            devices: devices.into_iter().collect(),
            node: Ok(()),
        }
    }

    /// Whether no member belongs to a driver that does DMA on the kernel's behalf.
    pub fn is_viable(&self) -> bool {
        !self.devices.iter().any(Device::belongs_to_the_kernel)
    }
}

/// A PCI device.
#[derive(Debug, Clone)]
pub struct Device {
    /// Where it is, as sysfs names it: `0000:00:1f.2`.
    pub bdf: String,
    /// Its vendor id.
    pub vendor: u16,
    /// Its device id.
    pub device: u16,
    /// Its class code: base class, subclass, programming interface.
    pub class: u32,
    /// The driver that it is bound to.
    pub driver: Option<String>,
}

impl Device {
    /// QEMU's `edu`, bound to `vfio-pci`.
    pub fn edu(bdf: &str) -> Self {
        Self {
            bdf: bdf.into(),
            vendor: 0x1234,
            device: 0x11e8,
            class: 0x00_ff00,
            driver: Some("vfio-pci".into()),
        }
    }

    /// QEMU's `nvme`, bound to `vfio-pci`.
    pub fn nvme(bdf: &str) -> Self {
        Self {
            bdf: bdf.into(),
            vendor: 0x1b36,
            device: 0x0010,
            class: 0x01_0802,
            driver: Some("vfio-pci".into()),
        }
    }

    /// The same, bound to another driver.
    #[must_use]
    pub fn driven_by(self, driver: &str) -> Self {
        Self {
            driver: Some(driver.into()),
            ..self
        }
    }

    /// The same, bound to no driver.
    #[must_use]
    pub fn unbound(self) -> Self {
        Self {
            driver: None,
            ..self
        }
    }

    pub(crate) fn is_bound_to_vfio(&self) -> bool {
        self.driver
            .as_ref()
            .is_some_and(|driver| driver.contains("vfio"))
    }

    /// Drivers that do no DMA themselves leave the group to user space (`driver_managed_dma`).
    fn belongs_to_the_kernel(&self) -> bool {
        match self.driver.as_deref() {
            None | Some("pci-stub" | "pcieport") => false,
            Some(_) => !self.is_bound_to_vfio(),
        }
    }
}
