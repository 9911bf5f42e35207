//! Machines, described as data.

mod device;
mod iommu;
mod lab;

use vfio_core::kernel::Errno;

pub use device::Device;
pub use iommu::{Extension, IommuDriver};

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
