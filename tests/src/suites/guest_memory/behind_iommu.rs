//! A device behind an IOMMU of the guest reaches what the guest has mapped there, and nothing else.

use std::sync::Arc;

use anyhow::{Context, Result};
use vfio_core::address::{Access, DmaMask, Iova};
use vfio_core::guest::{AddressSpace, GuestIommu, Request, Translation};

use super::look::Guest;
use super::place::Place;
use super::{Outcome, Rig};
use crate::devices::Driver;
use crate::guest::{BLOCK_PAGES, Change, Kind, Layout, Model, PAGES, Section};
use crate::random;

/// So many batches of requests are made, each of so many.
const ROUNDS: usize = 3;
const REQUESTS: usize = 6;
/// So many pages are mapped at once, at the most.
const LONGEST: usize = 6;
/// The first page of the guest's memory, in its own addresses.
const FIRST: u64 = 1 << 10;

pub(in crate::suites) fn reached(rig: &Rig, driver: &mut dyn Driver) -> Result<Outcome> {
    let mut behind = Behind::new(rig)?;
    for round in 0..ROUNDS {
        let gone = behind.apply()?;
        behind
            .look(&gone, driver)
            .with_context(|| format!("round {round}"))?;
    }
    let [ram, rom] = sections();
    let gone = behind.edit(&[rom], &[], |it| it.block != rom.block)?;
    behind
        .look(&gone, driver)
        .context("when some memory is gone")?;
    let read_only = Section {
        kind: Kind::Rom,
        ..ram
    };
    behind.edit(&[ram], &[read_only], |_| true)?;
    for section in &mut behind.seen.sections {
        section.kind = Kind::Rom;
    }
    behind
        .look(&[], driver)
        .context("when memory is only read")?;
    let gone = std::mem::take(&mut behind.seen).sections;
    behind.iommu = GuestIommu::of(&behind.memory);
    behind
        .look(&gone, driver)
        .context("when the IOMMU is gone")?;
    Ok(Outcome::Passed)
}

/// The guest's memory: a block of RAM, and one of ROM.
fn sections() -> [Section; 2] {
    let ram = Section {
        at: 0,
        len: BLOCK_PAGES,
        block: 0,
        offset: 0,
        kind: Kind::Ram,
        unit: None,
    };
    let rom = Section {
        at: BLOCK_PAGES,
        block: 1,
        kind: Kind::Rom,
        ..ram
    };
    [ram, rom]
}

struct Behind {
    iommu: GuestIommu,
    memory: Arc<AddressSpace>,
    guest: Guest,
    /// Where the guest has its memory.
    addresses: Layout,
    /// Where the device finds what is mapped, and what that is.
    device: Layout,
    seen: Model,
    _place: Place,
}

impl Behind {
    fn new(rig: &Rig) -> Result<Self> {
        let domain = rig.device.domain();
        let mask = DmaMask::bits(32);
        let page = domain.alloc(1, mask)?.page_size();
        // One page more before the first that is mapped, and one behind the last.
        let pages = (1 + PAGES + LONGEST + 1) as u64;
        let place = Place::new(&[domain], pages * page, mask)?;
        let device = Layout {
            base: Iova(place.range.first().0 + page),
            page: usize::try_from(page)?,
        };
        let memory = Arc::new(AddressSpace::new());
        let iommu = GuestIommu::of(&memory);
        iommu.follow(domain, [])?;
        let behind = Self {
            iommu,
            memory,
            guest: Guest::new(rig.vfio().kernel(), device)?,
            addresses: Layout {
                base: Iova(FIRST * page),
                ..device
            },
            device,
            seen: Model::default(),
            _place: place,
        };
        behind.commit(&[], &sections())?;
        Ok(behind)
    }

    fn commit(&self, removed: &[Section], inserted: &[Section]) -> Result<()> {
        let change = Change {
            removed: removed.to_vec(),
            inserted: inserted.to_vec(),
        };
        let edit = self
            .addresses
            .edit(&self.memory, &change, &self.guest.blocks())?;
        let _ = edit.commit()?;
        Ok(())
    }

    /// Changes the guest's memory; answers what is not mapped any more.
    fn edit(
        &mut self,
        removed: &[Section],
        inserted: &[Section],
        stays: impl Fn(&Section) -> bool,
    ) -> Result<Vec<Section>> {
        self.commit(removed, inserted)?;
        let seen = std::mem::take(&mut self.seen.sections);
        let (stay, gone) = seen.into_iter().partition(stays);
        self.seen.sections = stay;
        Ok(gone)
    }

    /// Makes random requests, all at once; answers what is not mapped any more.
    fn apply(&mut self) -> Result<Vec<Section>> {
        let (mut requests, mut gone) = (Vec::new(), Vec::new());
        for _ in 0..REQUESTS {
            let count = self.seen.sections.len();
            if count > 0 && random::up_to(2)? == 0 {
                let section = self.seen.sections.swap_remove(random::up_to(count - 1)?);
                requests.push(Request::Unmap(self.device.range(section.at, section.len)?));
                gone.push(section);
                continue;
            }
            let (section, translation) = self.translation()?;
            let change = Change {
                inserted: vec![section],
                removed: Vec::new(),
            };
            if let Some(seen) = self.seen.after(&change) {
                self.seen = seen;
                requests.push(Request::Map(translation));
            }
        }
        self.iommu.apply(&requests)?;
        Ok(gone)
    }

    /// Some pages of the device, and what they are to lead to.
    fn translation(&self) -> Result<(Section, Translation)> {
        let memory = sections();
        let memory = memory
            .get(random::up_to(memory.len() - 1)?)
            .context("memory")?;
        let len = 1 + random::up_to(LONGEST - 1)?;
        let offset = random::up_to(BLOCK_PAGES - len)?;
        let access = match random::up_to(2)? {
            0 => Access::Read,
            _ => Access::ReadWrite,
        };
        let section = Section {
            at: random::up_to(PAGES - 1)?,
            len,
            offset,
            kind: match access.writes() {
                true => memory.kind,
                false => Kind::Rom,
            },
            ..*memory
        };
        let translation = Translation {
            range: self.device.range(section.at, len)?,
            to: self.addresses.range(memory.at + offset, len)?.first(),
            access,
        };
        Ok((section, translation))
    }

    /// At what is mapped, and at what is not any more.
    fn look(&mut self, gone: &[Section], driver: &mut dyn Driver) -> Result<()> {
        let seen = self.seen.sections.clone();
        self.guest.look(&seen, &self.seen, driver)?;
        self.guest.look(gone, &self.seen, driver)
    }
}
