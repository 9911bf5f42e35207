//! The way through container and group, while a backend is being chosen.

use std::sync::Arc;

use tracing::debug;

use crate::container::Container;
use crate::error::{Error, ErrorKind, Result};
use crate::group::{Group, Membership};
use crate::kernel::{Errno, Kernel};

use super::choose::select;
use super::domain::Domain;
use super::registry::{Reach, Registration};

/// Why a backend was not chosen.
pub(crate) enum Failure {
    /// The kernel or the backend refused it.
    Refused(Error),
    /// No container or no group can be had, whatever the backend; why, if it was not said before.
    NoRoad(Option<Error>),
}

/// The container and the group that the backends share while one is chosen: opened when they are first needed,
/// unless they were handed over.
pub(crate) struct Road {
    kernel: Arc<dyn Kernel>,
    id: Option<u32>,
    /// Why there is no group.
    missing: Option<Error>,
    container: Option<Container>,
    group: Option<Group>,
}

impl Road {
    /// Through the group with that number, or to nowhere for that reason.
    pub(crate) fn new(kernel: &Arc<dyn Kernel>, group: Result<u32>) -> Self {
        let (id, missing) = match group {
            Ok(id) => (Some(id), None),
            Err(error) => (None, Some(error)),
        };
        Self {
            kernel: Arc::clone(kernel),
            id,
            missing,
            container: None,
            group: None,
        }
    }

    /// Through a group, and maybe a container, that somebody else opened.
    pub(crate) fn given(container: Option<Container>, group: Group) -> Self {
        Self {
            kernel: Arc::clone(group.kernel()),
            id: Some(group.id()),
            missing: None,
            container,
            group: Some(group),
        }
    }

    pub(crate) fn kernel(&self) -> &Arc<dyn Kernel> {
        &self.kernel
    }

    pub(crate) fn group_id(&self) -> Option<u32> {
        self.id
    }

    /// Puts the group into the container of a context that lives; `None` if the kernel does not let it in there.
    pub(super) fn join(
        &mut self,
        container: &Container,
        domain: &Domain,
    ) -> Result<Option<Membership>> {
        let group = self.group()?;
        match domain.enter(|| group.set_container(container)) {
            Ok(()) => {
                let membership = Membership::new(group, container).serving(domain.clone());
                domain.learn()?;
                Ok(Some(membership))
            }
            Err(error) if is_refusal(&error) => {
                debug!(%error, "it cannot join this context of its address space");
                self.group = Some(group);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Puts the group into the container and gives that the IOMMU of one backend. `None` if the kernel does not
    /// have it.
    pub(super) fn enter(
        &mut self,
        registration: &Registration,
    ) -> std::result::Result<Option<Membership>, Failure> {
        let Reach::Container { extension, attach } = registration.reach else {
            return Ok(None);
        };
        let no_road = |error| Failure::NoRoad(Some(error));
        if self.id.is_none() {
            return Err(Failure::NoRoad(self.missing.take()));
        }
        // The container first, so that VFIO's absence is said as that.
        let container = self.container().map_err(no_road)?;
        let group = self.group().map_err(no_road)?;
        if !container.check_extension(extension).map_err(no_road)? {
            self.group = Some(group);
            return Ok(None);
        }
        group.set_container(&container).map_err(no_road)?;
        let membership = Membership::new(group, &container);
        match select(registration, extension, &container, attach) {
            Ok(domain) => Ok(Some(membership.serving(domain))),
            Err(error) => {
                // A container whose IOMMU was set takes no other until its last group has left.
                match membership.dissolve() {
                    Ok(group) => self.group = Some(group),
                    Err(stuck) => return Err(no_road(stuck.caused_by(vec![error]))),
                }
                Err(match error.errno() {
                    Some(Errno::INTR) => no_road(error), // whoever interrupted wants no other backend
                    _ => Failure::Refused(error),
                })
            }
        }
    }

    fn container(&mut self) -> Result<Container> {
        let container = match self.container.take() {
            Some(container) => container,
            None => Container::open(&self.kernel)?,
        };
        self.container = Some(container.clone());
        Ok(container)
    }

    fn group(&mut self) -> Result<Group> {
        match (self.group.take(), self.id) {
            (Some(group), _) => Ok(group),
            (None, Some(id)) => Group::open(&self.kernel, id),
            (None, None) => Err(Error::new(ErrorKind::NoGroup, "open", "the device's group")),
        }
    }
}

/// Whether the kernel says that a group and a container do not fit (A9, A10, B19, C37, D57), or that the context has
/// ended meanwhile, well or badly; anything else has nothing to do with which container it is.
fn is_refusal(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Gone | ErrorKind::Busy)
        || matches!(
            error.errno(),
            Some(Errno::INVAL | Errno::BUSY | Errno::PERM | Errno::NODEV)
        )
}
