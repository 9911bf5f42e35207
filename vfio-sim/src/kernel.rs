//! The door: [`Kernel`], answered by the simulation.
#![allow(unsafe_code)] // The trait's methods are unsafe; what is done here is not, but for real memory.

use std::ffi::OsString;
use std::os::fd::{BorrowedFd, IntoRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vfio_core::kernel::{Arg, Errno, Kernel, Linux, Opcode, Protection, RegionMapping, Result};

use crate::event::{Event, Object};
use crate::machine::Machine;
use crate::world::{Answer, World};

/// A VFIO kernel in memory. Clones are handles of the same one.
#[derive(Debug, Clone)]
pub struct SimKernel(Arc<Mutex<World>>);

impl SimKernel {
    /// The kernel of a machine, just booted: nothing is open.
    pub fn new(machine: Machine) -> Self {
        Self(Arc::new(Mutex::new(World::new(machine))))
    }

    /// The devices, groups and containers that live now. A device is there once for each time that it is
    /// open; a group also while only a device holds it (A15), a container also while only a group holds
    /// it (A8).
    pub fn open_objects(&self) -> Vec<Object> {
        self.world().open_objects()
    }

    /// Whether no device, group or container is left.
    pub fn is_idle(&self) -> bool {
        self.open_objects().is_empty()
    }

    /// What happened since the last time that this was asked, in order.
    pub fn take_log(&self) -> Vec<Event> {
        self.world().take_log()
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// SAFETY: memory is mapped by Linux; nothing else can be mapped here.
unsafe impl Kernel for SimKernel {
    fn open(&self, path: &Path) -> Result<OwnedFd> {
        self.world().open(path)
    }

    unsafe fn ioctl(&self, fd: BorrowedFd<'_>, opcode: Opcode, arg: Arg<'_>) -> Result<u32> {
        match self.world().ioctl(fd, opcode, arg)? {
            Answer::Value(value) => Ok(value),
            // The caller should have asked for an fd: it leaks, as it would from Linux.
            Answer::Fd(fd) => u32::try_from(fd.into_raw_fd()).map_err(|_| Errno::BADF),
        }
    }

    unsafe fn ioctl_fd(&self, fd: BorrowedFd<'_>, opcode: Opcode, arg: Arg<'_>) -> Result<OwnedFd> {
        match self.world().ioctl(fd, opcode, arg)? {
            Answer::Fd(fd) => Ok(fd),
            Answer::Value(_) => Err(Errno::BADF),
        }
    }

    fn pread(&self, fd: BorrowedFd<'_>, bytes: &mut [u8], offset: u64) -> Result<usize> {
        Linux.pread(fd, bytes, offset)
    }

    fn pwrite(&self, fd: BorrowedFd<'_>, bytes: &[u8], offset: u64) -> Result<usize> {
        Linux.pwrite(fd, bytes, offset)
    }

    fn mmap(&self, len: usize) -> Result<NonNull<u8>> {
        Linux.mmap(len)
    }

    fn map_region(
        &self,
        device: BorrowedFd<'_>,
        offset: u64,
        len: usize,
        protection: Protection,
        align: usize,
    ) -> Result<RegionMapping> {
        Linux.map_region(device, offset, len, protection, align)
    }

    unsafe fn munmap(&self, addr: NonNull<u8>, len: usize) -> Result<()> {
        // SAFETY: every mapping of this kernel is one of Linux; the rest is our caller's promise.
        unsafe { Linux.munmap(addr, len) }
    }

    unsafe fn keep_from_children(&self, addr: NonNull<u8>, len: usize) -> Result<()> {
        // SAFETY: every mapping of this kernel is one of Linux; the rest is our caller's promise.
        unsafe { Linux.keep_from_children(addr, len) }
    }

    fn eventfd(&self) -> Result<OwnedFd> {
        Linux.eventfd()
    }

    fn memlock_limit(&self) -> Option<u64> {
        None
    }

    fn page_size(&self) -> usize {
        self.world().machine.page_size
    }

    fn identity(&self) -> (String, String) {
        let world = self.world();
        (world.machine.arch.clone(), world.machine.release.clone())
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>> {
        self.world().host.read(path)
    }

    fn list(&self, path: &Path) -> Result<Vec<OsString>> {
        self.world().host.list(path)
    }

    fn read_link(&self, path: &Path) -> Result<PathBuf> {
        self.world().host.read_link(path)
    }
}
