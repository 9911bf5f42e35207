//! A kernel whose answers are the fuzzer's bytes, in front of a simulated one that keeps the objects.
//!
//! What is asked of it is what the product asks: the targets reach every parser through the door that a
//! real kernel's bytes come through.

use std::ffi::{OsStr, OsString};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vfio_core::address::HostRange;
use vfio_core::iommu::{IommuBackend, Reach, Registration, Registry};
use vfio_core::kernel::{Arg, Errno, Kernel, Node, Opcode, Protection, RegionMapping, Result};
use vfio_core::uapi;
use vfio_core::{Container, Device, Vfio};
use vfio_sim::{Machine, SimKernel};

/// The device that [`device`] opens, on the machine of every kernel here.
const BDF: &str = "0000:00:04.0";

/// What type1 answers where the fuzzer's bytes are meant for somebody else: pages of 4 KiB, no more.
const PLAIN_INFO: [u8; 24] = {
    let mut bytes = [0; 24];
    bytes[0] = 24; // argsz
    bytes[4] = uapi::IOMMU_INFO_PGSIZES as u8;
    bytes[9] = 0x10; // iova_pgsizes
    bytes
};

/// What an IOMMU does without a word when it is attached.
const OBEYED: [Opcode; 2] = [uapi::SPAPR_ENABLE, uapi::IOMMU_UNMAP_DMA];

/// Where a device's regions start in its fd.
const CONFIG_OFFSET: u64 = (uapi::PCI_CONFIG_REGION_INDEX as u64) << 40;

/// Where the fuzzer's bytes are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The answer to the ioctl that says what an IOMMU can do.
    IommuInfo,
    /// Config space.
    ConfigSpace,
    /// Every file, directory and link of sysfs and proc, one after the other as they are asked for. They
    /// are parted by [`NEXT`]; names in a directory by a newline. What comes after the last is not there.
    Host,
}

/// Ends the content of one file, directory or link.
const NEXT: u8 = 0xff;

/// The kernel.
#[derive(Debug)]
pub struct Forger {
    kernel: SimKernel,
    place: Place,
    bytes: Mutex<Vec<u8>>,
}

impl Forger {
    /// A kernel that answers at `place` what [`set`](Self::set) gave it.
    pub fn new(place: Place) -> Arc<Self> {
        Arc::new(Self {
            kernel: SimKernel::new(Machine::x86_64()),
            place,
            bytes: Mutex::default(),
        })
    }

    /// From now on these bytes are answered.
    pub fn set(&self, bytes: &[u8]) {
        self.kernel.take_log(); // which would grow with every call
        *self.bytes() = bytes.to_vec();
    }

    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The content of the next file, directory or link.
    fn next(&self) -> Result<Vec<u8>> {
        let mut rest = self.bytes();
        if rest.is_empty() {
            return Err(Errno::NOENT);
        }
        let end = rest.iter().position(|&byte| byte == NEXT);
        let end = end.unwrap_or(rest.len());
        let content = rest[..end].to_vec();
        *rest = rest.get(end + 1..).unwrap_or_default().to_vec();
        Ok(content)
    }

    /// The answer to an ioctl, if it is one of ours.
    fn forged(&self, opcode: Opcode) -> Option<Vec<u8>> {
        match (opcode, self.place) {
            // The call of sPAPR has the same number.
            (uapi::IOMMU_GET_INFO, Place::IommuInfo) => Some(self.bytes().clone()),
            (uapi::IOMMU_GET_INFO, Place::ConfigSpace) => Some(PLAIN_INFO.to_vec()),
            (uapi::DEVICE_GET_REGION_INFO, Place::ConfigSpace) => Some(config_region()),
            _ => None,
        }
    }
}

/// `struct vfio_region_info` of config space.
fn config_region() -> Vec<u8> {
    let mut answer = Vec::new();
    for word in [
        32,
        uapi::REGION_FLAG_READ | uapi::REGION_FLAG_WRITE,
        uapi::PCI_CONFIG_REGION_INDEX,
        0,
    ] {
        answer.extend(word.to_ne_bytes());
    }
    answer.extend(0x100u64.to_ne_bytes());
    answer.extend(CONFIG_OFFSET.to_ne_bytes());
    answer
}

/// A backend in a container of this kernel, as its `attach` makes it.
pub fn backend(
    kernel: Arc<Forger>,
    registration: &Registration,
) -> vfio_core::Result<Box<dyn IommuBackend>> {
    let Reach::Container { attach, .. } = registration.reach else {
        unreachable!("every backend here lives in a container");
    };
    let kernel: Arc<dyn Kernel> = kernel;
    attach(Container::open(&kernel)?)
}

/// An open device of this kernel.
pub fn device(kernel: Arc<Forger>) -> Device {
    let registry = Registry::of([iommu_type1::TYPE1_V2]).expect("one backend");
    Vfio::on(kernel, registry)
        .open(BDF.parse().expect("an address"))
        .expect("the simulation has this device")
}

// SAFETY: memory is mapped by the simulation, which promises it.
unsafe impl Kernel for Forger {
    fn open(&self, path: &Path) -> Result<OwnedFd> {
        self.kernel.open(path)
    }

    unsafe fn ioctl(&self, fd: BorrowedFd<'_>, opcode: Opcode, arg: Arg<'_>) -> Result<u32> {
        if self.place == Place::IommuInfo && OBEYED.contains(&opcode) {
            return Ok(0);
        }
        match (self.forged(opcode), arg) {
            (Some(answer), Arg::InOut(bytes)) => {
                let len = answer.len().min(bytes.len()); // a kernel writes `argsz` bytes at most
                bytes[..len].copy_from_slice(&answer[..len]);
                Ok(0)
            }
            // SAFETY: passed on to our caller.
            (_, arg) => unsafe { self.kernel.ioctl(fd, opcode, arg) },
        }
    }

    unsafe fn ioctl_fd(&self, fd: BorrowedFd<'_>, opcode: Opcode, arg: Arg<'_>) -> Result<OwnedFd> {
        // SAFETY: passed on to our caller.
        unsafe { self.kernel.ioctl_fd(fd, opcode, arg) }
    }

    fn pread(&self, _: BorrowedFd<'_>, bytes: &mut [u8], offset: u64) -> Result<usize> {
        let start =
            usize::try_from(offset.wrapping_sub(CONFIG_OFFSET)).map_err(|_| Errno::INVAL)?;
        let space = self.bytes();
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = space.get(start.wrapping_add(i)).copied().unwrap_or(0xff);
        }
        Ok(bytes.len())
    }

    fn pwrite(&self, _: BorrowedFd<'_>, bytes: &[u8], _: u64) -> Result<usize> {
        Ok(bytes.len())
    }

    fn mmap(&self, len: usize) -> Result<NonNull<u8>> {
        self.kernel.mmap(len)
    }

    fn map_region(
        &self,
        device: BorrowedFd<'_>,
        offset: u64,
        len: usize,
        protection: Protection,
        align: usize,
    ) -> Result<RegionMapping> {
        self.kernel
            .map_region(device, offset, len, protection, align)
    }

    unsafe fn munmap(&self, addr: NonNull<u8>, len: usize) -> Result<()> {
        // SAFETY: passed on to our caller.
        unsafe { self.kernel.munmap(addr, len) }
    }

    unsafe fn keep_from_children(&self, addr: NonNull<u8>, len: usize) -> Result<()> {
        // SAFETY: passed on to our caller.
        unsafe { self.kernel.keep_from_children(addr, len) }
    }

    fn populate(&self, memory: HostRange, write: bool) -> Result<()> {
        self.kernel.populate(memory, write)
    }

    fn resident(&self, memory: HostRange, pages: &mut [u8]) -> Result<()> {
        self.kernel.resident(memory, pages)
    }

    fn eventfd(&self) -> Result<OwnedFd> {
        self.kernel.eventfd()
    }

    fn memlock_limit(&self) -> Option<u64> {
        self.kernel.memlock_limit()
    }

    fn page_size(&self) -> usize {
        self.kernel.page_size()
    }

    fn identity(&self) -> (String, String) {
        self.kernel.identity()
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>> {
        match self.place {
            Place::Host => self.next(),
            _ => self.kernel.read(path),
        }
    }

    fn list(&self, path: &Path) -> Result<Vec<OsString>> {
        if self.place != Place::Host {
            return self.kernel.list(path);
        }
        let content = self.next()?;
        let names = content.split(|&byte| byte == b'\n');
        let mut names: Vec<_> = names
            .map(|name| OsStr::from_bytes(name).to_owned())
            .collect();
        names.sort();
        Ok(names)
    }

    fn read_link(&self, path: &Path) -> Result<PathBuf> {
        match self.place {
            Place::Host => Ok(OsString::from_vec(self.next()?).into()),
            _ => self.kernel.read_link(path),
        }
    }

    fn node(&self, path: &Path) -> Result<Node> {
        self.kernel.node(path)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        self.kernel.write(path, bytes)
    }
}
