//! What cannot be mapped, and what the IOMMU says of itself.

use anyhow::{Context, Result, ensure};
use vfio_core::ErrorKind;
use vfio_core::address::{Access, DmaMask, Iova, IovaRange};

use super::mappings::{Room, expect};
use super::memory::{self, Memory};
use super::{Outcome, Subject};

pub(super) fn misaligned(subject: &Subject) -> Result<Outcome> {
    let device = subject.open()?;
    let domain = device.domain();
    let room = Room::new(domain, 4)?;
    let memory = Memory::new(&subject.vfio, 4 * room.step)?;
    let first = room.all().first().0;
    let half = room.step / 2;
    for (iova, size, offset) in [
        (first + half, room.step, 0),
        (first, room.step + half, 0),
        (first, room.step, half),
        (first + half, room.step, half),
    ] {
        let iova = IovaRange::new(Iova(iova), size).context("a range")?;
        let refused = memory::map(domain, iova, memory.part(offset, size)?, Access::ReadWrite);
        expect(ErrorKind::Invalid, refused, &iova.to_string())?;
    }
    let other_size = memory.part(0, 2 * room.step)?;
    let refused = memory::map(domain, room.steps(0, 1)?, other_size, Access::ReadWrite);
    expect(ErrorKind::Invalid, refused, "memory of another size")?;
    ensure!(domain.unmap(room.all())? == 0, "something was mapped");
    Ok(Outcome::Passed)
}

pub(super) fn out_of_reach(subject: &Subject) -> Result<Outcome> {
    let device = subject.open()?;
    let domain = device.domain();
    let room = Room::new(domain, 2)?;
    let memory = Memory::new(&subject.vfio, 2 * room.step)?;
    let apertures = domain.capabilities()?.apertures;
    let is_free = |range: IovaRange| !apertures.iter().any(|it| it.range.contains(range));
    let mut tried = 0;
    for aperture in &apertures {
        let ends = [
            aperture.range.last().0.checked_sub(room.step - 1), // half inside
            aperture.range.last().0.checked_add(1),
        ];
        for start in ends.into_iter().flatten() {
            let size = 2 * room.step;
            let Some(range) = IovaRange::new(Iova(start), size).filter(|it| is_free(*it)) else {
                continue;
            };
            expect(
                ErrorKind::OutOfReach,
                memory.map(domain, range),
                &range.to_string(),
            )?;
            tried += 1;
        }
    }
    ensure!(tried > 0, "everything can be mapped, from {apertures:?}");
    Ok(Outcome::Passed)
}

pub(super) fn masks(subject: &Subject) -> Result<Outcome> {
    let device = subject.open()?;
    let domain = device.domain();
    let mut held = Vec::new();
    for bits in [24, 28, 32, 36, 48, 64] {
        let mask = DmaMask::bits(bits);
        for size in [1, 4096, 1 << 16] {
            let addresses = domain.alloc(size, mask)?;
            let range = addresses.range();
            ensure!(
                mask.range().contains(range),
                "{range} is beyond {bits} bits"
            );
            ensure!(range.size() >= size, "{size} bytes became {}", range.size());
            ensure!(range.first() != Iova(0), "address 0 was given away");
            held.push(addresses);
        }
    }
    for (n, one) in held.iter().enumerate() {
        let mut later = held.iter().skip(n + 1);
        ensure!(
            !later.any(|other| other.range().overlaps(one.range())),
            "{} was given away twice",
            one.range()
        );
    }
    Ok(Outcome::Passed)
}

pub(super) fn counted(subject: &Subject) -> Result<Outcome> {
    let device = subject.open()?;
    let domain = device.domain();
    let left = || Ok::<_, vfio_core::Error>(domain.capabilities()?.mappings_left);
    let Some(before) = left()? else {
        return Ok(Outcome::NotHere("this kernel does not count mappings"));
    };
    let room = Room::new(domain, 6)?;
    let memory = Memory::new(&subject.vfio, 2 * room.step)?;
    for n in 0..3 {
        memory.map(domain, room.steps(2 * n, 2)?)?;
    }
    ensure!(
        left()? == before.checked_sub(3),
        "three mappings are not three fewer"
    );
    domain.unmap(room.all())?;
    ensure!(
        left()? == Some(before),
        "what was unmapped is not counted as free"
    );
    Ok(Outcome::Passed)
}
