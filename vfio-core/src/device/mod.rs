//! A device that user space owns.

mod calls;
mod irq;
mod region;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::group::SharedGroup;
use crate::host::Bdf;
use crate::iommu::Domain;
use crate::kernel::Kernel;
use crate::uapi;

pub use irq::{EventFd, IrqIndex, IrqInfo};
pub use region::{Region, RegionIndex, RegionMap};

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
    group: Arc<SharedGroup>,
}

impl Device {
    pub(crate) fn open(group: Arc<SharedGroup>, bdf: Bdf) -> Result<Self> {
        let domain = group
            .membership()
            .domain()
            .cloned()
            .ok_or_else(|| Error::new(ErrorKind::NoBackend, "open", bdf.to_string()))?;
        let fd = group.membership().device(bdf)?;
        Ok(Self(Arc::new(Inner {
            fd,
            bdf,
            domain,
            group,
        })))
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

    /// Resets the device. Its interrupts stay set up.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`]: it has no reset. Otherwise what the kernel answered.
    pub fn reset(&self) -> Result<()> {
        if !self.info()?.can_reset {
            return Err(self
                .error(ErrorKind::Unsupported, "VFIO_DEVICE_RESET")
                .because("the kernel knows no way to reset this device alone"));
        }
        calls::reset(self)
    }

    fn kernel(&self) -> &Arc<dyn Kernel> {
        self.0.group.membership().kernel()
    }

    fn fd(&self) -> BorrowedFd<'_> {
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
