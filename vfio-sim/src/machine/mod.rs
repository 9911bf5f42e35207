//! Machines, described as data.

pub mod config_space;
mod device;
mod iommu;
mod lab;
mod profile;

use std::path::PathBuf;

use vfio_core::host::PciDevice;
use vfio_core::kernel::Errno;

pub use device::{Bar, BarKind, Device, Interrupts, MakeModel, Msix, Sriov};
pub use iommu::{Hardware, IommuDriver, Platform, Spapr, Type1};
pub(crate) use profile::Profile;

/// A host: its kernel, its IOMMUs, its devices.
///
/// [`x86_64`](Self::x86_64), [`aarch64`](Self::aarch64), [`pseries`](Self::pseries), [`powernv9`](Self::powernv9),
/// [`powernv8`](Self::powernv8) and [`noiommu`](Self::noiommu) are ready; another host is one of them with other
/// fields:
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
    /// The release of its kernel, as `uname` names it: `6.12.95`. What differs between versions follows it.
    pub release: String,
    /// The size of a page in bytes.
    pub page_size: usize,
    /// Whether MSI-X vectors can be added while others are in use, if the kernel can do that.
    pub dynamic_msix: bool,
    /// How many MSI a device gets at most, however many it offers; `None`: all of them.
    pub most_msi: Option<u32>,
    /// Whether there is I/O space; without it, VFIO shows nothing of a BAR of ports.
    pub io_space: bool,
    /// What opening `/dev/vfio/vfio` answers: `ENOENT` where VFIO is missing.
    pub container_node: Result<(), Errno>,
    /// The IOMMU drivers of its VFIO.
    pub iommus: Vec<IommuDriver>,
    /// Its IOMMU groups.
    pub groups: Vec<Group>,
    /// The devices that no IOMMU translates for.
    pub ungrouped: Vec<Device>,
    /// Whether there is KVM, with its VFIO device and, on sPAPR, TCE tables; otherwise opening `/dev/kvm` answers
    /// `ENOENT`.
    pub kvm: bool,
}

impl Machine {
    /// The same, but `VFIO_SET_IOMMU` refuses a type that is advertised. (What is not advertised is refused
    /// anyway.)
    #[must_use]
    pub fn refuse(mut self, extension: u32, errno: Errno) -> Self {
        for iommu in &mut self.iommus {
            iommu.refuses.insert(0, (extension, errno));
        }
        self
    }

    /// The same with KVM.
    #[must_use]
    pub fn with_kvm(self) -> Self {
        Self { kvm: true, ..self }
    }

    /// The same, but its hardware freezes what has made an error, as real hardware does and QEMU's does not (D58), where it
    /// isolates errors at all.
    #[must_use]
    pub fn freezing(mut self) -> Self {
        for iommu in &mut self.iommus {
            if let Hardware::Spapr(hardware) = &mut iommu.hardware {
                hardware.freezes = hardware.eeh;
            }
        }
        self
    }

    /// The same with other devices in its first group, and no other groups.
    #[must_use]
    pub fn with_devices(mut self, devices: impl IntoIterator<Item = Device>) -> Self {
        let id = self.groups.first().map_or(0, |group| group.id);
        let without_iommu = self.groups.first().is_some_and(|group| group.without_iommu);
        self.groups = vec![Group {
            without_iommu,
            ..Group::new(id, devices)
        }];
        self
    }

    /// What there is of the same kind as a device of a host.
    pub fn device_like(&self, device: &PciDevice) -> Option<&Device> {
        let mut known = self.groups.iter().flat_map(|group| &group.devices);
        known.find(|it| (it.vendor, it.device) == (device.vendor, device.device))
    }

    pub(crate) fn profile(&self) -> Profile {
        Profile::of(&self.release)
    }

    /// A device of a group, by name.
    pub(crate) fn device(&self, bdf: &str) -> Option<&Device> {
        let mut devices = self.groups.iter().flat_map(|group| &group.devices);
        devices.find(|device| device.bdf == bdf)
    }

    /// Whether a program can map a BAR of a device: it is memory, and either as large as a page, or starts one that
    /// nothing else is in (F76). A BAR whose address is not described has its page to itself.
    pub fn is_mappable(&self, device: &Device, number: usize) -> bool {
        let Some(bar) = device.bar(number).filter(|bar| bar.is_memory_space()) else {
            return false;
        };
        let page = self.page_size as u64;
        let start = device.address(number);
        if bar.size >= page || start == 0 {
            return true;
        }
        let rest = start + bar.size..start + page;
        let groups = self.groups.iter();
        let mut others = groups
            .flat_map(|group| &group.devices)
            .filter(|other| other.domain() == device.domain())
            .flat_map(|other| {
                let bars = (0..other.bars.len())
                    .filter(|n| other.bar(*n).is_some_and(Bar::is_memory_space));
                bars.map(|n| other.address(n))
            });
        start % page == 0 && !others.any(|other| rest.contains(&other))
    }

    /// Whether MSI-X vectors can be added while others are in use: the hardware can, and this Linux does.
    pub fn can_grow_msix(&self) -> bool {
        self.dynamic_msix && self.profile().grows_msix(&self.arch)
    }

    /// Whether a device cannot read what is mapped for it to be written alone: the IOMMU can do that, and this Linux
    /// asks for it.
    pub fn has_write_only(&self) -> bool {
        let can = |iommu: &IommuDriver| match &iommu.hardware {
            Hardware::Type1(type1) => type1.has_write_only && self.profile().keeps_write_only(),
            Hardware::Spapr(spapr) => matches!(spapr.platform, Platform::Pseries { .. }),
            Hardware::None => false,
        };
        self.iommus.iter().any(can)
    }

    /// Whether the kernel puts a device to sleep (D3hot) when a program asks for it in config space: powernv's does not.
    pub fn lets_devices_sleep(&self) -> bool {
        let is_powernv = |iommu: &IommuDriver| match &iommu.hardware {
            Hardware::Spapr(spapr) => matches!(spapr.platform, Platform::Powernv),
            _ => false,
        };
        !self.iommus.iter().any(is_powernv)
    }

    /// Whether the kernel can reset a device alone: in a way of its own, or with the bus that it is alone on.
    pub fn can_reset(&self, device: &Device) -> bool {
        device.function_reset || self.on_reset_bus_of(device) == 1
    }

    /// How many devices are reset with the bus of a device, this one among them; 0 if its bus cannot be reset.
    pub fn on_reset_bus_of(&self, device: &Device) -> usize {
        let devices = self.groups.iter().flat_map(|group| &group.devices);
        let there = devices.filter(|other| device.reset_bus == other.reset_bus);
        device.reset_bus.map_or(0, |_| there.count())
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
    /// Whether there is no IOMMU behind it: VFIO made the group up, and calls its node `noiommu-ID`.
    pub without_iommu: bool,
}

impl Group {
    /// A group whose node may be opened.
    pub fn new(id: u32, devices: impl IntoIterator<Item = Device>) -> Self {
        Self {
            id,
            devices: devices.into_iter().collect(),
            node: Ok(()),
            without_iommu: false,
        }
    }

    /// The same without an IOMMU.
    #[must_use]
    pub fn without_iommu(self) -> Self {
        Self {
            without_iommu: true,
            ..self
        }
    }

    /// Its node.
    pub(crate) fn path(&self) -> PathBuf {
        match self.without_iommu {
            false => vfio_core::group_node(self.id),
            true => PathBuf::from(format!("/dev/vfio/noiommu-{}", self.id)),
        }
    }

    /// Whether no member belongs to a driver that does DMA on the kernel's behalf.
    pub fn is_viable(&self) -> bool {
        !self.devices.iter().any(Device::belongs_to_the_kernel)
    }
}
