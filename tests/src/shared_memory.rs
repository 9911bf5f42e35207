//! Memory that another program, or another part of this one, can have too.
#![allow(unsafe_code)] // Maps memory, to which no reference is ever made, here and for devices.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::{self, NonNull};

use anyhow::{Context, Result, ensure};
use rustix::fs::{MemfdFlags, fstat, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap};
use vfio_core::address::{Access, HostRange, Iova, IovaRange};
use vfio_core::guest::{AddressSpace, Block, Section};
use vfio_core::iommu::Domain;
use vfio_core::{Error, ErrorKind};

use crate::devices::Reachable;

/// A memfd that is mapped shared, whole, and for a device at a place of its own. It is never unmapped here: whatever a
/// test finds, a device may have it.
#[derive(Debug)]
pub struct SharedMemory {
    file: OwnedFd,
    start: NonNull<u8>,
    iova: IovaRange,
}

// SAFETY: the memory is accessed volatile, and is there for ever; nothing of it depends on the thread.
unsafe impl Send for SharedMemory {}

impl SharedMemory {
    /// New memory, as much as there are addresses.
    ///
    /// # Errors
    /// There is no memory.
    pub fn new(iova: IovaRange) -> Result<Self> {
        let file = memfd_create("shared", MemfdFlags::CLOEXEC).context("make a memfd")?;
        ftruncate(&file, iova.size()).context("give a memfd its size")?;
        Self::of(file, iova.first())
    }

    /// That of a memfd which somebody has made.
    ///
    /// # Errors
    /// It cannot be mapped.
    pub fn of(file: OwnedFd, iova: Iova) -> Result<Self> {
        let size = u64::try_from(fstat(&file).context("ask for the size of a memfd")?.st_size)?;
        let iova = IovaRange::new(iova, size).context("it is empty")?;
        let rights = ProtFlags::READ | ProtFlags::WRITE;
        let size = usize::try_from(size)?;
        // SAFETY: no address is asked for, so that no mapping of this process is replaced.
        let start = unsafe { mmap(ptr::null_mut(), size, rights, MapFlags::SHARED, &file, 0) };
        let start = NonNull::new(start.context("map a memfd")?.cast()).context("map a memfd")?;
        Ok(Self { file, start, iova })
    }

    /// The same memory at another address of this process.
    ///
    /// # Errors
    /// It cannot be mapped.
    pub fn again(&self) -> Result<Self> {
        let file = self.file.try_clone().context("duplicate a memfd")?;
        let again = Self::of(file, self.iova.first())?;
        ensure!(again.start != self.start, "it is at the same address");
        Ok(again)
    }

    /// Where devices find it.
    pub fn range(&self) -> IovaRange {
        self.iova
    }

    /// Where it is in this process.
    ///
    /// # Errors
    /// None.
    pub fn host_range(&self) -> Result<HostRange> {
        HostRange::new(self.start.addr().get(), self.len()).context("it is empty")
    }

    /// Lets devices reach it.
    ///
    /// # Errors
    /// Those of [`Domain::map`].
    pub fn map(&self, domain: &Domain, access: Access) -> Result<()> {
        // SAFETY: the memory is never unmapped, and nobody has a reference to it.
        unsafe { domain.map(self.iova, self.host_range()?, access)? };
        Ok(())
    }

    /// Tells that what devices reach at these places is there now.
    ///
    /// # Errors
    /// Those of [`Domain::renew_addresses`].
    pub fn renew(domain: &Domain, mappings: &[(IovaRange, HostRange)]) -> vfio_core::Result<()> {
        // SAFETY: devices reach the pages that they reached; who has mapped them keeps them.
        unsafe { domain.renew_addresses(mappings.iter().copied()) }
    }

    /// A guest's section of all of it, where devices find it.
    ///
    /// # Errors
    /// Those of [`Section::ram`].
    pub fn section(&self, access: Access) -> Result<Section> {
        // SAFETY: the memory is never unmapped, and nobody has a reference to it.
        let block = unsafe { Block::new(self.host_range()?, ()) };
        let make = match access {
            Access::Read => Section::rom,
            _ => Section::ram,
        };
        Ok(make(self.iova, &block, 0)?)
    }

    /// Has guest memory be what another program has mapped.
    ///
    /// # Errors
    /// Those of [`AddressSpace::resume`].
    pub fn resume(
        space: &AddressSpace,
        domain: &Domain,
        mapped: &[IovaRange],
    ) -> vfio_core::Result<()> {
        // SAFETY: the sections are of this memory, which is where it was.
        unsafe { space.resume(domain, mapped) }
    }

    /// Where these bytes are.
    fn place(&self, offset: usize, len: usize) -> vfio_core::Result<NonNull<u8>> {
        let end = offset.checked_add(len).filter(|end| *end <= self.len());
        end.ok_or_else(|| Error::new(ErrorKind::Invalid, "use", "bytes outside of a memfd"))?;
        // SAFETY: the bytes are inside of what is mapped.
        Ok(unsafe { self.start.add(offset) })
    }
}

impl AsFd for SharedMemory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Reachable for SharedMemory {
    fn iova(&self) -> Iova {
        self.iova.first()
    }

    fn len(&self) -> usize {
        usize::try_from(self.iova.size()).unwrap_or(0) // it is mapped
    }

    fn copy_to(&self, offset: usize, bytes: &mut [u8]) -> vfio_core::Result<()> {
        let place = self.place(offset, bytes.len())?;
        for (n, byte) in bytes.iter_mut().enumerate() {
            // SAFETY: one of the bytes that are there.
            *byte = unsafe { place.add(n).read_volatile() };
        }
        Ok(())
    }

    fn copy_from(&self, offset: usize, bytes: &[u8]) -> vfio_core::Result<()> {
        let place = self.place(offset, bytes.len())?;
        for (n, byte) in bytes.iter().enumerate() {
            // SAFETY: one of the bytes that are there.
            unsafe { place.add(n).write_volatile(*byte) };
        }
        Ok(())
    }
}
