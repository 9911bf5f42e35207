//! The kernel that runs: the one place that makes system calls.
#![allow(unsafe_code)] // This is the door: every block below says why it may be.

use std::ffi::{OsString, c_void};
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::ptr::{self, NonNull};

use rustix::event::EventfdFlags;
use rustix::fs::{Mode, OFlags};
use rustix::ioctl::{Ioctl, IoctlOutput};
use rustix::mm::{Advice, MapFlags, ProtFlags};

use super::{Arg, Errno, Kernel, MapSource, Opcode, Protection, Result};

/// The Linux kernel that this process runs on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Linux;

/// One ioctl, as `rustix` wants it described.
struct Call<'a> {
    opcode: Opcode,
    arg: Arg<'a>,
}

// SAFETY: the opcode and the argument are the caller's, who promised (`Kernel::ioctl`) that they belong
// together; `as_ptr` gives a pointer that is valid for all the bytes that the caller's argument has;
// `IS_MUTATING` is true, which claims nothing; the output is the plain return value.
unsafe impl Ioctl for Call<'_> {
    type Output = IoctlOutput;
    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        self.opcode
    }

    fn as_ptr(&mut self) -> *mut c_void {
        match &mut self.arg {
            Arg::None => ptr::null_mut(),
            Arg::Value(value) => ptr::without_provenance_mut(*value),
            Arg::In(bytes) => bytes.as_ptr().cast_mut().cast(),
            Arg::InOut(bytes) => bytes.as_mut_ptr().cast(),
        }
    }

    unsafe fn output_from_ptr(
        output: IoctlOutput,
        _: *mut c_void,
    ) -> rustix::io::Result<IoctlOutput> {
        Ok(output)
    }
}

/// Issues the call; answers its return value as Linux gave it.
///
/// # Safety
/// That of [`Kernel::ioctl`].
unsafe fn issue(fd: BorrowedFd<'_>, opcode: Opcode, arg: Arg<'_>) -> Result<IoctlOutput> {
    // SAFETY: the caller promised that opcode and argument belong together.
    unsafe { rustix::ioctl::ioctl(fd, Call { opcode, arg }) }
}

// SAFETY: `mmap` is that of Linux, with no address asked for.
unsafe impl Kernel for Linux {
    fn open(&self, path: &Path) -> Result<OwnedFd> {
        rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
    }

    unsafe fn ioctl(&self, fd: BorrowedFd<'_>, opcode: Opcode, arg: Arg<'_>) -> Result<u32> {
        // SAFETY: passed on to our caller.
        let value = unsafe { issue(fd, opcode, arg) }?;
        // libc has turned every negative value into an errno already.
        u32::try_from(value).map_err(|_| Errno::RANGE)
    }

    unsafe fn ioctl_fd(&self, fd: BorrowedFd<'_>, opcode: Opcode, arg: Arg<'_>) -> Result<OwnedFd> {
        // SAFETY: passed on to our caller.
        let value: RawFd = unsafe { issue(fd, opcode, arg) }?;
        if value < 0 {
            return Err(Errno::RANGE);
        }
        // SAFETY: the caller promised that this call returns a new fd; nobody else has seen it.
        Ok(unsafe { OwnedFd::from_raw_fd(value) })
    }

    fn pread(&self, fd: BorrowedFd<'_>, bytes: &mut [u8], offset: u64) -> Result<usize> {
        rustix::io::pread(fd, bytes, offset)
    }

    fn pwrite(&self, fd: BorrowedFd<'_>, bytes: &[u8], offset: u64) -> Result<usize> {
        rustix::io::pwrite(fd, bytes, offset)
    }

    fn mmap(
        &self,
        source: MapSource<'_>,
        len: usize,
        protection: Protection,
    ) -> Result<NonNull<u8>> {
        let mut flags = ProtFlags::empty();
        flags.set(ProtFlags::READ, protection.read);
        flags.set(ProtFlags::WRITE, protection.write);
        let addr = match source {
            // SAFETY: no address is asked for, so that no mapping of this process is replaced.
            MapSource::Anonymous => unsafe {
                rustix::mm::mmap_anonymous(ptr::null_mut(), len, flags, MapFlags::PRIVATE)
            },
            // SAFETY: as above.
            MapSource::Shared { fd, offset } => unsafe {
                rustix::mm::mmap(ptr::null_mut(), len, flags, MapFlags::SHARED, fd, offset)
            },
        }?;
        NonNull::new(addr.cast()).ok_or(Errno::NOMEM)
    }

    unsafe fn munmap(&self, addr: NonNull<u8>, len: usize) -> Result<()> {
        // SAFETY: the caller promised that this is a mapping of ours that nothing uses.
        unsafe { rustix::mm::munmap(addr.as_ptr().cast(), len) }
    }

    unsafe fn keep_from_children(&self, addr: NonNull<u8>, len: usize) -> Result<()> {
        // SAFETY: the caller promised that this is a mapping of ours; the advice changes nothing that
        // this process can see of it.
        unsafe { rustix::mm::madvise(addr.as_ptr().cast(), len, Advice::LinuxDontFork) }
    }

    fn eventfd(&self) -> Result<OwnedFd> {
        rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
    }

    fn memlock_limit(&self) -> Option<u64> {
        rustix::process::getrlimit(rustix::process::Resource::Memlock).current
    }

    fn page_size(&self) -> usize {
        rustix::param::page_size()
    }

    fn identity(&self) -> (String, String) {
        let uname = rustix::system::uname();
        (
            uname.machine().to_string_lossy().into_owned(),
            uname.release().to_string_lossy().into_owned(),
        )
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>> {
        std::fs::read(path).map_err(errno)
    }

    fn list(&self, path: &Path) -> Result<Vec<OsString>> {
        let mut names = std::fs::read_dir(path)
            .and_then(|entries| {
                entries
                    .map(|entry| entry.map(|entry| entry.file_name()))
                    .collect::<std::io::Result<Vec<_>>>()
            })
            .map_err(errno)?;
        names.sort();
        Ok(names)
    }

    fn read_link(&self, path: &Path) -> Result<PathBuf> {
        std::fs::read_link(path).map_err(errno)
    }
}

/// What the standard library made of an errno, turned back.
fn errno(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}
