//! Choosing the backend of a group.

use tracing::debug;

use crate::container::Container;
use crate::error::{Error, ErrorKind, Result};
use crate::group::{Group, Membership};

use super::domain::Domain;
use super::registry::{Reach, Registration, Registry};

/// Puts the group into a fresh container and gives that the first IOMMU, in order of preference, that the
/// kernel advertises and then does not refuse.
pub(crate) fn attach(
    registry: &Registry,
    container: &Container,
    mut group: Group,
) -> Result<Membership> {
    let id = group.id();
    let mut refusals = Refusals::default();
    for registration in registry.iter() {
        if !is_advertised(registration, container)? {
            refusals.absent(registration.name);
            continue;
        }
        let mut membership = group.join(container)?;
        match select(registration, container) {
            Ok(domain) => {
                membership.serves(domain);
                return Ok(membership);
            }
            Err(error) => {
                debug!(backend = registration.name, %error, "refused; trying the next");
                refusals.refused(registration.name, error);
                // A container whose IOMMU was set takes no other until its last group has left.
                group = membership.dissolve()?;
            }
        }
    }
    Err(refusals.into_error(id))
}

/// Whether the kernel says that it has the IOMMU of a backend.
pub(super) fn is_advertised(registration: &Registration, container: &Container) -> Result<bool> {
    let Reach::Container { extension, .. } = registration.reach;
    container.check_extension(extension)
}

/// Gives a container that has a group the IOMMU of one backend.
pub(super) fn select(registration: &Registration, container: &Container) -> Result<Domain> {
    let Reach::Container { extension, attach } = registration.reach;
    container.set_iommu(extension)?;
    let backend = attach(container.clone())?;
    Domain::new(registration.name, container.kernel().clone(), backend)
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

    fn refused(&mut self, name: &str, error: Error) {
        self.lines.push(format!("{name} was refused ({error})"));
        self.errors.push(error);
    }

    fn into_error(self, group: u32) -> Error {
        let operation = "choose an IOMMU backend for";
        let error = Error::new(ErrorKind::NoBackend, operation, format!("group {group}"))
            .because(self.lines.join("; "))
            .of_group(group);
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
