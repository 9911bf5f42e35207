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
use crate::uapi::{self, GroupStatus};

pub(crate) use membership::Membership;
pub(crate) use open::{OpenGroups, SharedGroup};

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
        let fd = kernel.open(&node).map_err(|errno| {
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

    /// Its number.
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// Puts the group into a container.
    pub(crate) fn join(self, container: &Container) -> Result<Membership> {
        let container_fd = container.fd().as_raw_fd();
        // SAFETY: the call reads one i32, the fd of a container that the membership keeps open.
        let joined = unsafe {
            call::zero(
                &*self.kernel,
                self.fd.as_fd(),
                uapi::GROUP_SET_CONTAINER,
                Arg::In(container_fd.as_bytes()),
            )
        };
        joined.map_err(|answer| self.error("VFIO_GROUP_SET_CONTAINER", answer))?;
        Ok(Membership::new(self, container))
    }

    fn leave(&self) -> Result<()> {
        // SAFETY: the call takes no argument.
        unsafe {
            call::zero(
                &*self.kernel,
                self.fd.as_fd(),
                uapi::GROUP_UNSET_CONTAINER,
                Arg::None,
            )
        }
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
