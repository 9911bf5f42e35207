//! The way in: from the name of a device to the device.

use std::sync::Arc;

use crate::container::Container;
use crate::device::Device;
use crate::error::{Error, ErrorKind, Result};
use crate::group::{Group, OpenGroups, SharedGroup};
use crate::host::{self, Bdf, PciDevice};
use crate::iommu::{self, BackendReport, Registry};
use crate::kernel::{Errno, Kernel, Linux};

/// VFIO on one kernel, with the backends that may be chosen.
#[derive(Debug)]
pub struct Vfio {
    kernel: Arc<dyn Kernel>,
    registry: Registry,
    groups: Arc<OpenGroups>,
}

impl Vfio {
    /// VFIO on the kernel that runs, with every backend that is linked into this program.
    ///
    /// # Errors
    /// [`ErrorKind::Registry`]: no backend is linked.
    pub fn new() -> Result<Self> {
        Ok(Self::on(Arc::new(Linux), Registry::linked()?))
    }

    /// VFIO on that kernel, with those backends.
    pub fn on(kernel: Arc<dyn Kernel>, registry: Registry) -> Self {
        Self {
            kernel,
            registry,
            groups: Arc::default(),
        }
    }

    /// The kernel.
    pub fn kernel(&self) -> &Arc<dyn Kernel> {
        &self.kernel
    }

    /// The backends that may be chosen.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Asks the kernel which backends it advertises. Attaches nothing, changes nothing.
    ///
    /// # Errors
    /// [`ErrorKind::NoVfio`], [`ErrorKind::NotPermitted`]: the container cannot be opened.
    pub fn probe(&self) -> Result<Vec<BackendReport>> {
        iommu::probe(&self.kernel, &self.registry)
    }

    /// Puts an idle group into a fresh container for each backend in turn, asks what only then can be
    /// asked, and takes it out again.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchDevice`]: there is no such group. [`ErrorKind::NotBound`],
    /// [`ErrorKind::NotViable`], [`ErrorKind::NoVfio`], [`ErrorKind::NotPermitted`], [`ErrorKind::Busy`];
    /// [`ErrorKind::Kernel`]: among others, the group was not released.
    pub fn verify(&self, group: u32) -> Result<Vec<BackendReport>> {
        self.check_bound(group)?;
        iommu::verify(&self.kernel, &self.registry, group)
    }

    /// Whether a group is there and has a member that is bound to VFIO, as far as sysfs tells.
    fn check_bound(&self, id: u32) -> Result<()> {
        let error = |kind| Error::new(kind, "verify", format!("group {id}")).of_group(id);
        let group = host::group(&*self.kernel, id).map_err(|why| match why.errno() {
            Some(Errno::NOENT) => {
                error(ErrorKind::NoSuchDevice).because(format!("group {id} is not there"))
            }
            _ => why,
        })?;
        if group.devices.iter().any(PciDevice::is_bound_to_vfio) {
            return Ok(());
        }
        let members: Vec<_> = group.devices.iter().map(ToString::to_string).collect();
        Err(error(ErrorKind::NotBound).because(if members.is_empty() {
            "it has no PCI device".to_owned()
        } else {
            format!(
                "no member is bound to a VFIO driver: {}",
                members.join(", ")
            )
        }))
    }

    /// Opens a device that is bound to a VFIO driver: its group goes into a container (unless a device of
    /// the group is open already), which gets the preferred backend that the kernel does not refuse.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchDevice`], [`ErrorKind::NoGroup`], [`ErrorKind::NotBound`],
    /// [`ErrorKind::NotViable`], [`ErrorKind::NoVfio`], [`ErrorKind::NotPermitted`],
    /// [`ErrorKind::Busy`], [`ErrorKind::NoBackend`]; otherwise what the kernel answered. Then everything
    /// is as it was.
    pub fn open(&self, bdf: Bdf) -> Result<Device> {
        let device = host::device(&*self.kernel, bdf)?;
        let id = self.assignable_group(&device)?;
        let group = self
            .shared_group(id)
            .map_err(|error| error.of_device(bdf))?;
        Device::open(group, bdf)
    }

    /// The group of a device that could be opened as far as sysfs tells.
    fn assignable_group(&self, device: &PciDevice) -> Result<u32> {
        let error = |kind| Error::new(kind, "open", device.bdf.to_string()).of_device(device.bdf);
        let group = device.group.ok_or_else(|| {
            error(ErrorKind::NoGroup).because("it has no IOMMU group: no IOMMU translates its DMA")
        })?;
        if !device.is_bound_to_vfio() {
            let why = match &device.driver {
                Some(driver) => format!("it is bound to {driver}, not to a VFIO driver"),
                None => "it is bound to no driver; it must be bound to a VFIO driver".to_owned(),
            };
            return Err(error(ErrorKind::NotBound).of_group(group).because(why));
        }
        Ok(group)
    }

    /// The group in its container, shared by all its open devices.
    fn shared_group(&self, id: u32) -> Result<Arc<SharedGroup>> {
        self.groups.share(id, || {
            // The container first, so that VFIO's absence is said as that.
            let container = Container::open(&self.kernel)?;
            let group = Group::open(&self.kernel, id)?;
            iommu::attach(&self.registry, &container, group)
        })
    }
}
