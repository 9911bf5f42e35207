//! What this host's IOMMU can do, as data.

use std::sync::Arc;

use crate::container::Container;
use crate::error::{Error, ErrorKind, Result};
use crate::group::{Group, Membership};
use crate::kernel::Kernel;
use crate::uapi;

use super::backend::{Capabilities, IommuBackend};
use super::choose::select;
use super::dirty::DirtyLimits;
use super::domain::Domain;
use super::registry::{Reach, Registration, Registry};
use super::windows::{Window, WindowPages, WindowRequest};

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
    /// What else was found out with a group in a container; nothing where none was.
    pub verified: VerifiedExtras,
}

/// What only an attached group tells, beside the capabilities.
#[derive(Debug, Default)]
pub struct VerifiedExtras {
    /// The windows that were created, one after the other, to see which can be; none where there are no windows.
    pub windows: Vec<WindowTrial>,
    /// How the kernel tells which pages are dirty; `None`: it does not, or was not asked.
    pub dirty_tracking: Option<DirtyLimits>,
    /// Whether DMA is coherent with the processor's caches whatever a device asks for (`VFIO_DMA_CC_IOMMU`); `None`: not
    /// asked.
    pub coherent_dma: Option<bool>,
}

/// A kind of window that the kernel says can be, and what came of it.
#[derive(Debug)]
pub struct WindowTrial {
    /// The size of its pages in bytes.
    pub page_size: u64,
    /// How many levels its table was to have.
    pub levels: u32,
    /// The window, which has gone again; or why there was none.
    pub outcome: Result<Window>,
}

/// A window that is tried has so many pages: the largest pages are of 16 GiB.
const TRIED_PAGES: u64 = 1 << 8;

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
        Ok(without_trial(match has_it {
            Ok(true) => Support::Advertised,
            Ok(false) => Support::Absent,
            Err(error) => Support::Unknown(error),
        }))
    })
}

/// Puts an idle group into a fresh container for each backend in turn, asks what only then can be asked,
/// and takes it out again. Where there are windows, one of each kind is created and removed. A backend without groups is asked what it can do for no device.
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
        Reach::Own { probe, attach } => Ok(without_trial(match probe(kernel) {
            Ok(true) => match attach(kernel) {
                Ok(backend) => seen(backend.capabilities()),
                Err(error) => Support::Refused(error),
            },
            Ok(false) => Support::Absent,
            Err(error) => Support::Unknown(error),
        })),
    })
}

fn without_trial(support: Support) -> (Support, VerifiedExtras) {
    (support, VerifiedExtras::default())
}

/// The one error is that the group was not released; any other is the answer.
fn verify_with_group(
    kernel: &Arc<dyn Kernel>,
    registration: &Registration,
    extension: u32,
    attach: fn(Container) -> Result<Box<dyn IommuBackend>>,
    group: u32,
) -> Result<(Support, VerifiedExtras)> {
    let (container, mut membership) = match enter(kernel, extension, group) {
        Ok(Some(entered)) => entered,
        Ok(None) => return Ok(without_trial(Support::Absent)),
        Err(error) => return Ok(without_trial(Support::Unknown(error))),
    };
    let mut extras = VerifiedExtras::default();
    let support = match select(registration, extension, &container, attach) {
        Err(error) => Support::Refused(error),
        Ok(domain) => {
            membership = membership.serving(domain.clone());
            extras = VerifiedExtras {
                windows: try_windows(&domain),
                dirty_tracking: domain
                    .with_tracking("ask about the dirty pages of", |it| it.limits())
                    .ok(),
                coherent_dma: container.check_extension(uapi::DMA_CC_IOMMU).ok(),
            };
            seen(domain.capabilities())
        }
    };
    // `Busy` would say that somebody else has the group.
    membership.close().map_err(|error| {
        error
            .of_kind(ErrorKind::Kernel)
            .because("the group was not released")
    })?;
    Ok((support, extras))
}

/// Creates a window of each page size, and one of each number of levels, and removes it.
fn try_windows(domain: &Domain) -> Vec<WindowTrial> {
    let limits = domain.capabilities().ok().and_then(|it| it.windows);
    let has_windows = domain.windows().is_ok_and(|windows| !windows.is_empty());
    let Some(limits) = limits.filter(|_| has_windows) else {
        return Vec::new();
    };
    let sizes = limits.page_sizes.iter().map(|page_size| (page_size, 1));
    // A page that every host has.
    let smallest = limits.page_sizes.smallest().unwrap_or(1);
    let trial = |(page_size, levels)| WindowTrial {
        page_size,
        levels,
        outcome: try_window(domain, page_size, levels),
    };
    let mut tried: Vec<_> = sizes.map(trial).collect();
    for levels in 2..=limits.levels {
        let one = trial((smallest, levels));
        let is_refused = one.outcome.is_err();
        tried.push(one);
        if is_refused {
            break; // more are refused, too; and what is refused may stay accounted (H5)
        }
    }
    tried
}

fn try_window(domain: &Domain, page_size: u64, levels: u32) -> Result<Window> {
    let size = page_size.saturating_mul(TRIED_PAGES);
    let window = domain.create_window(&WindowRequest {
        least_levels: levels,
        ..WindowRequest::of(size, WindowPages::Exactly(page_size))
    })?;
    domain.remove_window(window.range.first())?;
    Ok(window)
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
    mut ask: impl FnMut(&Registration) -> Result<(Support, VerifiedExtras)>,
) -> Result<Vec<BackendReport>> {
    registry
        .iter()
        .map(|registration| {
            let (support, verified) = ask(registration)?;
            Ok(BackendReport {
                name: registration.name,
                support,
                verified,
            })
        })
        .collect()
}
