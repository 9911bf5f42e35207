//! What this host's IOMMU can do, as data.

use std::sync::Arc;

use crate::container::Container;
use crate::error::{Error, ErrorKind, Result};
use crate::group::{Group, Membership};
use crate::kernel::Kernel;

use super::backend::{Capabilities, IommuBackend};
use super::choose::select;
use super::registry::{Reach, Registration, Registry};

/// How far a backend is supported.
#[derive(Debug)]
pub enum Support {
    /// A group was in a container of this IOMMU, and this is what it could do.
    Verified(Capabilities),
    /// The kernel says that it has it. It may refuse all the same.
    Advertised,
    /// The kernel does not have it.
    Absent,
    /// The kernel has it and refused it.
    Refused(Error),
    /// It could not be found out.
    Unknown(Error),
}

/// One backend and how far it is supported.
#[derive(Debug)]
pub struct BackendReport {
    /// The backend's name.
    pub name: &'static str,
    /// How far it is supported.
    pub support: Support,
}

/// Asks which backends the kernel advertises. Attaches nothing, changes nothing.
///
/// # Errors
/// Those of [`Container::open`], if a backend needs a container.
pub fn probe(kernel: &Arc<dyn Kernel>, registry: &Registry) -> Result<Vec<BackendReport>> {
    let mut container = None;
    report(registry, |registration| {
        let has_it = match registration.reach {
            Reach::Container { extension, .. } => {
                let container = match &mut container {
                    Some(open) => open,
                    empty => empty.insert(Container::open(kernel)?),
                };
                container.check_extension(extension)
            }
            Reach::Own { probe, .. } => probe(kernel),
        };
        Ok(match has_it {
            Ok(true) => Support::Advertised,
            Ok(false) => Support::Absent,
            Err(error) => Support::Unknown(error),
        })
    })
}

/// Puts an idle group into a fresh container for each backend in turn, asks what only then can be asked,
/// and takes it out again. A backend without groups is asked what it can do for no device.
///
/// # Errors
/// The group cannot be opened ([`ErrorKind::Busy`]: somebody has it), is not viable, or was not released
/// ([`ErrorKind::Kernel`]).
pub fn verify(
    kernel: &Arc<dyn Kernel>,
    registry: &Registry,
    group: u32,
) -> Result<Vec<BackendReport>> {
    drop(Group::open(kernel, group)?); // what concerns every backend is said once
    report(registry, |registration| match registration.reach {
        Reach::Container { extension, attach } => {
            verify_with_group(kernel, registration, extension, attach, group)
        }
        Reach::Own { probe, attach } => Ok(match probe(kernel) {
            Ok(true) => match attach(kernel) {
                Ok(backend) => seen(backend.capabilities()),
                Err(error) => Support::Refused(error),
            },
            Ok(false) => Support::Absent,
            Err(error) => Support::Unknown(error),
        }),
    })
}

/// The one error is that the group was not released; any other is the answer.
fn verify_with_group(
    kernel: &Arc<dyn Kernel>,
    registration: &Registration,
    extension: u32,
    attach: fn(Container) -> Result<Box<dyn IommuBackend>>,
    group: u32,
) -> Result<Support> {
    let (container, mut membership) = match enter(kernel, extension, group) {
        Ok(Some(entered)) => entered,
        Ok(None) => return Ok(Support::Absent),
        Err(error) => return Ok(Support::Unknown(error)),
    };
    let support = match select(registration, extension, &container, attach) {
        Err(error) => Support::Refused(error),
        Ok(domain) => {
            membership = membership.serving(domain.clone());
            seen(domain.capabilities())
        }
    };
    // `Busy` would say that somebody else has the group.
    membership.close().map_err(|error| {
        error
            .of_kind(ErrorKind::Kernel)
            .because("the group was not released")
    })?;
    Ok(support)
}

fn seen(capabilities: Result<Capabilities>) -> Support {
    capabilities.map_or_else(Support::Unknown, Support::Verified)
}

/// Puts the group into a container of its own, if the kernel advertises the backend.
fn enter(
    kernel: &Arc<dyn Kernel>,
    extension: u32,
    group: u32,
) -> Result<Option<(Container, Membership)>> {
    let container = Container::open(kernel)?;
    if !container.check_extension(extension)? {
        return Ok(None);
    }
    let group = Group::open(kernel, group)?;
    group.set_container(&container)?;
    let membership = Membership::new(group, &container);
    Ok(Some((container, membership)))
}

fn report(
    registry: &Registry,
    mut ask: impl FnMut(&Registration) -> Result<Support>,
) -> Result<Vec<BackendReport>> {
    registry
        .iter()
        .map(|registration| {
            Ok(BackendReport {
                name: registration.name,
                support: ask(registration)?,
            })
        })
        .collect()
}
