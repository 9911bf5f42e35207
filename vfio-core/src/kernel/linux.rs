//! The kernel that runs: the one place that makes system calls.
#![allow(unsafe_code)] // This is the door: every block below says why it may be.

use std::ffi::{OsString, c_void};
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::ptr::{self, NonNull};

use rustix::event::EventfdFlags;
use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags};
use rustix::ioctl::{Ioctl, IoctlOutput};
use rustix::mm::{Advice, MapFlags, ProtFlags};

use crate::address::HostRange;

use super::{Arg, Errno, Kernel, Node, Opcode, Protection, RegionMapping, Result};

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

/// Addresses of this process that nothing is at, with a place among them.
struct Room {
    start: *mut u8,
    size: usize,
    place: *mut u8,
    /// In whole pages.
    len: usize,
}

impl Room {
    /// Room for `len` bytes at an address that equals `offset` modulo `align`, a power of two and at least a page.
    fn reserve(len: usize, offset: u64, align: usize) -> Result<Self> {
        let page = rustix::param::page_size();
        let len = len.checked_next_multiple_of(page).ok_or(Errno::NOMEM)?;
        let size = len.checked_add(align - page).ok_or(Errno::NOMEM)?;
        // SAFETY: no address is asked for, so that no mapping of this process is replaced.
        let start = unsafe {
            let nothing = ProtFlags::empty();
            let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
            rustix::mm::mmap_anonymous(ptr::null_mut(), size, nothing, flags)
        }?;
        let start = start.cast::<u8>();
        #[allow(clippy::cast_possible_truncation)] // only what is below `align` counts
        let wanted = offset as usize % align;
        let skip = wanted.wrapping_sub(start as usize) % align;
        Ok(Self {
            start,
            size,
            place: start.wrapping_add(skip),
            len,
        })
    }

    /// Gives back what is before and after the place.
    fn trim(&self) {
        let before = self.place as usize - self.start as usize;
        let after = self.size - before - self.len;
        unmap_room(self.start, before);
        unmap_room(self.place.wrapping_add(self.len), after);
    }

    fn give_back(&self) {
        unmap_room(self.start, self.size);
    }
}

/// Addresses that could not be given back are lost, and nothing is at them.
fn unmap_room(start: *mut u8, len: usize) {
    if len > 0 {
        // SAFETY: a part of the room that this module reserved and that nobody uses.
        let _ = unsafe { rustix::mm::munmap(start.cast(), len) };
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

// SAFETY: the mappings are those of Linux, at addresses that nothing else uses.
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

    fn mmap(&self, len: usize) -> Result<NonNull<u8>> {
        // SAFETY: no address is asked for, so that no mapping of this process is replaced.
        let addr = unsafe {
            let rights = ProtFlags::READ | ProtFlags::WRITE;
            rustix::mm::mmap_anonymous(ptr::null_mut(), len, rights, MapFlags::PRIVATE)
        }?;
        NonNull::new(addr.cast()).ok_or(Errno::NOMEM)
    }

    fn map_region(
        &self,
        device: BorrowedFd<'_>,
        offset: u64,
        len: usize,
        protection: Protection,
        align: usize,
    ) -> Result<RegionMapping> {
        let mut rights = ProtFlags::empty();
        rights.set(ProtFlags::READ, protection.read);
        rights.set(ProtFlags::WRITE, protection.write);
        let room = Room::reserve(len, offset, align.max(self.page_size()))?;
        let flags = MapFlags::SHARED | MapFlags::FIXED;
        // SAFETY: what is replaced is the room that was reserved for it, which nobody uses.
        let mapped =
            unsafe { rustix::mm::mmap(room.place.cast(), len, rights, flags, device, offset) };
        match mapped {
            Ok(addr) => {
                room.trim();
                let addr = NonNull::new(addr.cast()).ok_or(Errno::NOMEM)?;
                Ok(RegionMapping::Pages(addr))
            }
            Err(errno) => {
                room.give_back();
                Err(errno)
            }
        }
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

    fn populate(&self, memory: HostRange, write: bool) -> Result<()> {
        let advice = match write {
            true => Advice::LinuxPopulateWrite,
            false => Advice::LinuxPopulateRead,
        };
        let start = ptr::without_provenance_mut(memory.addr());
        // SAFETY: the advice makes pages present and changes no byte of them; it fails where nothing is mapped.
        unsafe { rustix::mm::madvise(start, memory.len(), advice) }
    }

    fn resident(&self, memory: HostRange, pages: &mut [u8]) -> Result<()> {
        if pages.len() < memory.len().div_ceil(self.page_size()) {
            return Err(Errno::INVAL);
        }
        let start = ptr::without_provenance_mut(memory.addr());
        // SAFETY: the kernel looks at its tables alone, and writes a byte for each page, of which there is room.
        match unsafe { libc::mincore(start, memory.len(), pages.as_mut_ptr()) } {
            0 => Ok(()),
            _ => Err(errno(std::io::Error::last_os_error())),
        }
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

    fn node(&self, path: &Path) -> Result<Node> {
        let stat = rustix::fs::stat(path)?;
        let wanted = Access::READ_OK | Access::WRITE_OK;
        // With the effective ids, as open(2) would.
        let access = rustix::fs::accessat(CWD, path, wanted, AtFlags::EACCESS);
        Ok(Node {
            mode: stat.st_mode & 0o7777,
            owner: stat.st_uid,
            group: stat.st_gid,
            access,
        })
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
        match rustix::io::write(&file, bytes)? {
            count if count == bytes.len() => Ok(()),
            _ => Err(Errno::IO),
        }
    }
}

/// What the standard library made of an errno, turned back.
fn errno(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}
