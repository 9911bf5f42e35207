//! What this host's IOMMU can do, as data.

use std::sync::Arc;

use crate::container::Container;
use crate::error::{Error, Result};
use crate::group::Group;
use crate::kernel::Kernel;

use super::backend::Capabilities;
use super::choose::{is_advertised, select};
use super::registry::{Registration, Registry};

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

/// Asks an empty container which backends the kernel advertises. Attaches nothing, changes nothing.
///
/// # Errors
/// Those of [`Container::open`].
pub fn probe(kernel: &Arc<dyn Kernel>, registry: &Registry) -> Result<Vec<BackendReport>> {
    let container = Container::open(kernel)?;
    Ok(report(registry, |registration| {
        match is_advertised(registration, &container) {
            Ok(true) => Support::Advertised,
            Ok(false) => Support::Absent,
            Err(error) => Support::Unknown(error),
        }
    }))
}

/// Puts an idle group into a fresh container for each backend in turn, asks what only then can be asked,
/// and takes it out again.
///
/// # Errors
/// The group cannot be opened, is not viable, or was not released.
pub fn verify(
    kernel: &Arc<dyn Kernel>,
    registry: &Registry,
    group: u32,
) -> Result<Vec<BackendReport>> {
    drop(Group::open(kernel, group)?); // what concerns every backend is said once
    Ok(report(registry, |registration| {
        verify_one(kernel, registration, group).unwrap_or_else(Support::Unknown)
    }))
}

fn verify_one(
    kernel: &Arc<dyn Kernel>,
    registration: &Registration,
    group: u32,
) -> Result<Support> {
    let container = Container::open(kernel)?;
    if !is_advertised(registration, &container)? {
        return Ok(Support::Absent);
    }
    let mut membership = Group::open(kernel, group)?.join(&container)?;
    match select(registration, &container) {
        Err(error) => Ok(Support::Refused(error)),
        Ok(domain) => {
            membership.serves(domain.clone());
            Ok(Support::Verified(domain.capabilities()?))
        }
    }
}

fn report(
    registry: &Registry,
    mut ask: impl FnMut(&Registration) -> Support,
) -> Vec<BackendReport> {
    registry
        .iter()
        .map(|registration| BackendReport {
            name: registration.name,
            support: ask(registration),
        })
        .collect()
}
