//! A simulated machine whose devices follow guest memory, watched at every call.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use iommu_type1::TYPE1_V2;
use vfio_core::address::{HostRange, Iova, IovaRange};
use vfio_core::guest::{AddressSpace, Block, Committed};
use vfio_core::iommu::{Domain, Registration, Registry};
use vfio_core::kernel::Kernel;
use vfio_core::{Answer, Device, OpenOptions, Result, Vfio};
use vfio_sim::machine::Hardware;
use vfio_sim::wrap::{Call, FailNth, Outcome, Request, Watch, Watched};
use vfio_sim::{Machine, SimKernel};
use vfio_tests::guest::{BLOCK_PAGES, BLOCKS, Change, Layout, Model, Page, Ram};

pub(crate) const PAGE: usize = 4096;
const LAYOUT: Layout = Layout {
    base: Iova(0x10_0000),
    page: PAGE,
};

pub(crate) struct World {
    pub(crate) space: Arc<AddressSpace>,
    pub(crate) failing: Arc<FailNth>,
    pub(crate) sim: SimKernel,
    witness: Arc<Witness>,
    blocks: Vec<Block>,
    devices: Vec<Device>,
}

impl World {
    /// So many devices, each in a context of its own, follow an empty space.
    pub(crate) fn new(registration: Registration, followers: usize) -> Self {
        let world = Self::apart(registration, followers);
        world.follow();
        world
    }

    /// Nobody follows.
    pub(crate) fn apart(registration: Registration, devices: usize) -> Self {
        let machine = match registration.name {
            "sPAPR v1" | "sPAPR v2" => Machine::powernv9(),
            _ => Machine::x86_64(),
        };
        Self::on(machine, registration, devices)
    }

    fn follow(&self) {
        for domain in self.domains() {
            let _ = self.space.follow(domain).unwrap();
        }
        self.failing.disarm();
    }

    /// One whose kernel has so many mappings for each context.
    pub(crate) fn with_mappings(most: u32, followers: usize) -> Self {
        let mut machine = Machine::x86_64();
        for iommu in &mut machine.iommus {
            if let Hardware::Type1(type1) = &mut iommu.hardware {
                type1.entry_limit = most;
            }
        }
        let world = Self::on(machine, TYPE1_V2, followers);
        world.follow();
        world
    }

    fn on(machine: Machine, registration: Registration, devices: usize) -> Self {
        let sim = SimKernel::new(machine.clone());
        let witness = Arc::new(Witness {
            sim: sim.clone(),
            seen: Mutex::default(),
        });
        let failing = Arc::new(FailNth::default());
        let kernel: Arc<dyn Kernel> = Arc::new(sim.clone());
        let kernel: Arc<dyn Kernel> = Arc::new(Watched::new(kernel, witness.clone()));
        let kernel: Arc<dyn Kernel> = Arc::new(Watched::new(kernel, failing.clone()));
        let vfio = Vfio::on(Arc::clone(&kernel), Registry::of([registration]).unwrap());
        let all = machine.groups.iter().flat_map(|group| &group.devices);
        let devices: Vec<_> = all
            .take(devices)
            .map(|device| {
                let apart = OpenOptions::default().in_space(vfio_core::AddressSpaceId::unique());
                vfio.open_with(device.bdf.parse().unwrap(), apart).unwrap()
            })
            .collect();
        let space = Arc::new(AddressSpace::new());
        let blocks = (0..BLOCKS)
            .map(|_| {
                Ram::new(&kernel, BLOCK_PAGES * PAGE)
                    .unwrap()
                    .block()
                    .clone()
            })
            .collect();
        let world = Self {
            space,
            failing,
            sim,
            witness,
            blocks,
            devices,
        };
        world.failing.disarm();
        world
    }

    pub(crate) fn domains(&self) -> impl Iterator<Item = &Domain> {
        self.devices.iter().map(Device::domain)
    }

    /// Makes a change, while every call is watched.
    pub(crate) fn commit(&self, old: &Model, change: &Change) -> Result<Committed> {
        let new = old.after(change).unwrap_or_else(|| old.clone());
        self.expect(self.placed(old), self.placed(&new));
        self.edit(change)
    }

    /// From now on devices are to reach nothing but what is in one of the states, and what is in both.
    pub(crate) fn expect(&self, old: Reached, new: Reached) {
        let mut seen = self.witness.lock();
        seen.old = old;
        seen.new = new;
        seen.lost.clear();
    }

    pub(crate) fn edit(&self, change: &Change) -> Result<Committed> {
        LAYOUT.edit(&self.space, change, &self.blocks)?.commit()
    }

    /// Every device reaches what the model says, and nothing else.
    pub(crate) fn check(&self, model: &Model) {
        assert_eq!(mapped(&self.sim), self.placed(model));
    }

    /// What devices reach that follow the guest's memory.
    fn placed(&self, model: &Model) -> Reached {
        let pages = model.pages().into_iter();
        let reached = pages.filter(|_| !self.devices.is_empty());
        let reached = reached.map(|(at, page)| {
            let reached = self.reached(range(at, 1).first(), page);
            (reached, self.devices.len())
        });
        reached.collect()
    }

    /// A page that a device finds at an address.
    pub(crate) fn reached(&self, at: Iova, (block, page, writes): Page) -> (u64, u64, bool) {
        let start = self.blocks[block].range().addr() + page * PAGE;
        (at.0, start as u64, writes)
    }

    /// Pages that devices should have reached all the time, and did not.
    pub(crate) fn lost(&self) -> BTreeSet<u64> {
        let seen = self.witness.lock();
        assert_eq!(seen.wrong, <[String; 0]>::default());
        seen.lost.clone()
    }

    /// The life of every context ends.
    pub(crate) fn close_devices(&mut self) {
        for device in self.devices.drain(..) {
            device.close().unwrap();
        }
    }

    /// The life of the context of one device ends.
    pub(crate) fn close_device(&mut self, n: usize) {
        self.devices.remove(n).close().unwrap();
    }

    /// Nothing is left when everything was dropped.
    pub(crate) fn end(self) {
        let Self {
            space,
            sim,
            blocks,
            devices,
            ..
        } = self;
        drop((space, blocks));
        assert_eq!(sim.mappings(), []);
        drop(devices);
        assert!(sim.is_idle(), "{:?}", sim.open_objects());
        assert_eq!(sim.locked(), 0);
    }
}

/// The pages of ranges.
pub(crate) fn pages_of(ranges: &[IovaRange]) -> BTreeSet<u64> {
    let pages = |it: &IovaRange| (it.first().0..=it.last().0).step_by(PAGE);
    ranges.iter().flat_map(pages).collect()
}

pub(crate) fn range(at: usize, len: usize) -> IovaRange {
    LAYOUT.range(at, len).unwrap()
}

/// By the device's address: memory, and whether it can be written; how many devices find it so.
pub(crate) type Reached = BTreeMap<(u64, u64, bool), usize>;

pub(crate) fn mapped(sim: &SimKernel) -> Reached {
    let mut reached = Reached::new();
    for it in sim.mappings() {
        for offset in (0..it.size).step_by(PAGE) {
            *reached
                .entry((it.iova + offset, it.vaddr + offset, it.write))
                .or_default() += 1;
        }
    }
    reached
}

/// Sees what is mapped after each call, and what memory is given back.
#[derive(Debug)]
struct Witness {
    sim: SimKernel,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    old: Reached,
    new: Reached,
    lost: BTreeSet<u64>,
    wrong: Vec<String>,
}

impl Witness {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch for Witness {
    fn before(&self, call: &Call<'_>) -> std::result::Result<(), Answer> {
        if let Request::Munmap { addr, len } = call.request {
            let freed = HostRange::new(addr.as_ptr() as usize, len).unwrap();
            for it in self.sim.mappings() {
                let memory = HostRange::new(
                    usize::try_from(it.vaddr).unwrap(),
                    usize::try_from(it.size).unwrap(),
                );
                if freed.overlaps(memory.unwrap()) {
                    let mut seen = self.lock();
                    seen.wrong.push(format!("{freed} is freed and mapped"));
                }
            }
        }
        Ok(())
    }

    fn after(&self, call: &Call<'_>, _: &Outcome<'_>) {
        if !call.is_ioctl() {
            return;
        }
        let now = mapped(&self.sim);
        let seen = &mut *self.lock();
        for (page, count) in &now {
            let most = seen.old.get(page).max(seen.new.get(page));
            if most.is_none_or(|most| most < count) {
                seen.wrong
                    .push(format!("{page:x?} is reached by {count}, of neither state"));
            }
        }
        for (page, count) in &seen.old {
            let is_lost = seen.new.contains_key(page) && now.get(page).is_none_or(|it| it < count);
            if is_lost {
                seen.lost.insert(page.0);
            }
        }
    }
}
