//! The container: the fd that holds an IOMMU context.
#![allow(unsafe_code)] // Container ioctls: numbers by value, no addresses.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use crate::call;
use crate::error::{Answer, Error, ErrorKind, Result};
use crate::kernel::{Arg, Errno, Kernel, Opcode};
use crate::uapi;

/// The node whose opening makes a new container.
pub const CONTAINER_NODE: &str = "/dev/vfio/vfio";

/// A VFIO container. Clones are handles of the same one; it is closed with the last.
#[derive(Debug, Clone)]
pub struct Container(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    fd: OwnedFd,
    kernel: Arc<dyn Kernel>,
}

impl Container {
    /// Opens a new, empty container.
    ///
    /// # Errors
    /// [`ErrorKind::NoVfio`]: the node is not there, or nothing is behind it.
    /// [`ErrorKind::NotPermitted`]. [`ErrorKind::Unsupported`]: another version of the interface.
    pub fn open(kernel: &Arc<dyn Kernel>) -> Result<Self> {
        let fd = kernel.open(Path::new(CONTAINER_NODE)).map_err(|errno| {
            let error = Error::kernel("open", CONTAINER_NODE, errno);
            match errno {
                Errno::NOENT | Errno::NODEV | Errno::NXIO => error.of_kind(ErrorKind::NoVfio),
                _ => error,
            }
        })?;
        Self::adopt(kernel, fd)
    }

    /// A container that somebody else opened.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`]: another version of the interface. What the kernel answered, `ENOTTY` among
    /// others: the fd is none of a container.
    pub(crate) fn adopt(kernel: &Arc<dyn Kernel>, fd: OwnedFd) -> Result<Self> {
        let container = Self(Arc::new(Inner {
            fd,
            kernel: Arc::clone(kernel),
        }));
        // SAFETY: the call takes no argument.
        let version =
            unsafe { call::value(&**kernel, container.fd(), uapi::GET_API_VERSION, Arg::None) }
                .map_err(|answer| Error::kernel("VFIO_GET_API_VERSION", CONTAINER_NODE, answer))?;
        if version != uapi::API_VERSION {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "VFIO_GET_API_VERSION",
                CONTAINER_NODE,
            )
            .because(format!("the kernel has version {version} of the interface")));
        }
        Ok(container)
    }

    /// Its fd, if nobody else has a handle of it.
    pub(crate) fn into_fd(self) -> Option<OwnedFd> {
        Arc::into_inner(self.0).map(|inner| inner.fd)
    }

    /// The kernel that it belongs to.
    pub fn kernel(&self) -> &Arc<dyn Kernel> {
        &self.0.kernel
    }

    /// Its fd, for the ioctls of a backend.
    #[inline]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.fd.as_fd()
    }

    /// Issues an ioctl that returns 0 when it succeeds, and nothing else.
    ///
    /// # Safety
    /// That of [`Kernel::ioctl`].
    ///
    /// # Errors
    /// The errno, or the positive number that the kernel returned.
    #[inline]
    pub unsafe fn call(&self, opcode: Opcode, arg: Arg<'_>) -> std::result::Result<(), Answer> {
        // SAFETY: passed on to our caller.
        unsafe { call::zero(&*self.0.kernel, self.fd(), opcode, arg) }
    }

    /// Whether the kernel advertises an extension. An advertised IOMMU may still be refused by
    /// `VFIO_SET_IOMMU`: sPAPR advertises both its versions always.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn check_extension(&self, extension: u32) -> Result<bool> {
        // SAFETY: the call takes a number.
        let answer = unsafe {
            call::value(
                &*self.0.kernel,
                self.fd(),
                uapi::CHECK_EXTENSION,
                Arg::Value(extension as usize),
            )
        };
        match answer {
            Ok(value) => Ok(value > 0),
            Err(answer) => Err(Error::kernel(
                "VFIO_CHECK_EXTENSION",
                format!("extension {extension}"),
                answer,
            )),
        }
    }

    /// Makes sure that the container has no IOMMU anymore, and so no mapping: an IOMMU has its own answer for a
    /// call that it does not know, a container without one refuses every call as invalid (A6).
    ///
    /// # Errors
    /// [`ErrorKind::Busy`]: a group that is not ours is in it. What the kernel answered.
    pub(crate) fn is_over(&self) -> Result<()> {
        // SAFETY: a call of groups, without an argument; nothing that is behind a container knows it.
        match unsafe { self.call(uapi::GROUP_GET_STATUS, Arg::None) } {
            Err(Answer::Errno(Errno::INVAL)) => Ok(()),
            Err(Answer::Errno(Errno::NOTTY | Errno::PERM)) => {
                Err(Error::new(ErrorKind::Busy, "release", CONTAINER_NODE)
                    .because("it still has its IOMMU: another group is in it"))
            }
            Err(answer) => Err(Error::kernel(
                "VFIO_GROUP_GET_STATUS",
                CONTAINER_NODE,
                answer,
            )),
            Ok(()) => Err(Error::new(ErrorKind::Kernel, "release", CONTAINER_NODE)
                .because("it answers as a group does")),
        }
    }

    /// Gives the container its IOMMU, once a group is in it.
    pub(crate) fn set_iommu(&self, extension: u32) -> Result<()> {
        // SAFETY: the call takes a number.
        unsafe { self.call(uapi::SET_IOMMU, Arg::Value(extension as usize)) }
            .map_err(|answer| Error::kernel("VFIO_SET_IOMMU", format!("type {extension}"), answer))
    }
}
