//! A simulated kernel whose host has a few more files.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::ptr::NonNull;

use vfio_core::address::HostRange;
use vfio_core::kernel::{Arg, Errno, Kernel, Node, Opcode, Protection, RegionMapping, Result};
use vfio_sim::{Rights, SimKernel};

/// Files and links that are read before the simulation's; directories follow from their paths.
#[derive(Debug)]
pub(crate) struct Overlay {
    pub(crate) sim: SimKernel,
    files: BTreeMap<PathBuf, Vec<u8>>,
    links: BTreeMap<PathBuf, PathBuf>,
}

impl Overlay {
    pub(crate) fn new(sim: SimKernel) -> Self {
        Self {
            sim,
            files: BTreeMap::new(),
            links: BTreeMap::new(),
        }
    }

    pub(crate) fn file(mut self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.files.insert(path.into(), content.as_ref().into());
        self
    }

    pub(crate) fn link(mut self, path: &str, target: &str) -> Self {
        self.links.insert(path.into(), target.into());
        self
    }

    pub(crate) fn memlock(self, bytes: u64) -> Self {
        self.sim.set_rights(Rights::user(bytes));
        self
    }
}

#[allow(unsafe_code)] // passed on to the simulation
// SAFETY: passed on to the simulation.
unsafe impl Kernel for Overlay {
    fn open(&self, path: &Path) -> Result<OwnedFd> {
        self.sim.open(path)
    }

    unsafe fn ioctl(&self, fd: BorrowedFd<'_>, opcode: Opcode, arg: Arg<'_>) -> Result<u32> {
        // SAFETY: passed on to our caller.
        unsafe { self.sim.ioctl(fd, opcode, arg) }
    }

    unsafe fn ioctl_fd(&self, fd: BorrowedFd<'_>, opcode: Opcode, arg: Arg<'_>) -> Result<OwnedFd> {
        // SAFETY: passed on to our caller.
        unsafe { self.sim.ioctl_fd(fd, opcode, arg) }
    }

    fn pread(&self, fd: BorrowedFd<'_>, bytes: &mut [u8], offset: u64) -> Result<usize> {
        self.sim.pread(fd, bytes, offset)
    }

    fn pwrite(&self, fd: BorrowedFd<'_>, bytes: &[u8], offset: u64) -> Result<usize> {
        self.sim.pwrite(fd, bytes, offset)
    }

    fn mmap(&self, len: usize) -> Result<NonNull<u8>> {
        self.sim.mmap(len)
    }

    fn map_region(
        &self,
        device: BorrowedFd<'_>,
        offset: u64,
        len: usize,
        protection: Protection,
        align: usize,
    ) -> Result<RegionMapping> {
        self.sim.map_region(device, offset, len, protection, align)
    }

    unsafe fn munmap(&self, addr: NonNull<u8>, len: usize) -> Result<()> {
        // SAFETY: passed on to our caller.
        unsafe { self.sim.munmap(addr, len) }
    }

    unsafe fn keep_from_children(&self, addr: NonNull<u8>, len: usize) -> Result<()> {
        // SAFETY: passed on to our caller.
        unsafe { self.sim.keep_from_children(addr, len) }
    }

    fn populate(&self, memory: HostRange, write: bool) -> Result<()> {
        self.sim.populate(memory, write)
    }

    fn resident(&self, memory: HostRange, pages: &mut [u8]) -> Result<()> {
        self.sim.resident(memory, pages)
    }

    fn eventfd(&self) -> Result<OwnedFd> {
        self.sim.eventfd()
    }

    fn memlock_limit(&self) -> Option<u64> {
        self.sim.memlock_limit()
    }

    fn page_size(&self) -> usize {
        self.sim.page_size()
    }

    fn identity(&self) -> (String, String) {
        self.sim.identity()
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>> {
        match self.files.get(path) {
            Some(content) => Ok(content.clone()),
            None => self.sim.read(path),
        }
    }

    fn list(&self, path: &Path) -> Result<Vec<OsString>> {
        let mut names: Vec<_> = self
            .files
            .keys()
            .chain(self.links.keys())
            .filter_map(|file| file.strip_prefix(path).ok()?.iter().next())
            .map(Into::into)
            .collect();
        match self.sim.list(path) {
            Ok(more) => names.extend(more),
            Err(Errno::NOENT) if !names.is_empty() => {}
            Err(errno) => return Err(errno),
        }
        names.sort();
        names.dedup();
        Ok(names)
    }

    fn read_link(&self, path: &Path) -> Result<PathBuf> {
        match self.links.get(path) {
            Some(target) => Ok(target.clone()),
            None => self.sim.read_link(path),
        }
    }

    fn node(&self, path: &Path) -> Result<Node> {
        self.sim.node(path)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        self.sim.write(path, bytes)
    }
}
