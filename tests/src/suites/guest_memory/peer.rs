//! Another device's memory, which a device reaches where the kernel maps a BAR for the IOMMU, and nowhere else.
#![allow(unsafe_code)] // A mapped BAR is memory that a guest has.

use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use pci_device::{Command, ConfigSpace};
use vfio_core::address::{Access, DmaMask, HostRange, Iova, IovaRange};
use vfio_core::device::{RegionIndex, RegionMap};
use vfio_core::guest::{AddressSpace, Block, Section};
use vfio_core::iommu::Domain;
use vfio_core::{Error, ErrorKind, OpenOptions};

use super::place::Place;
use super::{Outcome, Rig};
use crate::devices::{Copier, Driver, Kept};
use crate::random;

/// What a device is to reach of another one.
struct Peer {
    map: Arc<RegionMap>,
    /// Where it is in the map, in bytes.
    offset: usize,
    /// Where devices find it, if they do.
    iova: Iova,
}

/// Both devices are the guest's: their domains follow its memory, and both see the BAR.
pub(in crate::suites) fn reached(rig: &Rig, driver: &mut dyn Driver) -> Result<Outcome> {
    let Some(copier) = driver.copier() else {
        return Ok(Outcome::NotHere(
            "the device copies no bytes of anybody's choice",
        ));
    };
    let Some((sysfs, kept)) = rig.other(Kept::of)? else {
        return Ok(Outcome::NotHere(
            "there is no other device that is known to keep what is written to it",
        ));
    };
    let options = OpenOptions::default().in_space(rig.space());
    let other = rig.vfio().open_with(sysfs.bdf, options)?;
    ConfigSpace::of(&other)?.enable(Command::MEMORY)?;
    let region = other.region(RegionIndex::Bar(kept.bar))?;
    if !region.is_mappable() {
        return Ok(Outcome::NotHere("the other device's BAR cannot be mapped"));
    }
    let map = Arc::new(region.map()?);
    let Some(start) = map.host_ptr() else {
        return Ok(Outcome::NotHere(
            "registers of simulated devices are nowhere in memory",
        ));
    };
    let memory = HostRange::new(start.as_ptr() as usize, map.len()).context("a range")?;
    // SAFETY: the BAR is mapped there as long as the map lives, which the block keeps; nobody has a reference into it.
    let block = unsafe { Block::new(memory, Arc::clone(&map)) };

    let mut domains = vec![rig.device.domain(), other.domain()];
    domains.dedup();
    let place = Place::new(&domains, memory.len() as u64, DmaMask::bits(32))?;
    let range = IovaRange::new(place.range.first(), memory.len() as u64).context("a range")?;
    let peer = Peer {
        map,
        offset: kept.offset,
        iova: Iova(range.first().0 + kept.offset as u64),
    };
    let answers = domains.iter().map(|domain| answer(domain, range, &block));
    let answers = answers.collect::<Result<Vec<_>>>()?;
    let (left_out, refused): (Vec<_>, Vec<_>) = answers
        .into_iter()
        .flatten()
        .partition(|error| error.kind() == ErrorKind::Invalid);

    let space = AddressSpace::new();
    for domain in &domains {
        let _ = space.follow(domain)?;
    }
    let section = Section::peer(range, &block, 0)?;
    let committed = space.edit().insert(section).commit()?;
    let named = committed.unreachable;
    ensure!(
        named.len() == refused.len() && named.iter().all(|(it, _)| *it == range),
        "the kernel refuses {refused:?}, and the commit says {named:?}"
    );
    let is_mapped = left_out.is_empty() && refused.is_empty();
    ensure!(
        peer.is_reached(copier)? == is_mapped,
        "the kernel says {refused:?}, and it is otherwise"
    );
    let _ = space.edit().remove(range).commit()?;
    ensure!(
        !peer.is_reached(copier)?,
        "the device reaches a BAR that the guest does not have any more"
    );
    Ok(match (is_mapped, left_out.is_empty()) {
        (true, _) => Outcome::Passed,
        (_, false) => Outcome::NotHere("the BAR is not made of whole pages of the IOMMU"),
        (_, true) => Outcome::NotHere(
            "the kernel does not map the BAR for the IOMMU: it was not reached, and the commit said so",
        ),
    })
}

/// Why it cannot be mapped, if it cannot: asked without guest memory.
fn answer(domain: &Domain, range: IovaRange, block: &Block) -> Result<Option<Error>> {
    // SAFETY: the block has the memory, and it is unmapped at once.
    match unsafe { domain.map(range, block.range(), Access::ReadWrite) } {
        Ok(()) => {
            domain.unmap(range)?;
            Ok(None)
        }
        Err(error) => Ok(Some(error)),
    }
}

impl Peer {
    /// Whether a device reads and writes it, or does neither.
    fn is_reached(&self, copier: &dyn Copier) -> Result<bool> {
        let written = random::array()?;
        self.write(written)?;
        copier.fill()?;
        copier.read(self.iova, 0, Kept::LEN)?;
        let is_read = copier.contents()?.starts_with(&written);

        let held = copier.fill()?;
        let held = held.first_chunk().context("the buffer is too small")?;
        copier.write(0, self.iova, Kept::LEN)?;
        let now = self.read()?;
        match (is_read, now == *held, now == written) {
            (true, true, false) => Ok(true),
            (false, false, true) => Ok(false),
            found => bail!("read, written, left alone: {found:?}"),
        }
    }

    fn write(&self, bytes: [u8; Kept::LEN]) -> Result<()> {
        for (n, part) in bytes.chunks_exact(8).enumerate() {
            let word = u64::from_ne_bytes(part.try_into()?);
            self.map.write(self.offset + 8 * n, word)?;
        }
        Ok(())
    }

    fn read(&self) -> Result<[u8; Kept::LEN]> {
        let mut bytes = [0; Kept::LEN];
        for (n, part) in bytes.chunks_exact_mut(8).enumerate() {
            let word: u64 = self.map.read(self.offset + 8 * n)?;
            part.copy_from_slice(&word.to_ne_bytes());
        }
        Ok(bytes)
    }
}
