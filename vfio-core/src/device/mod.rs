//! A device that user space owns.

mod calls;
mod capability;
mod feature;
mod ioeventfd;
mod irq;
mod region;
mod region_map;
mod reset;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::group::{Shared, SharedGroup};
use crate::host::Bdf;
use crate::iommu::{Attachment, Domain, Stay};
use crate::kernel::Kernel;
use crate::uapi;

pub use capability::{MappableArea, RegionCapabilities, RegionType};
pub use feature::{Feature, FeatureSupport, ParseVfTokenError, VfToken};
pub use ioeventfd::WriteOnSignal;
pub use irq::{EventFd, IrqIndex, IrqInfo};
pub use region::{Region, RegionIndex};
pub use region_map::{MappedRegister, RegionMap};
pub use reset::HotResetMember;

/// A device that this process owns through VFIO.
///
/// It is a handle: clones speak of the same device. What is made of it (mapped regions) holds it open, and
/// it holds its group in the container; so drops in any order release in the order that the kernel
/// accepts: mapped regions, device, group, container.
#[derive(Debug, Clone)]
pub struct Device(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    fd: OwnedFd, // closed first, while the group is still in the container
    bdf: Bdf,
    domain: Domain,
    hold: Hold,
}

/// What must be kept while the device is open.
#[derive(Debug)]
enum Hold {
    Group(Arc<SharedGroup>),
    Own(Stay),
}

impl Device {
    pub(crate) fn open(shared: Shared, bdf: Bdf, token: Option<VfToken>) -> Result<Self> {
        let no_backend = || Error::new(ErrorKind::NoBackend, "open", bdf.to_string());
        let (fd, domain, hold) = match shared {
            Shared::Other(Attachment::Own(..)) if token.is_some() => {
                return Err(Error::new(ErrorKind::Unsupported, "open", bdf.to_string())
                    .of_device(bdf)
                    .because("its backend opens devices without a token"));
            }
            Shared::Other(Attachment::Own(fd, stay)) => {
                (fd, stay.domain().clone(), Hold::Own(stay))
            }
            Shared::Other(Attachment::Group(_)) => return Err(no_backend()),
            Shared::Group(group) => {
                let membership = group.membership();
                let domain = membership.domain().cloned().ok_or_else(no_backend)?;
                (membership.device(bdf, token)?, domain, Hold::Group(group))
            }
        };
        Ok(Self(Arc::new(Inner {
            fd,
            bdf,
            domain,
            hold,
        })))
    }

    /// A device of the group that somebody else opened.
    pub(crate) fn adopt(shared: Shared, bdf: Bdf, fd: OwnedFd) -> Result<Self> {
        let no_backend = || Error::new(ErrorKind::NoBackend, "take over", bdf.to_string());
        let Shared::Group(group) = shared else {
            return Err(no_backend());
        };
        let domain = group
            .membership()
            .domain()
            .cloned()
            .ok_or_else(no_backend)?;
        let device = Self(Arc::new(Inner {
            fd,
            bdf,
            domain,
            hold: Hold::Group(group),
        }));
        device.info()?; // it is one
        Ok(device)
    }

    /// Closes the device now, if this is the last handle of it, and its group, if it is the last device of
    /// that; says what could not be released. Otherwise only the handle goes.
    ///
    /// What is merely dropped is closed too; what cannot be released is logged then.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`]: the kernel did not let the group out of its container; mappings may still be there,
    /// and memory that was mapped is not given back. Otherwise what the kernel answered.
    pub fn close(self) -> Result<()> {
        let Some(inner) = Arc::into_inner(self.0) else {
            return Ok(());
        };
        let Inner { fd, hold, .. } = inner;
        drop(fd);
        match hold {
            Hold::Group(group) => group.close(),
            Hold::Own(stay) => {
                drop(stay);
                Ok(())
            }
        }
    }

    /// Which device it is.
    pub fn bdf(&self) -> Bdf {
        self.0.bdf
    }

    /// What it can reach, and the way to change that.
    pub fn domain(&self) -> &Domain {
        &self.0.domain
    }

    /// How many regions and interrupt indexes it has, and whether it can be reset.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn info(&self) -> Result<DeviceInfo> {
        let info = calls::device_info(self)?;
        Ok(DeviceInfo {
            regions: info.num_regions,
            irq_indexes: info.num_irqs,
            can_reset: info.flags & uapi::DEVICE_FLAGS_RESET != 0,
        })
    }

    /// The group that it was opened through, and its fd.
    pub(crate) fn group(&self) -> Option<(u32, BorrowedFd<'_>)> {
        self.shared_group()?.membership().group()
    }

    /// Its group, which the devices of it share; `None` for one that was opened in its backend's own way.
    pub(crate) fn shared_group(&self) -> Option<&Arc<SharedGroup>> {
        match &self.0.hold {
            Hold::Group(group) => Some(group),
            Hold::Own(_) => None,
        }
    }

    /// Whether both are handles of the same open device.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The kernel that it belongs to.
    pub fn kernel(&self) -> &Arc<dyn Kernel> {
        self.0.domain.kernel()
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.0.fd.as_fd()
    }

    fn error(&self, kind: ErrorKind, operation: &'static str) -> Error {
        Error::new(kind, operation, self.0.bdf.to_string()).of_device(self.0.bdf)
    }
}

/// What a device says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceInfo {
    /// One more than the highest region index.
    pub regions: u32,
    /// One more than the highest interrupt index.
    pub irq_indexes: u32,
    /// Whether it can be reset.
    pub can_reset: bool,
}
