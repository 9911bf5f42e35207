//! An IOMMU context lives as long as a device is in it.

use anyhow::{Result, ensure};
use vfio_core::ErrorKind;
use vfio_core::address::{Access, DmaMask};

use super::mappings::{Room, expect};
use super::memory::Memory;
use super::{Outcome, Subject};
use crate::devices::{BUFFER_SIZE, Dma};

const LOW: DmaMask = DmaMask::bits(32);

pub(super) fn ends(subject: &Subject) -> Result<Outcome> {
    let device = subject.open()?;
    let domain = device.domain().clone();
    let room = Room::new(&domain, 2)?;
    let memory = Memory::new(&subject.vfio, 2 * room.step)?;
    memory.map(&domain, room.steps(0, 1)?)?;
    device.close()?;
    expect(ErrorKind::Gone, domain.capabilities(), "a question")?;
    expect(
        ErrorKind::Gone,
        memory.map(&domain, room.steps(1, 1)?),
        "a mapping",
    )?;
    expect(ErrorKind::Gone, domain.unmap(room.all()), "an unmap")?;
    expect(ErrorKind::Gone, domain.alloc(1, LOW), "addresses")?;
    expect(
        ErrorKind::Gone,
        domain.buffer(1, LOW, Access::Read),
        "a buffer",
    )?;
    Ok(Outcome::Passed)
}

pub(super) fn apart(subject: &Subject) -> Result<Outcome> {
    let device = subject.open()?;
    let mut old = device
        .domain()
        .buffer(BUFFER_SIZE, LOW, Access::ReadWrite)?;
    let domain = device.domain().clone();
    let range = old.range();
    device.close()?;

    let device = subject.open()?;
    ensure!(*device.domain() != domain, "the next life is the same");
    let Some(mut driver) = subject.drive(&device)? else {
        return Ok(Outcome::NotHere("there is no driver for this device"));
    };
    // The driver has buffers of its own; the addresses of the old one are free, or belong to one of these.
    let new = device
        .domain()
        .buffer(BUFFER_SIZE, LOW, Access::ReadWrite)?;
    expect(
        ErrorKind::Gone,
        domain.unmap(range),
        "an unmap by the old handle",
    )?;
    old.unmap()?; // it has gone already, and nothing is called
    ensure!(
        driver.reads(&new)? == Dma::Arrived,
        "the old handle took the new life's memory"
    );
    drop(old);
    ensure!(
        driver.writes(&new)? == Dma::Arrived,
        "the old buffer took the new life's memory"
    );
    Ok(Outcome::Passed)
}

pub(super) fn shared(subject: &Subject) -> Result<Outcome> {
    let first = subject.open()?;
    let second = subject.open()?;
    ensure!(
        first.domain() == second.domain(),
        "two handles of a device are in two contexts"
    );
    let buffer = first.domain().buffer(1, LOW, Access::ReadWrite)?;
    first.close()?;
    second.domain().capabilities()?;
    let other = second.domain().buffer(1, LOW, Access::ReadWrite)?;
    ensure!(
        !other.range().overlaps(buffer.range()),
        "the first one's memory has gone"
    );
    second.close()?;
    Ok(Outcome::Passed)
}
