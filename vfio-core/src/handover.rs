//! What somebody with more rights has opened for this process.

use std::os::fd::{BorrowedFd, OwnedFd};

use crate::container::Container;
use crate::device::Device;
use crate::error::{Error, ErrorKind, Result};
use crate::group::{Group, Membership};
use crate::host::{self, Bdf};
use crate::iommu::{self, Attachment, Road};
use crate::vfio::{OpenOptions, Vfio};

/// The fds of a device that another process (a broker) opened and sent, and how far it has come with them.
///
/// The broker may stop anywhere on the way: with the group's node opened; with the group in a container; with the
/// IOMMU set; with the device opened. On sPAPR it must stop before it enables, registers or creates anything: the
/// kernel ties the container to the process that does that first.
///
/// The broker closes its own copies, or at least keeps its hands off them: whoever takes the group out of the
/// container ends every mapping. A container whose IOMMU is set holds this group alone: a group that is left in it keeps
/// every mapping alive (then closing the device is an error, and memory that was mapped is not given back). What is
/// mapped in it already is not known here; it is made known, before anything else is mapped, by
/// [`Domain::renew_addresses`](crate::iommu::Domain::renew_addresses).
#[derive(Debug)]
pub struct Handover {
    group: OwnedFd,
    container: Option<OwnedFd>,
    backend: Option<String>,
    device: Option<OwnedFd>,
}

/// The fds of a [`Handover`], for sending.
#[derive(Debug)]
pub struct HandoverFds {
    /// The group.
    pub group: OwnedFd,
    /// The container.
    pub container: Option<OwnedFd>,
    /// The name of the backend whose IOMMU the container has.
    pub backend: Option<String>,
    /// The device.
    pub device: Option<OwnedFd>,
}

impl Handover {
    /// Its fds, to be sent to whoever is to have the device.
    pub fn into_fds(self) -> HandoverFds {
        HandoverFds {
            group: self.group,
            container: self.container,
            backend: self.backend,
            device: self.device,
        }
    }

    /// An opened group (`/dev/vfio/N`), in no container yet.
    pub fn of_group(group: OwnedFd) -> Self {
        Self {
            group,
            container: None,
            backend: None,
            device: None,
        }
    }

    /// And an opened container (`/dev/vfio/vfio`), which needs rights of its own on some hosts.
    #[must_use]
    pub fn with_container(mut self, container: OwnedFd) -> Self {
        self.container = Some(container);
        self
    }

    /// The group is in the container, and that has the IOMMU of the backend with this name.
    #[must_use]
    pub fn with_iommu_of(mut self, backend: &str) -> Self {
        self.backend = Some(backend.to_owned());
        self
    }

    /// And the opened device; the IOMMU must have been set before.
    #[must_use]
    pub fn with_device(mut self, device: OwnedFd) -> Self {
        self.device = Some(device);
        self
    }
}

impl Vfio {
    /// Opens what takes rights, the nodes of a device's group and of a new container, for somebody who has none.
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    pub fn hand_over(&self, bdf: Bdf) -> Result<Handover> {
        let id = self.assignable_group(bdf)?;
        let container = Container::open(self.kernel())?;
        let group = Group::open(self.kernel(), id).map_err(|error| error.of_device(bdf))?;
        let container = container
            .into_fd()
            .ok_or_else(|| no_fit(bdf, "its container is in use"))?;
        Ok(Handover::of_group(group.into_fd()).with_container(container))
    }

    /// Takes over a device that somebody else has opened, in an address space of its own, and goes on from where that
    /// one stopped. The fds are this process's from then on.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: what was handed over does not fit together: an IOMMU or a device without its
    /// container, a group that is in a container although no IOMMU is named. [`ErrorKind::Busy`]: this process has
    /// a device of the group open already. [`ErrorKind::Registry`]: the named backend is not linked. Otherwise
    /// those of [`open`](Self::open).
    pub fn adopt(&self, bdf: Bdf, handover: Handover) -> Result<Device> {
        self.adopt_with(bdf, handover, OpenOptions::default())
    }

    /// Takes over a device as the options say: of an address space, whose container the group joins if no IOMMU was
    /// set for it and the kernel lets it; with a token, if the device was not opened yet.
    ///
    /// # Errors
    /// Those of [`adopt`](Self::adopt), and of [`open_with`](Self::open_with).
    pub fn adopt_with(&self, bdf: Bdf, handover: Handover, options: OpenOptions) -> Result<Device> {
        let id = host::device(&**self.kernel(), bdf)?
            .group
            .ok_or_else(|| no_fit(bdf, "it has no IOMMU group"))?;
        let Handover {
            group,
            container,
            backend,
            mut device,
        } = handover;
        let shared = self.share_new(id, bdf, options.space, |domains| {
            let group = Group::adopt(self.kernel(), id, group)?;
            let container = container
                .map(|fd| Container::adopt(self.kernel(), fd))
                .transpose()?;
            let Some(backend) = backend else {
                if group.is_in_container()? {
                    return Err(no_fit(
                        bdf,
                        "its group is in a container, and no IOMMU is named",
                    ));
                }
                if device.is_some() {
                    return Err(no_fit(
                        bdf,
                        "a device cannot be open before its IOMMU is set",
                    ));
                }
                let road = Road::given(container, group);
                return iommu::attach(self.registry(), road, bdf, domains);
            };
            let container = container
                .ok_or_else(|| no_fit(bdf, "an IOMMU is set, and its container is missing"))?;
            if !group.is_in_container()? {
                return Err(no_fit(bdf, "its group is in no container"));
            }
            let membership = Membership::new(group, &container);
            let domain =
                iommu::resume(self.registry(), &backend, &container).inspect_err(|_| {
                    device = None; // closed before the group leaves
                })?;
            Ok(Attachment::Group(membership.serving(domain)))
        })?;
        match device {
            Some(fd) => Device::adopt(shared, bdf, fd),
            None => Device::open(shared, bdf, options.vf_token),
        }
    }
}

impl Device {
    /// Duplicates of the fds of this device, its group and its container, for a process that is to go on where this one
    /// is: another program that this process becomes (see
    /// [`Domain::forget_addresses`](crate::iommu::Domain::forget_addresses)), which is why the device stays open here.
    /// As long as they are open, closing the device does not take its group out of the container. They are closed by
    /// `exec`, until `FD_CLOEXEC` is taken from them.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`]: it does not come from a group. [`ErrorKind::Exhausted`]: there can be no more fds.
    pub fn hand_over(&self) -> Result<Handover> {
        let (Some((_, group)), Some(container)) = (self.group(), self.domain().container()) else {
            return Err(
                Error::new(ErrorKind::Unsupported, "hand over", self.bdf().to_string())
                    .of_device(self.bdf())
                    .because("it has no group"),
            );
        };
        let again = |fd: BorrowedFd<'_>| {
            rustix::io::fcntl_dupfd_cloexec(fd, 0).map_err(|errno| {
                Error::kernel("hand over", self.bdf().to_string(), errno).of_device(self.bdf())
            })
        };
        Ok(Handover::of_group(again(group)?)
            .with_container(again(container.fd())?)
            .with_iommu_of(self.domain().name())
            .with_device(again(self.fd())?))
    }
}

fn no_fit(bdf: Bdf, why: &str) -> Error {
    Error::new(ErrorKind::Invalid, "take over", bdf.to_string())
        .of_device(bdf)
        .because(why)
}
