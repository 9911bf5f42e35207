//! The way in: from the name of a device to the device.

use std::sync::Arc;

use crate::address_space::{AddressSpaceId, AddressSpaces};
use crate::device::{Device, VfToken};
use crate::error::{Error, ErrorKind, Result};
use crate::group::{OpenGroups, Shared};
use crate::host::{self, Bdf, PciDevice};
use crate::iommu::{self, Attachment, BackendReport, Domain, Registry, Road};
use crate::kernel::{Errno, Kernel, Linux};

/// VFIO on one kernel, with the backends that may be chosen.
#[derive(Debug)]
pub struct Vfio {
    kernel: Arc<dyn Kernel>,
    registry: Registry,
    groups: Arc<OpenGroups>,
    spaces: AddressSpaces,
}

/// How a device is to be opened.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenOptions {
    pub(crate) space: Option<AddressSpaceId>,
    pub(crate) vf_token: Option<VfToken>,
}

impl OpenOptions {
    /// In that address space: its group joins a container of it if the kernel lets it, and gets one of its own
    /// otherwise.
    #[must_use]
    pub fn in_space(mut self, space: AddressSpaceId) -> Self {
        self.space = Some(space);
        self
    }

    /// With the token that its physical function was given.
    #[must_use]
    pub fn with_vf_token(mut self, token: VfToken) -> Self {
        self.vf_token = Some(token);
        self
    }
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
            spaces: AddressSpaces::default(),
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

    /// Opens a device that is bound to a VFIO driver, in an address space of its own, unless a device of its
    /// group is open already: its group goes into a container, which gets the preferred backend that the kernel
    /// does not refuse.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchDevice`], [`ErrorKind::NoGroup`], [`ErrorKind::NotBound`],
    /// [`ErrorKind::NotViable`], [`ErrorKind::NoVfio`], [`ErrorKind::NotPermitted`],
    /// [`ErrorKind::Busy`], [`ErrorKind::NoBackend`]; otherwise what the kernel answered. Then everything
    /// is as it was.
    pub fn open(&self, bdf: Bdf) -> Result<Device> {
        self.open_with(bdf, OpenOptions::default())
    }

    /// Opens a device as the options say.
    ///
    /// # Errors
    /// Those of [`open`](Self::open). [`ErrorKind::Busy`] also: a device of its group is open in another address
    /// space. [`ErrorKind::NotPermitted`] also: it is a virtual function, and the token is missing or wrong.
    pub fn open_with(&self, bdf: Bdf, options: OpenOptions) -> Result<Device> {
        let OpenOptions { space, vf_token } = options;
        let device = host::device(&*self.kernel, bdf)?;
        check_driver(&device)?;
        let shared = match device.group {
            Some(id) => {
                let road = Road::new(&self.kernel, Ok(id));
                self.groups
                    .share(id, space, |space| self.attach(bdf, space, road))
            }
            None => {
                let road = Road::new(&self.kernel, Err(no_group(bdf)));
                let space = space.unwrap_or_else(AddressSpaceId::unique);
                self.attach(bdf, space, road).map(Shared::Other)
            }
        };
        Device::open(shared.map_err(|error| error.of_device(bdf))?, bdf, vf_token)
    }

    /// The group of a device that could be opened through it, as far as sysfs tells.
    pub(crate) fn assignable_group(&self, bdf: Bdf) -> Result<u32> {
        let device = host::device(&*self.kernel, bdf)?;
        check_driver(&device)?;
        device.group.ok_or_else(|| no_group(bdf))
    }

    /// The group of a device that was handed over, which must not be open here.
    pub(crate) fn share_new(
        &self,
        id: u32,
        bdf: Bdf,
        space: Option<AddressSpaceId>,
        attach: impl FnOnce(&[Domain]) -> Result<Attachment>,
    ) -> Result<Shared> {
        self.groups
            .share_new(id, space, |space| {
                self.spaces.attach(space, attach, Attachment::domain)
            })
            .map_err(|error| error.of_device(bdf))
    }

    fn attach(&self, bdf: Bdf, space: AddressSpaceId, road: Road) -> Result<Attachment> {
        self.spaces.attach(
            space,
            |domains| iommu::attach(&self.registry, road, bdf, domains),
            Attachment::domain,
        )
    }
}

fn no_group(bdf: Bdf) -> Error {
    Error::new(ErrorKind::NoGroup, "open", bdf.to_string())
        .of_device(bdf)
        .because("it has no IOMMU group: no IOMMU translates its DMA")
}

/// Whether user space may have it, as far as sysfs tells.
fn check_driver(device: &PciDevice) -> Result<()> {
    if device.is_bound_to_vfio() {
        return Ok(());
    }
    let why = match &device.driver {
        Some(driver) => format!("it is bound to {driver}, not to a VFIO driver"),
        None => "it is bound to no driver; it must be bound to a VFIO driver".to_owned(),
    };
    let error = match device.group {
        // What must be mended first.
        None => no_group(device.bdf),
        Some(group) => Error::new(ErrorKind::NotBound, "open", device.bdf.to_string())
            .of_device(device.bdf)
            .of_group(group)
            .because(why),
    };
    Err(error)
}
