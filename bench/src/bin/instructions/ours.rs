//! Our side: a domain over type1, over calls that do nothing.

use std::ffi::OsString;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use vfio_core::address::{Access, HostRange, Iova, IovaRange};
use vfio_core::iommu::{Domain, Registration, Registry};
use vfio_core::kernel::{self, Arg, Errno, Kernel, Linux, Node, Opcode, Protection, RegionMapping};
use vfio_core::{Device, ErrorKind, Vfio};

use super::{SIZE, START};

/// Linux, but for one device in sysfs, whose registers do nothing. The ioctls of Linux are made with the `ioctl` of this
/// program.
#[derive(Debug)]
struct OneDevice;

// SAFETY: every mapping is one of Linux.
unsafe impl Kernel for OneDevice {
    fn open(&self, _: &Path) -> kernel::Result<OwnedFd> {
        Linux.open(Path::new("/dev/null"))
    }

    unsafe fn ioctl(
        &self,
        fd: BorrowedFd<'_>,
        opcode: Opcode,
        arg: Arg<'_>,
    ) -> kernel::Result<u32> {
        // SAFETY: passed on to our caller.
        unsafe { Linux.ioctl(fd, opcode, arg) }
    }

    unsafe fn ioctl_fd(
        &self,
        fd: BorrowedFd<'_>,
        opcode: Opcode,
        arg: Arg<'_>,
    ) -> kernel::Result<OwnedFd> {
        // SAFETY: passed on to our caller.
        unsafe { Linux.ioctl_fd(fd, opcode, arg) }
    }

    fn pread(&self, _: BorrowedFd<'_>, bytes: &mut [u8], _: u64) -> kernel::Result<usize> {
        Ok(bytes.len())
    }

    fn pwrite(&self, _: BorrowedFd<'_>, bytes: &[u8], _: u64) -> kernel::Result<usize> {
        Ok(bytes.len())
    }

    fn mmap(&self, len: usize) -> kernel::Result<NonNull<u8>> {
        Linux.mmap(len)
    }

    fn map_region(
        &self,
        _: BorrowedFd<'_>,
        _: u64,
        _: usize,
        _: Protection,
        _: usize,
    ) -> kernel::Result<RegionMapping> {
        Err(Errno::NODEV)
    }

    unsafe fn munmap(&self, addr: NonNull<u8>, len: usize) -> kernel::Result<()> {
        // SAFETY: passed on to our caller.
        unsafe { Linux.munmap(addr, len) }
    }

    unsafe fn keep_from_children(&self, addr: NonNull<u8>, len: usize) -> kernel::Result<()> {
        // SAFETY: passed on to our caller.
        unsafe { Linux.keep_from_children(addr, len) }
    }

    fn populate(&self, memory: HostRange, write: bool) -> kernel::Result<()> {
        Linux.populate(memory, write)
    }

    fn resident(&self, memory: HostRange, pages: &mut [u8]) -> kernel::Result<()> {
        Linux.resident(memory, pages)
    }

    fn eventfd(&self) -> kernel::Result<OwnedFd> {
        Linux.eventfd()
    }

    fn memlock_limit(&self) -> Option<u64> {
        None
    }

    fn page_size(&self) -> usize {
        Linux.page_size()
    }

    fn identity(&self) -> (String, String) {
        Linux.identity()
    }

    fn read(&self, _: &Path) -> kernel::Result<Vec<u8>> {
        Ok(b"0x0\n".to_vec())
    }

    fn list(&self, _: &Path) -> kernel::Result<Vec<OsString>> {
        Err(Errno::NOENT)
    }

    fn read_link(&self, path: &Path) -> kernel::Result<PathBuf> {
        match path.file_name().and_then(|name| name.to_str()) {
            Some("driver") => Ok("/sys/bus/pci/drivers/vfio-pci".into()),
            Some("iommu_group") => Ok("/sys/kernel/iommu_groups/1".into()),
            _ => Err(Errno::NOENT),
        }
    }

    fn node(&self, _: &Path) -> kernel::Result<Node> {
        Err(Errno::NOENT)
    }

    fn write(&self, _: &Path, _: &[u8]) -> kernel::Result<()> {
        Err(Errno::NOENT)
    }
}

/// A domain, for as long as its device is held.
pub struct Ours {
    device: Device,
}

impl Ours {
    pub fn new() -> Result<Self> {
        Self::over(iommu_type1::TYPE1_V2)
    }

    pub fn over(backend: Registration) -> Result<Self> {
        let registry = Registry::of([backend])?;
        let vfio = Vfio::on(Arc::new(OneDevice), registry);
        let device = vfio.open("0000:00:01.0".parse()?)?;
        Ok(Self { device })
    }

    pub fn device(&self) -> &Device {
        &self.device
    }

    pub fn domain(&self) -> &Domain {
        self.device.domain()
    }

    fn map(&self, start: u64, size: u64) -> vfio_core::Result<()> {
        let wrong = || vfio_core::Error::new(ErrorKind::Invalid, "make", "a range");
        let iova = IovaRange::new(Iova(start), size).ok_or_else(wrong)?;
        let len = usize::try_from(size).map_err(|_| wrong())?;
        let memory = HostRange::new(0x7000_0000_0000, len).ok_or_else(wrong)?;
        // SAFETY: nothing is mapped: no call reaches a kernel.
        unsafe { self.domain().map(iova, memory, Access::ReadWrite) }
    }

    /// What is measured is worth nothing without the checks: they are seen to be on.
    pub fn checks_are_on(&self) -> Result<()> {
        let refused = |start, size, kind| {
            let error = self.map(start, size).err();
            let error =
                error.with_context(|| format!("{size:#x} bytes at {start:#x} are mapped"))?;
            ensure!(error.kind() == kind, "{error}");
            anyhow::Ok(())
        };
        ensure!(
            IovaRange::new(Iova(u64::MAX - 0xfff), 0x1001).is_none(),
            "a range wraps"
        );
        self.map(START, 2 * SIZE)?;
        refused(START, SIZE, ErrorKind::Overlap)?;
        refused(START + SIZE, 2 * SIZE, ErrorKind::Overlap)?;
        refused(0xfedf_f000, 0x2000, ErrorKind::OutOfReach)?;
        refused(1 << 48, SIZE, ErrorKind::OutOfReach)?;
        refused(START + 2 * SIZE + 1, SIZE, ErrorKind::Invalid)?;
        let part = IovaRange::new(Iova(START), SIZE).context("a range")?;
        ensure!(self.domain().unmap(part).is_err(), "a mapping is cut");
        let whole = IovaRange::new(Iova(START), 2 * SIZE).context("a range")?;
        let bytes = self.domain().unmap(whole)?;
        ensure!(bytes == 2 * SIZE, "{bytes:#x} bytes are unmapped");
        Ok(())
    }

    pub fn measure(&self, pairs: u64, live: u64) -> Result<()> {
        for other in 1..live {
            self.map(START + 2 * SIZE * other, SIZE)?;
        }
        let iova = IovaRange::new(Iova(START), SIZE).context("a range")?;
        let memory = HostRange::new(0x7000_0000_0000, iova.size() as usize).context("memory")?;
        for _ in 0..pairs {
            // SAFETY: nothing is mapped: no call reaches a kernel.
            unsafe { self.domain().map(iova, memory, Access::ReadWrite) }?;
            self.domain().unmap(iova)?;
        }
        Ok(())
    }
}
