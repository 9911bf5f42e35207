//! Mappings of a domain, as `vfio-ioctls` has them.
#![allow(unsafe_code)] // The contract of one crate is passed to the other.

use std::any::Any;
use std::io;

use tracing::warn;
use vfio_core::address::{Access, HostRange, Iova, IovaRange};
use vfio_core::iommu::Domain;
use vfio_core::kernel::Errno;
use vfio_core::{Error, ErrorKind, Result};
use vfio_ioctls::{VfioError, VfioOps};

/// A [`Domain`] for code that maps through `vfio-ioctls`, which so runs over every backend.
///
/// What is mapped is read and written by devices. An unmap that would cut a mapping changes nothing; one whose mappings
/// do not fill the range unmaps them, and answers [`VfioError::InvalidDmaUnmapSize`].
///
/// A [`VfioError`] has room for an errno alone: what the kernel said or, if it was not asked, one that comes near to
/// the [`ErrorKind`]. The words are in an event (`WARN`).
#[derive(Debug)]
pub struct DomainOps(Domain);

impl DomainOps {
    /// What is mapped through it is mapped in `domain`.
    ///
    /// # Safety
    /// Memory that is mapped through it stays allocated until it is unmapped, or the life of the domain has ended. The
    /// contract of [`VfioOps::vfio_dma_map`] lets it be given back before: on Linux the device then goes on with pages
    /// that nobody else has (B27), which is not so on every kernel.
    pub unsafe fn new(domain: Domain) -> Self {
        Self(domain)
    }
}

impl VfioOps for DomainOps {
    unsafe fn vfio_dma_map(
        &self,
        iova: u64,
        size: usize,
        user_addr: *mut u8,
    ) -> vfio_ioctls::Result<()> {
        let mapped = range(iova, size).and_then(|iova| {
            let memory = HostRange::new(user_addr.addr(), size);
            let memory = memory.ok_or_else(|| no_range(iova.first().0, size))?;
            // SAFETY: our caller makes no reference to the memory, and by `new` it stays allocated, until it is
            // unmapped.
            unsafe { self.0.map(iova, memory, Access::ReadWrite) }
        });
        mapped.map_err(|error| VfioError::IommuDmaMap(errno(&error).into()))
    }

    fn vfio_dma_unmap(&self, iova: u64, size: usize) -> vfio_ioctls::Result<()> {
        let unmapped = range(iova, size).and_then(|iova| self.0.unmap(iova));
        match unmapped {
            Ok(bytes) if bytes == size as u64 => Ok(()),
            Ok(_) => Err(VfioError::InvalidDmaUnmapSize),
            Err(error) => Err(VfioError::IommuDmaUnmap(errno(&error).into())),
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn range(iova: u64, size: usize) -> Result<IovaRange> {
    IovaRange::new(Iova(iova), size as u64).ok_or_else(|| no_range(iova, size))
}

fn no_range(iova: u64, size: usize) -> Error {
    let object = format!("{size:#x} bytes at {iova:#x}");
    Error::new(ErrorKind::Invalid, "map or unmap", object).because("there is no such range")
}

/// All that there is room for.
fn errno(error: &Error) -> io::Error {
    warn!(%error, "what was asked for through vfio-ioctls failed");
    let errno = error.errno().unwrap_or(match error.kind() {
        ErrorKind::Invalid | ErrorKind::OutOfReach => Errno::INVAL,
        ErrorKind::Overlap => Errno::EXIST,
        ErrorKind::Busy => Errno::BUSY,
        ErrorKind::Gone => Errno::NODEV,
        _ => Errno::IO,
    });
    errno.into()
}
