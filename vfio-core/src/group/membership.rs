//! A group that is in a container.
#![allow(unsafe_code)] // One ioctl: a name, and an fd that comes back.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use tracing::warn;

use crate::container::Container;
use crate::device::VfToken;
use crate::error::{Error, ErrorKind, Result};
use crate::host::Bdf;
use crate::iommu::Domain;
use crate::kernel::{Arg, Errno, Kernel};
use crate::patience::retry;
use crate::uapi;

use super::Group;

/// A group in a container.
///
/// Dropping it takes the group out, which ends the life of the IOMMU context, and then closes group and
/// container. Whoever keeps something that must be released before (a device, a mapped BAR) holds an
/// `Arc` of this, so that drops in any order release in the order that the kernel accepts.
#[derive(Debug)]
pub(crate) struct Membership {
    /// `None` only after it was taken out, or could not be.
    group: Option<Group>,
    domain: Option<Domain>,
    container: Container,
}

impl Membership {
    /// Of a group that was put into the container.
    pub(crate) fn new(group: Group, container: &Container) -> Self {
        Self {
            group: Some(group),
            domain: None,
            container: container.clone(),
        }
    }

    /// From now on the group is a member of this domain.
    pub(crate) fn serving(mut self, domain: Domain) -> Self {
        self.domain = Some(domain);
        self
    }

    /// What its devices can reach.
    pub(crate) fn domain(&self) -> Option<&Domain> {
        self.domain.as_ref()
    }

    /// Takes the group out and gives it back, to be put into a container anew.
    pub(crate) fn dissolve(mut self) -> Result<Group> {
        self.take_out()?
            .ok_or_else(|| Error::new(ErrorKind::Gone, "use", "a group that has left"))
    }

    /// The kernel that it belongs to.
    pub(crate) fn kernel(&self) -> &Arc<dyn Kernel> {
        self.container.kernel()
    }

    /// The group's number and fd.
    pub(crate) fn group(&self) -> Option<(u32, BorrowedFd<'_>)> {
        let group = self.group.as_ref()?;
        Some((group.id, group.fd.as_fd()))
    }

    /// Opens a device of the group, a virtual function with its token (A14).
    pub(crate) fn device(&self, bdf: Bdf, token: Option<VfToken>) -> Result<OwnedFd> {
        let error = |errno: Errno| {
            let error =
                Error::kernel("VFIO_GROUP_GET_DEVICE_FD", bdf.to_string(), errno).of_device(bdf);
            match (errno, token) {
                (Errno::ACCESS, None) => error
                    .because("it is a virtual function, and wants the token of its physical one"),
                (Errno::ACCESS, Some(_)) => {
                    error.because("the token is not that of its physical function")
                }
                _ => error,
            }
        };
        let group = self.group.as_ref().ok_or_else(|| error(Errno::NODEV))?;
        let name = match token {
            None => bdf.to_string(),
            Some(token) => format!("{bdf} vf_token={token}"),
        };
        let name = CString::new(name).map_err(|_| error(Errno::INVAL))?;
        // SAFETY: the call reads a C string and returns a new fd.
        let open = || unsafe {
            self.kernel().ioctl_fd(
                group.fd.as_fd(),
                uapi::GROUP_GET_DEVICE_FD,
                Arg::In(name.as_bytes_with_nul()),
            )
        };
        // A device that was bound a moment ago may not be known yet (A14).
        retry(open, |errno| *errno == Errno::NODEV).map_err(|errno| error(errno).of_group(group.id))
    }

    /// Takes the group out and closes it.
    pub(crate) fn close(mut self) -> Result<()> {
        self.take_out().map(drop)
    }

    /// Once: a group that cannot be taken out is closed all the same.
    fn take_out(&mut self) -> Result<Option<Group>> {
        let Some(group) = self.group.take() else {
            return Ok(None);
        };
        match &self.domain {
            None => group.leave()?,
            Some(domain) => domain.leave(|| group.leave())?,
        }
        Ok(Some(group))
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        if let Err(error) = self.take_out() {
            warn!(%error, "a group could not leave its container; it was closed all the same");
        }
    }
}
