//! Memory to be mapped by a case itself.
#![allow(unsafe_code)] // Maps memory for a device, by the contract of `Domain::map`.

use anyhow::{Context, Result};
use vfio_core::Vfio;
use vfio_core::address::{Access, HostRange, IovaRange};
use vfio_core::iommu::Domain;

/// Memory that nobody looks at, and that is never given back: whatever a case finds, a device may have it.
#[derive(Clone, Copy)]
pub(super) struct Memory(HostRange);

impl Memory {
    /// At least so many bytes, in whole pages of the host.
    pub(super) fn new(vfio: &Vfio, len: u64) -> Result<Self> {
        let kernel = vfio.kernel();
        let len = usize::try_from(len)?.next_multiple_of(kernel.page_size());
        let addr = kernel.mmap(len).context("memory")?;
        HostRange::new(addr.as_ptr() as usize, len)
            .map(Self)
            .context("memory")
    }

    /// Some of it.
    pub(super) fn part(self, offset: u64, len: u64) -> Result<HostRange> {
        let addr = self.0.addr() + usize::try_from(offset)?;
        let part = HostRange::new(addr, usize::try_from(len)?).context("a part of it")?;
        anyhow::ensure!(self.0.contains(part), "that is no part of the memory");
        Ok(part)
    }

    /// Maps the first bytes of it, as many as there are addresses.
    pub(super) fn map(self, domain: &Domain, iova: IovaRange) -> vfio_core::Result<()> {
        self.map_as(domain, iova, Access::ReadWrite)
    }

    pub(super) fn map_as(
        self,
        domain: &Domain,
        iova: IovaRange,
        access: Access,
    ) -> vfio_core::Result<()> {
        let size = usize::try_from(iova.size()).unwrap_or(usize::MAX);
        let first = HostRange::new(self.0.addr(), size).unwrap_or(self.0);
        map(domain, iova, first, access)
    }
}

/// Maps a range that is memory of this module's, or that the kernel is to refuse.
pub(super) fn map(
    domain: &Domain,
    iova: IovaRange,
    memory: HostRange,
    access: Access,
) -> vfio_core::Result<()> {
    // SAFETY: it is memory that is never freed and that nobody has a reference to, or no memory at all.
    unsafe { domain.map(iova, memory, access) }
}
