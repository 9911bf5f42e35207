//! Memory that a device can reach, owned.

use tracing::error;

use crate::address::{Access, DmaMask, Iova, IovaRange};
use crate::error::{Error, ErrorKind, Result};
use crate::memory::{Mapping, Register};

use super::domain::{Domain, Reservation};

/// Memory of this process that a device reaches at [`iova`](Self::iova).
///
/// It never lends a `&[u8]`: the device may write at any time, so every access is volatile. It stays out
/// of child processes. Dropping it takes it away from the device first; what could not be taken away is
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
    pub(super) fn new(domain: &Domain, size: usize, mask: DmaMask, access: Access) -> Result<Self> {
        let exhausted = || Error::new(ErrorKind::Exhausted, "allocate", format!("{size:#x} bytes"));
        // Whole pages of the host, so that every byte of the memory is reachable.
        let size = size
            .checked_next_multiple_of(domain.kernel().page_size())
            .ok_or_else(exhausted)?;
        let addresses = domain.alloc(size as u64, mask)?;
        let size = usize::try_from(addresses.range().size()).map_err(|_| exhausted())?;
        let align = usize::try_from(addresses.page_size()).map_err(|_| exhausted())?;
        let memory = Mapping::anonymous(domain.kernel(), size, align)?;
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
        let memory = self.memory()?.range()?;
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
