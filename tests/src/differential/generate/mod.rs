//! Random calls, of which many make sense.

mod device;
mod learn;
mod places;
mod spapr;
mod steps;
mod type1;

use std::collections::{BTreeMap, BTreeSet};

use super::call::{Call, Place, Slot};
use super::memory::{PAGES, SORTS};
use learn::Context;
pub(super) use places::Places;

/// Makes calls one after the other, and is told what came of them.
pub(super) struct Generator {
    random: fastrand::Rng,
    places: Places,
    open: BTreeSet<Slot>,
    /// Which group is open where.
    groups: BTreeMap<Slot, usize>,
    /// Which device is open where.
    devices: BTreeMap<Slot, usize>,
    contexts: BTreeMap<Slot, Context>,
    /// The groups that are in a container whose fd was closed.
    lost: BTreeSet<usize>,
}

const CONTAINERS: u8 = 2;
const SIGNALS: u8 = 3;
/// An eventfd that the kernel waits for. When it takes what was counted is no matter of the interface: nobody else
/// looks.
const WAITED_FOR: Slot = Slot::Signal(SIGNALS);

impl Generator {
    pub(in crate::differential) fn new(seed: u64, places: &Places) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            places: places.clone(),
            open: BTreeSet::new(),
            groups: BTreeMap::new(),
            devices: BTreeMap::new(),
            contexts: BTreeMap::new(),
            lost: BTreeSet::new(),
        }
    }

    /// How many bytes the process may lock: mostly as many as it likes.
    pub(in crate::differential) fn memlock(&mut self) -> Option<u64> {
        let pages = self.random.choice([0, 1, 4, 12, 40]).unwrap_or(0);
        self.one_in(8).then_some(pages * self.places.page)
    }

    /// The next call.
    pub(in crate::differential) fn next(&mut self) -> Call {
        if let Some(step) = self.missing_step() {
            if !self.one_in(4) {
                return step;
            }
        }
        // Weights in percent, about.
        match self.random.u32(..100) {
            0..2 => self.open_something(),
            2 => self.close_something(),
            3..8 => self.leave(),
            8..13 => self.group_call(),
            13..20 => self.container_call(),
            20..71 => self.mapping_call(),
            71..92 => self.device_call(),
            92..97 => self.access(),
            _ => self.signal_call(),
        }
    }

    fn one_in(&mut self, n: u32) -> bool {
        self.random.u32(..n) == 0
    }

    fn any_open(&mut self, is: fn(&Slot) -> bool) -> Option<Slot> {
        let slots: Vec<_> = self.open.iter().copied().filter(is).collect();
        self.random.choice(slots)
    }

    fn container(&mut self) -> Slot {
        let open = self.any_open(|slot| matches!(slot, Slot::Container(_)));
        open.unwrap_or(Slot::Container(0))
    }

    /// A container that has an IOMMU, if there is one.
    fn context(&mut self) -> Slot {
        let with: Vec<_> = self
            .contexts
            .iter()
            .filter(|(_, context)| context.iommu.is_some())
            .map(|(slot, _)| *slot)
            .collect();
        match self.random.choice(with) {
            Some(slot) => slot,
            None => self.container(),
        }
    }

    fn group(&mut self) -> Slot {
        let open = self.any_open(|slot| matches!(slot, Slot::Group(_)));
        open.unwrap_or(Slot::Group(0))
    }

    /// Where a device of a group is open.
    fn device_of(&self, group: usize) -> Option<Slot> {
        let mut devices = self.devices.iter();
        let found = devices.find(|(_, n)| self.places.groups_of.get(**n) == Some(&group));
        found.map(|(slot, _)| *slot)
    }

    fn device(&mut self) -> Slot {
        let open = self.any_open(|slot| matches!(slot, Slot::Device(_)));
        open.unwrap_or(Slot::Device(0))
    }

    fn signal(&mut self) -> Slot {
        Slot::Signal(self.random.u8(..SIGNALS))
    }

    /// What a struct says that its size is: mostly what it is.
    fn argsz(&mut self, right: u32) -> u32 {
        match self.random.u32(..50) {
            0 => right - 1,
            1 => 0,
            2 => right + 8,
            _ => right,
        }
    }

    fn pages(&mut self) -> u64 {
        self.random.choice([1, 1, 1, 2, 2, 3, 4, 8]).unwrap_or(1) * self.places.page
    }

    /// An address for the device.
    fn iova(&mut self) -> u64 {
        let page = self.places.page;
        match self.random.u32(..24) {
            0 | 1 => {
                let n = self.random.usize(..self.places.borders.len());
                let pages = self.random.u64(..6);
                self.places.borders[n]
                    .wrapping_sub(3 * page)
                    .wrapping_add(pages * page)
            }
            2 => self
                .random
                .choice([u64::MAX - page + 1, u64::MAX, 1 << 52])
                .unwrap_or(0),
            _ => (0x100 + self.random.u64(..64)) * page,
        }
    }

    fn place(&mut self) -> Place {
        let memory = match self.random.u32(..4) {
            0 => self.random.usize(..SORTS.len()),
            1 => 1,
            _ => 0,
        };
        let offset = self.random.u64(..PAGES - 8) * self.places.page;
        Place { memory, offset }
    }
}
