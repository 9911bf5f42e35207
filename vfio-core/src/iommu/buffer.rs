//! Memory that a device can reach, owned.

use tracing::error;

use crate::address::{Access, DmaMask, HostRange, Iova, IovaRange};
use crate::error::{Error, ErrorKind, Result};
use crate::memory::{self, Mapping, Register};

use super::domain::Domain;
use super::placement::Placement;
use super::reservation::Reservation;

/// Memory of this process that a device reaches at [`iova`](Self::iova).
///
/// It never lends a `&[u8]`: the device may write at any time, so every access is volatile, and made once. In which
/// order the device sees them, [`barrier`](Self::barrier) says. It stays out of child processes. Dropping it takes it away from the device first; what could not be taken away is
/// leaked rather than freed, because the device may still write there.
#[derive(Debug)]
pub struct DmaBuffer {
    domain: Domain,
    addresses: Reservation,
    /// `None` only while it is being dropped.
    memory: Option<Mapping>,
    mapped: bool,
}

impl DmaBuffer {
    pub(super) fn new(
        domain: &Domain,
        size: usize,
        place: Placement,
        access: Access,
    ) -> Result<Self> {
        // Whole pages of the host, so that every byte of the memory is reachable.
        let size = whole_pages(size, domain.kernel().page_size())?;
        let same = match place {
            Placement::SameAsMemory(mask) if size > 0 => same_as_memory(domain, size, mask)?,
            _ => None,
        };
        let (addresses, memory) = match (same, place) {
            (Some(same), _) => same,
            (None, Placement::At(start)) => with_memory(domain.alloc_at(start, size as u64)?)?,
            (None, Placement::Anywhere(mask) | Placement::SameAsMemory(mask)) => {
                with_memory(domain.alloc(size as u64, mask)?)?
            }
        };
        let mut buffer = Self {
            domain: domain.clone(),
            addresses,
            memory: Some(memory),
            mapped: false,
        };
        buffer.map(access)?;
        Ok(buffer)
    }

    #[allow(unsafe_code)] // keeps the contract of `Domain::map` by owning the memory
    fn map(&mut self, access: Access) -> Result<()> {
        let memory = self.host_range()?;
        self.mapped = true; // also if the backend panics after it has mapped
        // SAFETY: the memory belongs to this buffer, which lends no reference to it, and which frees it
        // only after it was unmapped or the context has ended.
        let mapped = unsafe { self.domain.map(self.addresses.range(), memory, access) };
        self.mapped = mapped.is_ok();
        mapped
    }

    /// Where the device finds it.
    pub fn iova(&self) -> Iova {
        self.addresses.range().first()
    }

    /// The addresses at which the device finds it.
    pub fn range(&self) -> IovaRange {
        self.addresses.range()
    }

    /// Where it is in this process.
    ///
    /// # Errors
    /// None, as long as it is there.
    pub fn host_range(&self) -> Result<HostRange> {
        self.memory()?.range()
    }

    /// Its size in bytes: what was asked for, rounded up to whole pages.
    #[allow(clippy::len_without_is_empty)] // it is never empty
    pub fn len(&self) -> usize {
        self.memory.as_ref().map_or(0, Mapping::len)
    }

    /// Reads one register-sized value at `offset`, in one access.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: outside, or misaligned.
    pub fn read<T: Register>(&self, offset: usize) -> Result<T> {
        self.memory()?.read(offset)
    }

    /// Writes one register-sized value at `offset`, in one access.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: outside, or misaligned.
    pub fn write<T: Register>(&self, offset: usize, value: T) -> Result<()> {
        self.memory()?.write(offset, value)
    }

    /// Copies bytes out, from `offset` on.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: outside; then nothing was copied.
    pub fn copy_to(&self, offset: usize, bytes: &mut [u8]) -> Result<()> {
        self.memory()?.copy_to(offset, bytes)
    }

    /// Copies bytes in, from `offset` on.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: outside; then nothing was copied.
    pub fn copy_from(&self, offset: usize, bytes: &[u8]) -> Result<()> {
        self.memory()?.copy_from(offset, bytes)
    }

    /// What is read and written before this is done, for the device too, before what comes after: between the flag
    /// that the device set in memory and what it wrote before that; between a descriptor and the flag that gives it
    /// to the device. Access through a [`RegionMap`](crate::device::RegionMap) has its own barriers.
    pub fn barrier(&self) {
        memory::barrier();
    }

    /// Takes it away from the device; the memory stays ours, and can still be read. A second call does
    /// nothing.
    ///
    /// # Errors
    /// What the kernel answered: the device may still reach it.
    pub fn unmap(&mut self) -> Result<()> {
        if self.mapped {
            match self.domain.unmap(self.addresses.range()) {
                Err(error) if error.kind() != ErrorKind::Gone => return Err(error),
                _ => self.mapped = false,
            }
        }
        Ok(())
    }

    fn memory(&self) -> Result<&Mapping> {
        self.memory
            .as_ref()
            .ok_or_else(|| Error::new(ErrorKind::Gone, "use", "a dropped buffer"))
    }
}

fn exhausted(size: usize) -> Error {
    Error::new(ErrorKind::Exhausted, "allocate", format!("{size:#x} bytes"))
}

fn whole_pages(size: usize, page_size: usize) -> Result<usize> {
    size.checked_next_multiple_of(page_size)
        .ok_or_else(|| exhausted(size))
}

/// Memory for these addresses.
fn with_memory(addresses: Reservation) -> Result<(Reservation, Mapping)> {
    let size = addresses.range().size();
    let exhausted = |_| exhausted(usize::try_from(size).unwrap_or(usize::MAX));
    let align = usize::try_from(addresses.page_size()).map_err(exhausted)?;
    let size = usize::try_from(size).map_err(exhausted)?;
    let memory = Mapping::anonymous(addresses.domain().kernel(), size, align)?;
    Ok((addresses, memory))
}

/// Memory, and the same addresses for the device; `None` if it cannot have them.
fn same_as_memory(
    domain: &Domain,
    size: usize,
    mask: DmaMask,
) -> Result<Option<(Reservation, Mapping)>> {
    // In which aperture it will be, and so how large the pages are, is only known when the memory is there.
    let largest = usize::try_from(domain.largest_page_size()).map_err(|_| exhausted(size))?;
    let page_size = largest.max(domain.kernel().page_size());
    let memory = Mapping::anonymous(domain.kernel(), whole_pages(size, page_size)?, page_size)?;
    let start = Iova(memory.addr().as_ptr() as u64);
    let wanted = IovaRange::new(start, memory.len() as u64);
    if !wanted.is_some_and(|wanted| mask.range().contains(wanted)) {
        return Ok(None);
    }
    match domain.alloc_at(start, memory.len() as u64) {
        Ok(addresses) => Ok(Some((addresses, memory))),
        Err(error) => match error.kind() {
            ErrorKind::OutOfReach | ErrorKind::Overlap => Ok(None),
            _ => Err(error),
        },
    }
}

impl Drop for DmaBuffer {
    fn drop(&mut self) {
        if let Err(error) = self.unmap() {
            error!(%error, "a DMA buffer could not be unmapped; its memory is leaked");
            if let Some(memory) = self.memory.take() {
                memory.leak();
            }
        }
    }
}
