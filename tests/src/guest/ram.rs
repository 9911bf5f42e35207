//! Memory that guests can have.
#![allow(unsafe_code)] // Memory that is mapped here, and that devices access.

use std::ptr::NonNull;
use std::sync::Arc;

use anyhow::Context;
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
use vfio_core::address::HostRange;
use vfio_core::guest::Block;
use vfio_core::kernel::{Kernel, Linux};
use vfio_core::{Error, ErrorKind, Result};

/// A block of memory of this process, which is freed when no device can reach it any more.
#[derive(Debug)]
pub struct Ram(Block);

impl Ram {
    /// So many bytes, in whole pages of the host.
    ///
    /// # Errors
    /// There is not so much memory.
    pub fn new(kernel: &Arc<dyn Kernel>, len: usize) -> anyhow::Result<Self> {
        let addr = kernel.mmap(len).context("memory")?;
        let owner = Owner {
            kernel: Arc::clone(kernel),
            addr,
            len,
        };
        let range = HostRange::new(addr.as_ptr() as usize, len).context("memory")?;
        // SAFETY: it is mapped until the owner is dropped, and nobody has a reference to it.
        Ok(Self(unsafe { Block::new(range, owner) }))
    }

    /// So many bytes of huge pages of 2 MiB, of which the host has set some aside (`/proc/sys/vm/nr_hugepages`); of the kernel
    /// that runs.
    ///
    /// # Errors
    /// There are none.
    pub fn huge(len: usize) -> anyhow::Result<Self> {
        let kernel: Arc<dyn Kernel> = Arc::new(Linux);
        let flags = MapFlags::PRIVATE | MapFlags::HUGETLB | MapFlags::HUGE_2MB;
        let rights = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: anywhere, where nothing is.
        let addr = unsafe { mmap_anonymous(std::ptr::null_mut(), len, rights, flags) };
        let addr = NonNull::new(addr.context("huge pages")?.cast()).context("huge pages")?;
        let range = HostRange::new(addr.as_ptr() as usize, len).context("huge pages")?;
        let owner = Owner { kernel, addr, len };
        // SAFETY: it is mapped until the owner is dropped, and nobody has a reference to it.
        Ok(Self(unsafe { Block::new(range, owner) }))
    }

    /// The block, to make sections of.
    pub fn block(&self) -> &Block {
        &self.0
    }

    /// Writes bytes to some place.
    ///
    /// # Errors
    /// They do not fit.
    pub fn write(&self, at: usize, bytes: &[u8]) -> Result<()> {
        let place = self.place(at, bytes.len())?;
        // SAFETY: mapped memory, which nobody has a reference to; if a device accesses it now, it and nobody else gets
        // some of the old bytes.
        unsafe { bytes.as_ptr().copy_to_nonoverlapping(place, bytes.len()) };
        Ok(())
    }

    /// Reads bytes of some place.
    ///
    /// # Errors
    /// There are not so many.
    pub fn read(&self, at: usize, bytes: &mut [u8]) -> Result<()> {
        let place = self.place(at, bytes.len())?;
        // SAFETY: mapped memory, as above; if a device writes now, some of the bytes are the old ones.
        unsafe { place.copy_to_nonoverlapping(bytes.as_mut_ptr(), bytes.len()) };
        Ok(())
    }

    fn place(&self, at: usize, len: usize) -> Result<*mut u8> {
        let range = self.0.range();
        let end = at.checked_add(len);
        match end.is_some_and(|end| end <= range.len()) {
            true => Ok((range.addr() + at) as *mut u8),
            false => Err(Error::new(
                ErrorKind::Invalid,
                "access",
                format!("{len} bytes at {at:#x} of {range}"),
            )),
        }
    }
}

/// Gives the memory back.
struct Owner {
    kernel: Arc<dyn Kernel>,
    addr: NonNull<u8>,
    len: usize,
}

// SAFETY: an address, which threads may have.
unsafe impl Send for Owner {}
// SAFETY: as above.
unsafe impl Sync for Owner {}

impl Drop for Owner {
    fn drop(&mut self) {
        // SAFETY: what was mapped by the one who made this; who has a block has promised to drop it when no device reaches it.
        let freed = unsafe { self.kernel.munmap(self.addr, self.len) };
        debug_assert!(freed.is_ok(), "{freed:?}");
    }
}
