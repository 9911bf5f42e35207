//! The group: the unit of ownership.
#![allow(unsafe_code)] // Group ioctls: a struct, an fd, a name; no addresses.

use std::ffi::CString;
use std::fmt;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use tracing::warn;
use zerocopy::IntoBytes;

use crate::call;
use crate::container::Container;
use crate::error::{Answer, Error, ErrorKind, Result};
use crate::host::{self, Bdf};
use crate::iommu::Domain;
use crate::kernel::{Arg, Errno, Kernel};
use crate::uapi::{self, GroupStatus};

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
        Ok(Membership {
            group: Some(self),
            domain: None,
            container: container.clone(),
        })
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

/// A group in a container.
///
/// Dropping it takes the group out, which ends the life of the IOMMU context, and then closes group and
/// container. Whoever keeps something that must be released before (a device, a mapped BAR) holds an
/// `Arc` of this, so that drops in any order release in the order that the kernel accepts.
#[derive(Debug)]
pub(crate) struct Membership {
    /// `None` only after it was taken out.
    group: Option<Group>,
    domain: Option<Domain>,
    container: Container,
}

impl Membership {
    /// From now on the group leaving ends this domain.
    pub(crate) fn serves(&mut self, domain: Domain) {
        self.domain = Some(domain);
    }

    /// What its devices can reach.
    pub(crate) fn domain(&self) -> Option<&Domain> {
        self.domain.as_ref()
    }

    /// Takes the group out and gives it back, to be put into a container anew.
    pub(crate) fn dissolve(mut self) -> Result<Group> {
        self.take_out()?;
        self.group
            .take()
            .ok_or_else(|| Error::new(ErrorKind::Gone, "use", "a group that has left"))
    }

    /// The kernel that it belongs to.
    pub(crate) fn kernel(&self) -> &Arc<dyn Kernel> {
        self.container.kernel()
    }

    /// Opens a device of the group.
    pub(crate) fn device(&self, bdf: Bdf) -> Result<OwnedFd> {
        let error = |errno: Errno| {
            Error::kernel("VFIO_GROUP_GET_DEVICE_FD", bdf.to_string(), errno).of_device(bdf)
        };
        let group = self.group.as_ref().ok_or_else(|| error(Errno::NODEV))?;
        let name = CString::new(bdf.to_string()).map_err(|_| error(Errno::INVAL))?;
        // SAFETY: the call reads a C string and returns a new fd.
        unsafe {
            self.kernel().ioctl_fd(
                group.fd.as_fd(),
                uapi::GROUP_GET_DEVICE_FD,
                Arg::In(name.as_bytes_with_nul()),
            )
        }
        .map_err(|errno| error(errno).of_group(group.id))
    }

    fn take_out(&mut self) -> Result<()> {
        let Some(group) = &self.group else {
            return Ok(());
        };
        match self.domain.take() {
            Some(domain) => domain.end(|| group.leave()),
            None => group.leave(),
        }
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        if self.group.is_none() {
            return;
        }
        if let Err(error) = self.take_out() {
            warn!(%error, "a group could not leave its container; closing it all the same");
        }
    }
}
