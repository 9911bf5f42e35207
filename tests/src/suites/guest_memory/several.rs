//! Devices of two groups, in two containers or in one: a change reaches all of them, or none.

use anyhow::{Context, Result, ensure};
use vfio_core::address::{Access, DmaMask};
use vfio_core::host::PciDevice;
use vfio_core::iommu::Domain;
use vfio_core::kernel::Errno;
use vfio_core::{AddressSpaceId, Device, ErrorKind, OpenOptions};

use super::followers::Followers;
use super::{Outcome, Rig};
use crate::devices::{Driver, Model};
use crate::guest::{BLOCK_PAGES, Change, Kind, Section};
use crate::rights::{Limited, locked};

const NO_OTHER: Outcome =
    Outcome::NotHere("there is no other device that there is a driver for, in a group of its own");
/// So many pages the sections have of which a change is refused.
const PAGES: usize = 4;
const MASK: DmaMask = DmaMask::bits(32);

/// Another device, of another group.
struct Other {
    driver: Box<dyn Driver>, // goes first
    device: Device,
}

impl Other {
    /// The first that there is, opened in that address space; `None` if there is none.
    fn open(rig: &Rig, space: AddressSpaceId) -> Result<Option<Self>> {
        let group = rig.sysfs().group;
        let wanted =
            |it: &PciDevice| Model::of(it).filter(|_| it.group.is_some() && it.group != group);
        let Some((sysfs, model)) = rig.other(wanted)? else {
            return Ok(None);
        };
        let options = OpenOptions::default().in_space(space);
        let device = rig.vfio().open_with(sysfs.bdf, options)?;
        let mut driver = model.drive(&device).context("drive the other device")?;
        driver.start().context("start the other device")?;
        Ok(Some(Self { driver, device }))
    }
}

pub(in crate::suites) fn by_two_containers(rig: &Rig, driver: &mut dyn Driver) -> Result<Outcome> {
    with_another(rig, AddressSpaceId::unique(), |one, other| {
        ensure!(one != other.device.domain(), "both are in one container");
        follow_random_edits(rig, other, driver)
    })
}

pub(in crate::suites) fn by_one_container(rig: &Rig, driver: &mut dyn Driver) -> Result<Outcome> {
    if rig.device.domain().capabilities()?.windows.is_some() {
        // Seen on powernv9 and not understood; it is so if nothing is mapped, too.
        return Ok(Outcome::NotHere(
            "once two groups have shared windows, the next context of the first does no DMA",
        ));
    }
    with_another(rig, rig.space(), |one, other| {
        if one != other.device.domain() {
            return Ok(Outcome::NotHere("the kernel puts no two groups together"));
        }
        follow_random_edits(rig, other, driver)
    })
}

/// What is mapped already in one of them alone: the kernel is not asked.
pub(in crate::suites) fn refused(rig: &Rig, driver: &mut dyn Driver) -> Result<Outcome> {
    with_another(rig, AddressSpaceId::unique(), |one, other| {
        for occupied in [one.clone(), other.device.domain().clone()] {
            let (mut followers, change) = about_to_change(rig, other)?;
            followers.release();
            let taken = followers.layout.range(PAGES + 1, 1)?;
            let buffer = occupied.buffer(1, taken.first(), Access::ReadWrite)?;
            let error = followers.commit(&change);
            let error = error.err().context("two things were mapped at one place")?;
            ensure!(error.kind() == ErrorKind::Overlap, "{error}");
            drop(buffer);
            nothing_or_all_has_changed(followers, &change, [driver, &mut *other.driver])?;
        }
        Ok(Outcome::Passed)
    })
}

/// What the kernel refuses in the second of them, when it has been made in the first: memory is locked for both, and that
/// of the second is too much.
pub(in crate::suites) fn undone(rig: &Rig, driver: &mut dyn Driver) -> Result<Outcome> {
    with_another(rig, AddressSpaceId::unique(), |one, other| {
        if one.capabilities()?.windows.is_some() {
            return Ok(Outcome::NotHere("what is mapped is not what is locked"));
        }
        let (mut followers, change) = about_to_change(rig, other)?;
        // In each, two sections come before one goes; the second lacks a page, and the first has had one to give back.
        let page = followers.layout.page as u64;
        let most = locked()? + (2 * 2 * PAGES - PAGES - 1) as u64 * page;
        let limited = Limited::to(most)?;
        if rig.vfio().kernel().memlock_limit() != Some(most) {
            return Ok(Outcome::NotHere(
                "what this process may lock is not what the kernel goes by",
            ));
        }
        let error = followers.commit(&change);
        drop(limited);
        let error = error.err().context("more was locked than may be")?;
        ensure!(error.errno() == Some(Errno::NOMEM), "{error}");
        nothing_or_all_has_changed(followers, &change, [driver, &mut *other.driver])?;
        Ok(Outcome::Passed)
    })
}

/// Runs a case with the domain of the device and another device that is opened in that space.
fn with_another(
    rig: &Rig,
    space: AddressSpaceId,
    run: impl FnOnce(&Domain, &mut Other) -> Result<Outcome>,
) -> Result<Outcome> {
    match Other::open(rig, space)? {
        Some(mut other) => run(rig.device.domain(), &mut other),
        None => Ok(NO_OTHER),
    }
}

fn follow_random_edits(rig: &Rig, other: &mut Other, driver: &mut dyn Driver) -> Result<Outcome> {
    let domains = [rig.device.domain(), other.device.domain()];
    Followers::new(rig.vfio().kernel(), &domains, MASK)?
        .see_random_edits(&mut [driver, &mut *other.driver])?;
    Ok(Outcome::Passed)
}

/// Two domains that follow a section, and a change that takes it away and brings two others.
fn about_to_change(rig: &Rig, other: &Other) -> Result<(Followers, Change)> {
    let domains = [rig.device.domain(), other.device.domain()];
    let mut followers = Followers::new(rig.vfio().kernel(), &domains, MASK)?;
    // A buffer that begins between them is not larger than what is between them, whatever a page of the host is.
    let [old, new, last] = [10 * PAGES, 0, PAGES].map(ram);
    followers.commit(&Change {
        removed: vec![],
        inserted: vec![old],
    })?;
    let change = Change {
        removed: vec![old],
        inserted: vec![new, last],
    };
    Ok((followers, change))
}

/// A change was refused, and nothing has changed; nothing is in its way any more, and it is made.
fn nothing_or_all_has_changed(
    mut followers: Followers,
    change: &Change,
    mut drivers: [&mut dyn Driver; 2],
) -> Result<()> {
    ensure!(followers.space.torn().is_empty(), "it was not undone");
    let all: Vec<_> = change
        .removed
        .iter()
        .chain(&change.inserted)
        .copied()
        .collect();
    followers
        .look(&all, &mut drivers)
        .context("after what was refused")?;
    followers.commit(change)?;
    followers.look(&all, &mut drivers)
}

fn ram(at: usize) -> Section {
    Section {
        at,
        len: PAGES,
        block: 0,
        offset: at % (BLOCK_PAGES - PAGES),
        kind: Kind::Ram,
        unit: None,
    }
}
