//! One call of the kernel, and what it answered.

use std::borrow::Cow;
use std::ffi::OsString;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::ptr::NonNull;

use vfio_core::address::HostRange;
use vfio_core::kernel::{Errno, Node, Opcode, Protection};

use super::objects::Object;
use crate::names;

/// What a call is called: `VFIO_SET_IOMMU`, `open`, `map_region`, or `ioctl 0x1234` for a call that is not VFIO's.
pub type Name = Cow<'static, str>;

/// A call that is about to be made, or was.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// The fd that is asked; `None` for calls that take none.
    pub fd: Option<BorrowedFd<'a>>,
    /// What the fd stands for; `None` also for one that was not opened through the wrapper.
    pub object: Option<Object>,
    /// Which call, with what it was given.
    pub request: Request<'a>,
}

/// Which call of [`Kernel`](vfio_core::kernel::Kernel), with what it was given.
#[derive(Debug, Clone, Copy)]
pub enum Request<'a> {
    /// `open` of a node.
    Open {
        /// Which node.
        path: &'a Path,
    },
    /// An ioctl that returns a number.
    Ioctl {
        /// Which ioctl.
        opcode: Opcode,
        /// What it reads.
        input: Input<'a>,
    },
    /// An ioctl that returns an fd.
    IoctlFd {
        /// Which ioctl.
        opcode: Opcode,
        /// What it reads.
        input: Input<'a>,
    },
    /// `pread`.
    Pread {
        /// How many bytes are asked for.
        len: usize,
        /// From where, in bytes.
        offset: u64,
    },
    /// `pwrite`.
    Pwrite {
        /// What is written.
        bytes: &'a [u8],
        /// Where, in bytes.
        offset: u64,
    },
    /// `mmap` of memory of the process's own.
    Mmap {
        /// Size in bytes.
        len: usize,
    },
    /// `mmap` of a part of a device.
    MapRegion {
        /// Where it starts in the device's fd, in bytes.
        offset: u64,
        /// Size in bytes.
        len: usize,
        /// What may be done with it.
        protection: Protection,
        /// What the address should be equal to the offset modulo of.
        align: usize,
    },
    /// `munmap`.
    Munmap {
        /// Where it is.
        addr: NonNull<u8>,
        /// Size in bytes.
        len: usize,
    },
    /// `madvise(MADV_DONTFORK)`.
    KeepFromChildren {
        /// Where it is.
        addr: NonNull<u8>,
        /// Size in bytes.
        len: usize,
    },
    /// `madvise(MADV_POPULATE_WRITE)`, or `MADV_POPULATE_READ`.
    Populate {
        /// Which memory.
        memory: HostRange,
        /// Whether pages that can be written are asked for.
        write: bool,
    },
    /// `mincore`.
    Resident {
        /// Which memory.
        memory: HostRange,
    },
    /// `eventfd`.
    Eventfd,
    /// The whole of a file of the host.
    Read {
        /// Which file.
        path: &'a Path,
    },
    /// The names in a directory of the host.
    List {
        /// Which directory.
        path: &'a Path,
    },
    /// Where a symbolic link of the host points.
    ReadLink {
        /// Which link.
        path: &'a Path,
    },
    /// Whose a node is, and whether it may be opened.
    Node {
        /// Which node.
        path: &'a Path,
    },
    /// A file of the host is written to.
    Write {
        /// Which file.
        path: &'a Path,
        /// What is written.
        bytes: &'a [u8],
    },
}

/// What an ioctl reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input<'a> {
    /// The call takes no argument.
    None,
    /// It takes a number.
    Value(usize),
    /// It reads bytes, as they were before the call.
    Bytes(&'a [u8]),
}

impl Call<'_> {
    /// What it is called.
    pub fn name(&self) -> Name {
        match self.request {
            Request::Open { .. } => "open",
            Request::Ioctl { opcode, .. } | Request::IoctlFd { opcode, .. } => {
                let kind = self.object.map(|object| object.kind);
                match names::ioctl(opcode, kind) {
                    Some(name) => name,
                    None => return format!("ioctl {opcode:#x}").into(),
                }
            }
            Request::Pread { .. } => "pread",
            Request::Pwrite { .. } => "pwrite",
            Request::Mmap { .. } => "mmap",
            Request::MapRegion { .. } => "map_region",
            Request::Munmap { .. } => "munmap",
            Request::KeepFromChildren { .. } => "keep_from_children",
            Request::Populate { .. } => "populate",
            Request::Resident { .. } => "resident",
            Request::Eventfd => "eventfd",
            Request::Read { .. } => "read",
            Request::List { .. } => "list",
            Request::ReadLink { .. } => "read_link",
            Request::Node { .. } => "node",
            Request::Write { .. } => "write",
        }
        .into()
    }

    /// Whether it is an ioctl, of either kind.
    pub fn is_ioctl(&self) -> bool {
        matches!(
            self.request,
            Request::Ioctl { .. } | Request::IoctlFd { .. }
        )
    }
}

/// What a call answered.
#[derive(Debug, Clone, Copy)]
pub struct Outcome<'a> {
    /// What it returned, or how it failed.
    pub answer: Result<Value<'a>, Errno>,
    /// What it wrote: the argument of an ioctl that can be written, as it is after the call, failed or not; the bytes
    /// that `pread` or reading a file gave.
    pub output: &'a [u8],
}

/// What a call that succeeded returned.
#[derive(Debug, Clone, Copy)]
pub enum Value<'a> {
    /// Nothing; for reading a file, what came is in [`Outcome::output`].
    Done,
    /// A number: what an ioctl returned, how many bytes were read or written.
    Number(u64),
    /// A new fd, and the object that it stands for from now on.
    Fd(BorrowedFd<'a>, Object),
    /// The address of a mapping.
    Address(NonNull<u8>),
    /// A mapping that is not memory.
    Registers,
    /// The names in a directory.
    Names(&'a [OsString]),
    /// Where a link points.
    Path(&'a Path),
    /// Whose a node is.
    Node(Node),
}
