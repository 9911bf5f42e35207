//! What a mapping is, and how it goes.

use anyhow::{Context, Result, ensure};
use vfio_core::ErrorKind;
use vfio_core::address::{Access, DmaMask, HostRange, Iova, IovaRange};
use vfio_core::iommu::{Domain, Reservation};

use super::memory::{self, Memory};
use super::{Outcome, Subject, step};
use crate::random;

const LOW: DmaMask = DmaMask::bits(32);

/// Addresses that are a case's own, in steps of mappings.
pub(super) struct Room {
    pub(super) reserved: Reservation,
    pub(super) step: u64,
}

impl Room {
    pub(super) fn new(domain: &Domain, steps: u64) -> Result<Self> {
        let step = step(domain)?;
        let reserved = domain.alloc(steps * step, LOW)?;
        Ok(Self { reserved, step })
    }

    /// So many steps of them, from some step on.
    pub(super) fn steps(&self, first: u64, count: u64) -> Result<IovaRange> {
        let start = Iova(self.reserved.range().first().0 + first * self.step);
        IovaRange::new(start, count * self.step).context("a range")
    }

    pub(super) fn all(&self) -> IovaRange {
        self.reserved.range()
    }
}

pub(super) fn expect(
    kind: ErrorKind,
    result: vfio_core::Result<impl Sized>,
    what: &str,
) -> Result<()> {
    match result {
        Ok(_) => anyhow::bail!("{what} was not refused"),
        Err(error) if error.kind() == kind => Ok(()),
        Err(error) => anyhow::bail!("{what} is refused as {:?}: {error}", error.kind()),
    }
}

pub(super) fn overlap(subject: &Subject) -> Result<Outcome> {
    let device = subject.open()?;
    let domain = device.domain();
    let room = Room::new(domain, 6)?;
    let memory = Memory::new(&subject.vfio, 6 * room.step)?;
    memory.map(domain, room.steps(2, 2)?)?;
    for (first, count) in [(2, 2), (1, 2), (3, 2), (1, 4), (2, 1), (3, 1)] {
        let again = memory.map(domain, room.steps(first, count)?);
        expect(
            ErrorKind::Overlap,
            again,
            &format!("{count} steps from {first} on"),
        )?;
    }
    memory
        .map(domain, room.steps(1, 1)?)
        .context("just before")?;
    memory
        .map(domain, room.steps(4, 1)?)
        .context("just behind")?;
    ensure!(
        domain.unmap(room.all())? == 4 * room.step,
        "something else is mapped"
    );
    Ok(Outcome::Passed)
}

pub(super) fn whole(subject: &Subject) -> Result<Outcome> {
    let device = subject.open()?;
    let domain = device.domain();
    let room = Room::new(domain, 8)?;
    let memory = Memory::new(&subject.vfio, 8 * room.step)?;
    memory.map(domain, room.steps(1, 3)?)?;
    memory.map(domain, room.steps(5, 2)?)?;
    for (first, count) in [(1, 1), (2, 1), (3, 1), (0, 2), (3, 3), (2, 6), (0, 6)] {
        let cut = domain.unmap(room.steps(first, count)?);
        expect(
            ErrorKind::Invalid,
            cut,
            &format!("a cut of {count} steps from {first} on"),
        )?;
    }
    let nothing = domain.unmap(room.steps(4, 1)?)?;
    ensure!(
        nothing == 0,
        "{nothing} bytes were unmapped where nothing is"
    );
    // All that is inside goes, and the hole between does not matter.
    ensure!(
        domain.unmap(room.all())? == 5 * room.step,
        "not every byte was unmapped"
    );
    memory
        .map(domain, room.all())
        .context("all of it is free")?;
    domain.unmap(room.all())?;
    Ok(Outcome::Passed)
}

pub(super) fn bytes(subject: &Subject) -> Result<Outcome> {
    const STEPS: u64 = 64;
    let device = subject.open()?;
    let domain = device.domain();
    let room = Room::new(domain, STEPS)?;
    // Of each size its own: sPAPR knows memory that is mapped alone only as a whole (D49).
    let memory = (1..=4).map(|size| Memory::new(&subject.vfio, size * room.step));
    let memory = memory.collect::<Result<Vec<_>>>()?;
    let (mut at, mut mapped) = (0, 0);
    while at < STEPS {
        let size = 1 + random::up_to(3)? as u64;
        let size = size.min(STEPS - at);
        if random::up_to(2)? > 0 {
            let memory = memory.get(usize::try_from(size)? - 1);
            let memory = memory.context("memory of that size")?;
            memory.map(domain, room.steps(at, size)?)?;
            mapped += size;
        }
        at += size;
    }
    let unmapped = domain.unmap(room.all())?;
    let expected = mapped * room.step;
    ensure!(
        unmapped == expected,
        "{unmapped:#x} bytes were unmapped, and {expected:#x} were mapped"
    );
    Ok(Outcome::Passed)
}

pub(super) fn empty(subject: &Subject) -> Result<Outcome> {
    let device = subject.open()?;
    let domain = device.domain();
    expect(
        ErrorKind::Invalid,
        domain.alloc(0, LOW),
        "no addresses at all",
    )?;
    let buffer = domain.buffer(0, LOW, Access::ReadWrite);
    expect(ErrorKind::Invalid, buffer, "a buffer of no bytes")?;
    ensure!(
        IovaRange::new(Iova(0x1000), 0).is_none(),
        "an empty range can be said"
    );
    ensure!(
        HostRange::new(0x1000, 0).is_none(),
        "empty memory can be said"
    );
    Ok(Outcome::Passed)
}

/// A kernel that cannot pin the memory maps nothing; nor does one that finds a hole in it.
pub(super) fn absent(subject: &Subject) -> Result<Outcome> {
    let device = subject.open()?;
    let domain = device.domain();
    let room = Room::new(domain, 4)?;
    let page = subject.vfio.kernel().page_size();
    let nowhere = HostRange::new(page, usize::try_from(2 * room.step)?).context("a range")?;
    let refused = memory::map(domain, room.steps(1, 2)?, nowhere, Access::ReadWrite);
    match refused {
        Ok(()) => anyhow::bail!("memory that is not there was mapped"),
        Err(error) => ensure!(
            error.iova().is_some() || error.memory().is_some(),
            "the error does not name the range: {error}"
        ),
    }
    ensure!(domain.unmap(room.all())? == 0, "something stayed mapped");
    Memory::new(&subject.vfio, 4 * room.step)?
        .map(domain, room.all())
        .context("the addresses are free")?;
    domain.unmap(room.all())?;
    Ok(Outcome::Passed)
}

pub(super) fn twice(subject: &Subject) -> Result<Outcome> {
    let device = subject.open()?;
    let domain = device.domain();
    let room = Room::new(domain, 4)?;
    let memory = Memory::new(&subject.vfio, 2 * room.step)?;
    memory.map(domain, room.steps(0, 2)?)?;
    memory
        .map(domain, room.steps(2, 2)?)
        .context("at other addresses")?;
    ensure!(
        domain.unmap(room.steps(0, 2)?)? == 2 * room.step,
        "not the first alone"
    );
    ensure!(
        domain.unmap(room.steps(2, 2)?)? == 2 * room.step,
        "the second has gone with it"
    );
    Ok(Outcome::Passed)
}
