//! The group: the unit of ownership.
#![allow(unsafe_code)] // Group ioctls: a struct, an fd; no addresses.

mod membership;
mod open;

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use zerocopy::IntoBytes;

use crate::call;
use crate::container::Container;
use crate::error::{Answer, Error, ErrorKind, Result};
use crate::host;
use crate::kernel::{Arg, Errno, Kernel};
use crate::patience::retry;
use crate::uapi::{self, GroupStatus};

pub(crate) use membership::Membership;
pub(crate) use open::{OpenGroups, Shared, SharedGroup};

/// The node of a group.
pub fn group_node(id: u32) -> PathBuf {
    PathBuf::from(format!("/dev/vfio/{id}"))
}

/// An open group that is in no container.
#[derive(Debug)]
pub(crate) struct Group {
    fd: OwnedFd,
    id: u32,
    kernel: Arc<dyn Kernel>,
}

impl Group {
    /// Opens a group that is viable: no member belongs to a kernel driver.
    pub(crate) fn open(kernel: &Arc<dyn Kernel>, id: u32) -> Result<Self> {
        let node = group_node(id);
        // A group that was bound a moment ago may not be there yet (A12).
        let opened = retry(|| kernel.open(&node), |errno| *errno == Errno::NODEV);
        let fd = opened.map_err(|errno| {
            let error = Error::kernel("open", node.display().to_string(), errno).of_group(id);
            match errno {
                Errno::BUSY => {
                    error.because("another process, or another part of this one, has it open")
                }
                Errno::NOENT => error.because("the node is not there"),
                Errno::ACCESS => error.because("this user may not open the node"),
                Errno::PERM => error.because("the kernel forbids it to this process"),
                _ => error,
            }
        })?;
        Self::adopt(kernel, id, fd)
    }

    /// A viable group that somebody else opened.
    pub(crate) fn adopt(kernel: &Arc<dyn Kernel>, id: u32, fd: OwnedFd) -> Result<Self> {
        let group = Self {
            fd,
            id,
            kernel: Arc::clone(kernel),
        };
        if group.status()?.flags & uapi::GROUP_FLAGS_VIABLE == 0 {
            return Err(group.not_viable());
        }
        Ok(group)
    }

    /// Whether it is in a container.
    pub(crate) fn is_in_container(&self) -> Result<bool> {
        Ok(self.status()?.flags & uapi::GROUP_FLAGS_CONTAINER_SET != 0)
    }

    fn status(&self) -> Result<GroupStatus> {
        let mut status = GroupStatus {
            argsz: call::argsz::<GroupStatus>(),
            flags: 0,
        };
        // SAFETY: the call fills in this struct, which carries no address.
        unsafe {
            call::zero(
                &*self.kernel,
                self.fd.as_fd(),
                uapi::GROUP_GET_STATUS,
                Arg::InOut(status.as_mut_bytes()),
            )
        }
        .map_err(|answer| self.error("VFIO_GROUP_GET_STATUS", answer))?;
        Ok(status)
    }

    /// Names the members and the drivers that are in the way.
    fn not_viable(&self) -> Error {
        let in_the_way: Vec<_> = host::group(&*self.kernel, self.id)
            .map(|group| group.spoilers().map(ToString::to_string).collect())
            .unwrap_or_default();
        let why = if in_the_way.is_empty() {
            "a member belongs to a kernel driver".to_owned()
        } else {
            format!("in the way: {}", in_the_way.join(", "))
        };
        Error::new(ErrorKind::NotViable, "use", self.to_string())
            .of_group(self.id)
            .because(why)
    }

    /// Its fd, for somebody else.
    pub(crate) fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// The kernel that it belongs to.
    pub(crate) fn kernel(&self) -> &Arc<dyn Kernel> {
        &self.kernel
    }

    /// Its number.
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// Puts the group into a container.
    pub(crate) fn set_container(&self, container: &Container) -> Result<()> {
        let container_fd = container.fd().as_raw_fd();
        // SAFETY: the call reads one i32, the fd of a container that is open.
        let joined = unsafe {
            call::zero(
                &*self.kernel,
                self.fd.as_fd(),
                uapi::GROUP_SET_CONTAINER,
                Arg::In(container_fd.as_bytes()),
            )
        };
        joined.map_err(|answer| self.error("VFIO_GROUP_SET_CONTAINER", answer))
    }

    fn leave(&self) -> Result<()> {
        // SAFETY: the call takes no argument.
        let leave = || unsafe {
            call::zero(
                &*self.kernel,
                self.fd.as_fd(),
                uapi::GROUP_UNSET_CONTAINER,
                Arg::None,
            )
        };
        // A child process between fork and exec has the device open for a moment (A11).
        retry(leave, |answer| *answer == Answer::Errno(Errno::BUSY))
            .map_err(|answer| self.error("VFIO_GROUP_UNSET_CONTAINER", answer))
    }

    fn error(&self, operation: &'static str, answer: Answer) -> Error {
        Error::kernel(operation, self.to_string(), answer).of_group(self.id)
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "group {}", self.id)
    }
}
