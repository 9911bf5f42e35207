//! The seam: what this project asks of Linux about VFIO, memory and the host passes the [`Kernel`] trait.
//!
//! [`Linux`] is the kernel that runs; `vfio-sim` has one in memory; wrappers count, trace or fail calls.
//! It is held as `Arc<dyn Kernel>`, because backends are registered as plain function pointers and so
//! cannot be generic over it. The seam knows no ioctl: a backend outside this workspace can issue calls
//! that the core has never heard of.

mod linux;

use std::ffi::OsString;
use std::fmt::Debug;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::Arc;

use crate::address::HostRange;

pub use linux::Linux;
pub use rustix::io::Errno;
pub use rustix::ioctl::Opcode;

/// What a call answers: the kernel's errno when it failed.
pub type Result<T> = std::result::Result<T, Errno>;

/// The argument of an ioctl.
#[derive(Debug)]
pub enum Arg<'a> {
    /// The call takes none.
    None,
    /// The call takes the number itself (`VFIO_CHECK_EXTENSION`, `VFIO_SET_IOMMU`).
    Value(usize),
    /// The call reads these bytes.
    In(&'a [u8]),
    /// The call reads and writes these bytes.
    InOut(&'a mut [u8]),
}

/// A part of a device, as [`Kernel::map_region`] mapped it.
#[derive(Debug)]
pub enum RegionMapping {
    /// At an address of this process; given back with [`Kernel::munmap`].
    Pages(NonNull<u8>),
    /// At none: a simulated device must see each access. Given back by dropping it.
    Registers(Arc<dyn RegisterFile>),
}

/// Mapped registers that are not memory.
pub trait RegisterFile: Debug + Send + Sync {
    /// Reads so many bytes at `offset`, in bytes, in one access.
    ///
    /// # Errors
    /// Where mapped memory would be a `SIGBUS`.
    fn read(&self, offset: usize, bytes: &mut [u8]) -> Result<()>;

    /// Writes these bytes at `offset`, in bytes, in one access.
    ///
    /// # Errors
    /// Where mapped memory would be a `SIGBUS`.
    fn write(&self, offset: usize, bytes: &[u8]) -> Result<()>;
}

/// What may be done with mapped memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Protection {
    /// It can be read.
    pub read: bool,
    /// It can be written.
    pub write: bool,
}

/// A node of the host's tree: whose it is, and what this process may do with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node {
    /// The permissions: the lower twelve bits of `st_mode`.
    pub mode: u32,
    /// The user that it belongs to.
    pub owner: u32,
    /// The group of users that it belongs to.
    pub group: u32,
    /// Whether this process may open it for reading and writing: mode, ACLs, security modules and the rules of a container
    /// are asked (`access(2)`): `EACCES`, or `EPERM` for a container's rules.
    pub access: Result<()>,
}

/// A Linux kernel, real or simulated.
///
/// # Safety
///
/// What [`mmap`](Kernel::mmap) answers, and the pages of [`map_region`](Kernel::map_region), must be mapped, for
/// `len` bytes and with those rights, until [`munmap`](Kernel::munmap) is called for it, aligned to 4096 bytes,
/// and overlap nothing that anybody else uses. Safe code reads and writes there on this word.
///
/// # Errors
///
/// Every method answers the errno of the system call behind it; what the errnos of an ioctl mean is in
/// the project's page of kernel behaviours. `EINTR` is passed on: only the caller knows whether a call
/// can be repeated.
#[allow(unsafe_code)] // a promise that safe code relies on
pub unsafe trait Kernel: Debug + Send + Sync {
    /// Opens a node such as `/dev/vfio/vfio` for reading and writing, close-on-exec.
    ///
    /// # Errors
    /// Those of `open(2)`.
    fn open(&self, path: &Path) -> Result<OwnedFd>;

    /// Issues an ioctl and answers its return value, which is never negative.
    ///
    /// A positive value is *not* always success: see [`call`](crate::call).
    ///
    /// # Safety
    /// `opcode` must be a call that reads and writes no more than the bytes of `arg`, and that takes an
    /// argument of that form. Where those bytes carry an address or an fd, the caller answers for what
    /// the kernel and the device then do with that memory or file, for as long as they do it. A call
    /// that returns a new fd must go through [`ioctl_fd`](Kernel::ioctl_fd), or the fd leaks; one that comes back in the
    /// bytes is the caller's to own.
    ///
    /// # Errors
    /// Those of the call.
    #[allow(unsafe_code)] // the door itself
    unsafe fn ioctl(&self, fd: BorrowedFd<'_>, opcode: Opcode, arg: Arg<'_>) -> Result<u32>;

    /// Issues an ioctl that returns a new fd, and owns it.
    ///
    /// # Safety
    /// As for [`ioctl`](Kernel::ioctl); and a non-negative return value of the call must be an fd that
    /// nobody else owns.
    ///
    /// # Errors
    /// Those of the call.
    #[allow(unsafe_code)] // the door itself
    unsafe fn ioctl_fd(&self, fd: BorrowedFd<'_>, opcode: Opcode, arg: Arg<'_>) -> Result<OwnedFd>;

    /// Reads at an offset; answers how many bytes came.
    ///
    /// # Errors
    /// Those of `pread(2)`.
    fn pread(&self, fd: BorrowedFd<'_>, bytes: &mut [u8], offset: u64) -> Result<usize>;

    /// Writes at an offset; answers how many bytes went.
    ///
    /// # Errors
    /// Those of `pwrite(2)`.
    fn pwrite(&self, fd: BorrowedFd<'_>, bytes: &[u8], offset: u64) -> Result<usize>;

    /// Maps `len` bytes of zeroed memory where the kernel likes. The mapping is the caller's, to be given back
    /// with [`munmap`](Kernel::munmap).
    ///
    /// # Errors
    /// Those of `mmap(2)`.
    fn mmap(&self, len: usize) -> Result<NonNull<u8>>;

    /// Maps `len` bytes of a device from `offset` of its fd on, a multiple of the page size, shared with it. Pages
    /// lie where address and offset are equal modulo `align`, a power of two, so that the kernel can use pages
    /// as large as that.
    ///
    /// # Errors
    /// Those of `mmap(2)`.
    fn map_region(
        &self,
        device: BorrowedFd<'_>,
        offset: u64,
        len: usize,
        protection: Protection,
        align: usize,
    ) -> Result<RegionMapping>;

    /// Gives a mapping back.
    ///
    /// # Safety
    /// `addr` and `len` must be those of one [`mmap`](Kernel::mmap) or [`map_region`](Kernel::map_region) of
    /// this kernel, nothing may use the memory afterwards, and no device may still be able to reach it.
    ///
    /// # Errors
    /// Those of `munmap(2)`.
    #[allow(unsafe_code)] // the door itself
    unsafe fn munmap(&self, addr: NonNull<u8>, len: usize) -> Result<()>;

    /// Keeps a mapping out of child processes (`MADV_DONTFORK`): a fork would otherwise leave the
    /// device with the pages of one side and this process with copies.
    ///
    /// # Safety
    /// `addr` and `len` must be those of one [`mmap`](Kernel::mmap) of this kernel.
    ///
    /// # Errors
    /// Those of `madvise(2)`.
    #[allow(unsafe_code)] // the door itself
    unsafe fn keep_from_children(&self, addr: NonNull<u8>, len: usize) -> Result<()>;

    /// Makes pages of this process present, as an access of each would, writable ones if `write` says so
    /// (`MADV_POPULATE_WRITE`, `MADV_POPULATE_READ`). `memory` starts with a page. Several threads may do so at once.
    ///
    /// It is safe for any address: no byte that anybody reads changes, and where no memory is it fails.
    ///
    /// # Errors
    /// Those of `madvise(2)`, and then some pages may be present: `EINVAL`: Linux before 5.14, or a device's memory;
    /// `ENOMEM`: nothing is mapped at a part of it, or there is no memory left; `EFAULT`: what is mapped there may not be
    /// accessed so, or its file ends before; `EHWPOISON`: a page is broken.
    fn populate(&self, memory: HostRange, write: bool) -> Result<()>;

    /// Which pages of this process are in memory: the lowest bit of a byte of `pages` each (`mincore`). `memory` starts
    /// with a page. Of a file's memory it is said whether the kernel has the page, which this process may yet have to
    /// be given.
    ///
    /// It is safe for any address: nothing there is accessed.
    ///
    /// # Errors
    /// Those of `mincore(2)`: `ENOMEM`: nothing is mapped at a part of it. `EINVAL`: `pages` has not a byte for each.
    fn resident(&self, memory: HostRange, pages: &mut [u8]) -> Result<()>;

    /// A new eventfd that counts, does not block and is close-on-exec.
    ///
    /// # Errors
    /// Those of `eventfd(2)`.
    fn eventfd(&self) -> Result<OwnedFd>;

    /// How much memory this process may lock, in bytes; `None` is no limit.
    fn memlock_limit(&self) -> Option<u64>;

    /// The size of a page of this host in bytes.
    fn page_size(&self) -> usize;

    /// The architecture and release of this kernel, as `uname` names them: `("ppc64le", "6.12.95")`.
    fn identity(&self) -> (String, String);

    /// The whole of a small file of sysfs or proc.
    ///
    /// # Errors
    /// Those of `open(2)` and `read(2)`.
    fn read(&self, path: &Path) -> Result<Vec<u8>>;

    /// The names in a directory, sorted.
    ///
    /// # Errors
    /// Those of `open(2)` and `getdents(2)`.
    fn list(&self, path: &Path) -> Result<Vec<OsString>>;

    /// Where a symbolic link points.
    ///
    /// # Errors
    /// Those of `readlink(2)`.
    fn read_link(&self, path: &Path) -> Result<PathBuf>;

    /// Whose a node such as `/dev/vfio/7` is, and whether this process may open it. It is not opened: that could load a
    /// module, or take a group from others.
    ///
    /// # Errors
    /// Those of `stat(2)`.
    fn node(&self, path: &Path) -> Result<Node>;

    /// Writes to a file of sysfs, in one call.
    ///
    /// # Errors
    /// Those of `open(2)` and `write(2)`.
    fn write(&self, path: &Path, bytes: &[u8]) -> Result<()>;
}
