//! Choosing the backend that a device is reached through.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use tracing::debug;

use crate::container::Container;
use crate::error::{Error, ErrorKind, Result};
use crate::group::Membership;
use crate::host::Bdf;
use crate::kernel::Kernel;

use super::backend::IommuBackend;
use super::domain::Domain;
use super::registry::{MakeContext, Reach, Registration, Registry};
use super::road::{Failure, Road};
use super::stay::Stay;

/// How a device has come to its IOMMU.
#[derive(Debug)]
pub(crate) enum Attachment {
    /// Its group is in a container; the device is still to be opened.
    Group(Membership),
    /// The backend has opened it.
    Own(OwnedFd, Stay),
}

impl Attachment {
    pub(crate) fn domain(&self) -> Option<&Domain> {
        match self {
            Self::Group(membership) => membership.domain(),
            Self::Own(_, stay) => Some(stay.domain()),
        }
    }
}

/// Lets the device join one of `domains`, the contexts of its address space, or else gives it a context of the
/// first backend, in order of preference, that the kernel advertises and then does not refuse.
pub(crate) fn attach(
    registry: &Registry,
    mut road: Road,
    bdf: Bdf,
    domains: &[Domain],
) -> Result<Attachment> {
    for domain in domains {
        let joined = match domain.container() {
            Some(container) => road.join(container, domain)?.map(Attachment::Group),
            None => join_own(domain, bdf)?,
        };
        if let Some(attachment) = joined {
            return Ok(attachment);
        }
    }
    let mut refusals = Refusals::default();
    for registration in registry.iter() {
        let tried = match registration.reach {
            Reach::Container { .. } => road.enter(registration).map(|it| it.map(Attachment::Group)),
            Reach::Own { probe, attach } => {
                enter_own(registration.name, road.kernel(), bdf, probe, attach)
            }
        };
        match tried {
            Ok(Some(attachment)) => return Ok(attachment),
            Ok(None) => refusals.absent(registration.name),
            Err(Failure::Refused(error)) => {
                debug!(backend = registration.name, %error, "refused; trying the next");
                refusals.refused(registration.name, error);
            }
            Err(Failure::NoRoad(Some(error))) if !registry.has_own_ways() => return Err(error),
            Err(Failure::NoRoad(Some(error))) => refusals.refused(registration.name, error),
            Err(Failure::NoRoad(None)) => refusals.untried(registration.name),
        }
    }
    Err(refusals.into_error(bdf, road.group_id()))
}

/// Opens the device in a context without a container that lives; `None` if it cannot be.
fn join_own(domain: &Domain, bdf: Bdf) -> Result<Option<Attachment>> {
    match domain.enter(|| domain.open_device(bdf)) {
        Ok(fd) => {
            let attachment = Attachment::Own(fd, Stay::new(domain.clone())); // dropped in this order
            domain.learn()?;
            Ok(Some(attachment))
        }
        Err(error) => {
            debug!(%error, "it cannot join this context of its address space");
            Ok(None)
        }
    }
}

/// Opens the device in a fresh context of a backend that has no container.
fn enter_own(
    name: &'static str,
    kernel: &Arc<dyn Kernel>,
    bdf: Bdf,
    probe: fn(&Arc<dyn Kernel>) -> Result<bool>,
    attach: MakeContext,
) -> std::result::Result<Option<Attachment>, Failure> {
    if !probe(kernel).map_err(Failure::Refused)? {
        return Ok(None);
    }
    let enter = || {
        let domain = Domain::new(name, kernel.clone(), None, attach(kernel)?)?;
        let stay = Stay::new(domain);
        let fd = stay.domain().open_device(bdf)?;
        Ok(Attachment::Own(fd, stay))
    };
    enter().map(Some).map_err(Failure::Refused)
}

/// The context of a container whose IOMMU somebody else has set, for the backend with that name.
pub(crate) fn resume(registry: &Registry, backend: &str, container: &Container) -> Result<Domain> {
    let only = registry.only(backend)?;
    let found = only
        .iter()
        .find_map(|registration| match registration.reach {
            Reach::Container { attach, .. } => Some((registration.name, attach)),
            Reach::Own { .. } => None,
        });
    let (name, attach) = found.ok_or_else(|| {
        Error::new(
            ErrorKind::Invalid,
            "use",
            format!("the backend \"{backend}\""),
        )
        .because("it has no container")
    })?;
    serve(name, container, attach)
}

/// Gives a container that has a group the IOMMU of one backend.
pub(super) fn select(
    registration: &Registration,
    extension: u32,
    container: &Container,
    attach: fn(Container) -> Result<Box<dyn IommuBackend>>,
) -> Result<Domain> {
    container.set_iommu(extension)?;
    serve(registration.name, container, attach)
}

/// The context of a container that has its IOMMU.
pub(super) fn serve(
    name: &'static str,
    container: &Container,
    attach: fn(Container) -> Result<Box<dyn IommuBackend>>,
) -> Result<Domain> {
    let backend = attach(container.clone())?;
    Domain::new(
        name,
        container.kernel().clone(),
        Some(container.clone()),
        backend,
    )
}

/// What each backend answered, for the error that says why none was chosen.
#[derive(Default)]
struct Refusals {
    lines: Vec<String>,
    errors: Vec<Error>,
}

impl Refusals {
    fn absent(&mut self, name: &str) {
        self.lines.push(format!("{name} is absent"));
    }

    fn untried(&mut self, name: &str) {
        self.lines.push(format!("{name} was not tried"));
    }

    fn refused(&mut self, name: &str, error: Error) {
        self.lines.push(format!("{name} was refused ({error})"));
        self.errors.push(error);
    }

    fn into_error(self, device: Bdf, group: Option<u32>) -> Error {
        let object = group.map_or_else(|| device.to_string(), |id| format!("group {id}"));
        let operation = "choose an IOMMU backend for";
        let mut error = Error::new(ErrorKind::NoBackend, operation, object)
            .because(self.lines.join("; "))
            .of_device(device);
        if let Some(id) = group {
            error = error.of_group(id);
        }
        // The preferred one of those that the kernel has says best what is wrong.
        match self.errors.first().map(Error::kind) {
            Some(kind @ (ErrorKind::NotPermitted | ErrorKind::Exhausted | ErrorKind::Busy)) => {
                error.of_kind(kind)
            }
            _ => error,
        }
        .caused_by(self.errors)
    }
}
