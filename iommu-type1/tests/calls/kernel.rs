//! A kernel that has nothing but a container: it answers ioctls as a test says, and remembers them.

use std::ffi::OsString;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex};

use vfio_core::Container;
use vfio_core::address::HostRange;
use vfio_core::iommu::{IommuBackend, Reach, Registration};
use vfio_core::kernel::{
    Arg, Errno, Kernel, Linux, Node, Opcode, Protection, RegionMapping, Result,
};
use vfio_core::uapi;

/// What the kernel answers to an ioctl: it may change the bytes of the call.
type Answer = Box<dyn FnMut(Opcode, &mut [u8]) -> Result<u32> + Send>;

/// The calls with their bytes, in the order in which they came.
type Calls = Arc<Mutex<Vec<(Opcode, Vec<u8>)>>>;

struct Scripted {
    answer: Mutex<Answer>,
    calls: Calls,
}

impl std::fmt::Debug for Scripted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Scripted")
    }
}

/// A context of that backend on a kernel that answers so, and what it is asked.
pub(crate) fn attach(
    registration: &Registration,
    answer: impl FnMut(Opcode, &mut [u8]) -> Result<u32> + Send + 'static,
) -> (vfio_core::Result<Box<dyn IommuBackend>>, Log) {
    let calls = Calls::default();
    let kernel: Arc<dyn Kernel> = Arc::new(Scripted {
        answer: Mutex::new(Box::new(answer)),
        calls: calls.clone(),
    });
    let Reach::Container { attach, .. } = registration.reach else {
        unreachable!("it lives in a container");
    };
    let log = Log(calls);
    let backend = attach(Container::open(&kernel).unwrap());
    (backend, log)
}

/// What the kernel was asked.
pub(crate) struct Log(Calls);

impl Log {
    /// The calls since this was last asked.
    pub(crate) fn take(&self) -> Vec<(Opcode, Vec<u8>)> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

#[allow(unsafe_code)] // the trait's
// SAFETY: it maps nothing.
unsafe impl Kernel for Scripted {
    fn open(&self, _: &Path) -> Result<OwnedFd> {
        Linux.eventfd()
    }

    unsafe fn ioctl(&self, _: BorrowedFd<'_>, opcode: Opcode, arg: Arg<'_>) -> Result<u32> {
        if opcode == uapi::GET_API_VERSION {
            return Ok(uapi::API_VERSION);
        }
        let mut none = [];
        let mut read = Vec::new();
        let bytes = match arg {
            Arg::None | Arg::Value(_) => &mut none[..],
            Arg::In(bytes) => {
                read.extend(bytes);
                &mut read
            }
            Arg::InOut(bytes) => bytes,
        };
        if let Some(argsz) = bytes.first_chunk() {
            assert_eq!(u32::from_ne_bytes(*argsz) as usize, bytes.len());
        }
        self.calls.lock().unwrap().push((opcode, bytes.to_vec()));
        (self.answer.lock().unwrap())(opcode, bytes)
    }

    unsafe fn ioctl_fd(&self, _: BorrowedFd<'_>, _: Opcode, _: Arg<'_>) -> Result<OwnedFd> {
        Err(Errno::NOTTY)
    }

    fn pread(&self, _: BorrowedFd<'_>, _: &mut [u8], _: u64) -> Result<usize> {
        Err(Errno::NOSYS)
    }

    fn pwrite(&self, _: BorrowedFd<'_>, _: &[u8], _: u64) -> Result<usize> {
        Err(Errno::NOSYS)
    }

    fn mmap(&self, _: usize) -> Result<NonNull<u8>> {
        Err(Errno::NOSYS)
    }

    fn map_region(
        &self,
        _: BorrowedFd<'_>,
        _: u64,
        _: usize,
        _: Protection,
        _: usize,
    ) -> Result<RegionMapping> {
        Err(Errno::NOSYS)
    }

    unsafe fn munmap(&self, _: NonNull<u8>, _: usize) -> Result<()> {
        Err(Errno::NOSYS)
    }

    unsafe fn keep_from_children(&self, _: NonNull<u8>, _: usize) -> Result<()> {
        Err(Errno::NOSYS)
    }

    fn populate(&self, memory: HostRange, write: bool) -> Result<()> {
        Linux.populate(memory, write)
    }

    fn resident(&self, memory: HostRange, pages: &mut [u8]) -> Result<()> {
        Linux.resident(memory, pages)
    }

    fn eventfd(&self) -> Result<OwnedFd> {
        Linux.eventfd()
    }

    fn memlock_limit(&self) -> Option<u64> {
        None
    }

    fn page_size(&self) -> usize {
        4096
    }

    fn identity(&self) -> (String, String) {
        ("x86_64".into(), "6.12.95".into())
    }

    fn read(&self, _: &Path) -> Result<Vec<u8>> {
        Err(Errno::NOENT)
    }

    fn list(&self, _: &Path) -> Result<Vec<OsString>> {
        Err(Errno::NOENT)
    }

    fn read_link(&self, _: &Path) -> Result<PathBuf> {
        Err(Errno::NOENT)
    }

    fn node(&self, _: &Path) -> Result<Node> {
        Err(Errno::NOENT)
    }

    fn write(&self, _: &Path, _: &[u8]) -> Result<()> {
        Err(Errno::NOENT)
    }
}
