//! A simulated host, a guest with memory, and devices behind its bridge.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Result;
use iommu_spapr::guest::{Bridge, DefaultWindow, DynamicWindows};
use iommu_spapr::{SPAPR_V1, SPAPR_V2};
use vfio_core::address::{HostRange, Iova, IovaRange, PageSizes};
use vfio_core::guest::{AddressSpace, Block};
use vfio_core::iommu::{Domain, Registration, Registry};
use vfio_core::kernel::Kernel;
use vfio_core::{AddressSpaceId, Device, ErrorKind, OpenOptions, Vfio};
use vfio_sim::wrap::{FailNth, Watched};
use vfio_sim::{Machine, SimKernel};
use vfio_tests::guest::Ram;
use vfio_tests::tce::{self, BLOCK, BLOCKS, Model, Op};

pub(crate) const DEFAULT: u32 = 0x8000_0000;
pub(crate) const DYNAMIC: u32 = 0x8000_0001;
pub(crate) const HIGH: u64 = 1 << 59;

const PAGE: usize = 4096;

/// What the guest may create.
pub(crate) const WINDOWS: DynamicWindows = DynamicWindows {
    liobn: DYNAMIC,
    start: Iova(HIGH),
    page_sizes: PageSizes(0x1_1000),
    largest: 1 << 32,
};

/// The hosts on which a guest can be, each with the backend that its devices are behind.
pub(crate) fn hosts() -> [(Machine, Registration); 4] {
    [
        (Machine::pseries(), SPAPR_V2),
        (Machine::powernv8(), SPAPR_V2),
        (Machine::powernv9(), SPAPR_V2),
        (Machine::powernv9(), SPAPR_V1),
    ]
}

pub(crate) struct Rig {
    pub(crate) bridge: Bridge,
    pub(crate) space: Arc<AddressSpace>,
    pub(crate) failing: Arc<FailNth>,
    pub(crate) sim: SimKernel,
    pub(crate) kernel: Arc<dyn Kernel>,
    pub(crate) model: Model,
    blocks: Vec<Block>,
    devices: Vec<Device>,
    /// So many of them are behind the bridge, the first ones.
    joined: usize,
}

impl Rig {
    /// All devices that are in groups of their own are there; none is behind the bridge.
    pub(crate) fn new((machine, registration): (Machine, Registration)) -> Self {
        let sim = SimKernel::new(machine.clone());
        let failing = Arc::new(FailNth::default());
        let kernel: Arc<dyn Kernel> = Arc::new(sim.clone());
        let kernel: Arc<dyn Kernel> = Arc::new(Watched::new(kernel, failing.clone()));
        let vfio = Vfio::on(Arc::clone(&kernel), Registry::of([registration]).unwrap());
        let groups = machine.groups.iter();
        let devices: Vec<_> = groups
            .map(|group| {
                let apart = OpenOptions::default().in_space(AddressSpaceId::unique());
                let bdf = group.devices[0].bdf.parse().unwrap();
                vfio.open_with(bdf, apart).unwrap()
            })
            .collect();
        let blocks: Vec<_> = (0..BLOCKS)
            .map(|_| Ram::new(&kernel, BLOCK).unwrap().block().clone())
            .collect();
        let space = Arc::new(AddressSpace::new());
        tce::populate(&space, &blocks).unwrap();
        let default = DefaultWindow {
            liobn: DEFAULT,
            range: IovaRange::new(Iova(0), 1 << 28).unwrap(),
            page_shift: 12,
        };
        let model = Model::new(default, WINDOWS, (1, WINDOWS.page_sizes));
        failing.disarm();
        Self {
            bridge: Bridge::new(&space, default, Some(WINDOWS)).unwrap(),
            space,
            failing,
            sim,
            kernel,
            model,
            blocks,
            devices,
            joined: 0,
        }
    }

    pub(crate) fn domain(&self, n: usize) -> &Domain {
        self.devices[n].domain()
    }

    pub(crate) fn devices(&self) -> impl Iterator<Item = &Device> {
        self.devices.iter()
    }

    pub(crate) fn block(&self, n: usize) -> HostRange {
        self.blocks[n].range()
    }

    /// Another device comes behind the bridge, if there is one.
    pub(crate) fn join(&mut self) -> Result<()> {
        if self.joined < self.devices.len() {
            let domain = self.domain(self.joined);
            let has_created = self.model.windows().any(|(start, _)| start == HIGH);
            if domain.name() == SPAPR_V1.name && has_created {
                let error = self.bridge.follow(domain).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
                return Ok(());
            }
            self.bridge.follow(domain)?;
            self.joined += 1;
            self.learn();
        }
        Ok(())
    }

    /// The last one that came leaves.
    pub(crate) fn leave(&mut self) -> Result<()> {
        if self.joined > 0 {
            self.bridge.unfollow(self.domain(self.joined - 1))?;
            self.joined -= 1;
            self.learn();
        }
        Ok(())
    }

    /// What the hosts offer; version 1 offers no window.
    fn learn(&mut self) {
        let domains = self.devices[..self.joined].iter().map(Device::domain);
        let is_v1 = |domain: &Domain| domain.name() == SPAPR_V1.name;
        let windows = u32::from(!domains.into_iter().any(is_v1));
        self.model.offer(windows, WINDOWS.page_sizes);
    }

    pub(crate) fn call(&mut self, op: &Op) -> Result<()> {
        self.model.call(op, &self.bridge)
    }

    /// Devices reach what the model says, and nothing else; the kernel has what it needs for that, and nothing else.
    pub(crate) fn check(&self) {
        assert_eq!(self.mapped(), self.wanted());
        assert_eq!(self.sim.hazards(), []);
        let starts: Vec<_> = self.model.windows().map(|(start, _)| start).collect();
        for held in self.sim.holdings() {
            // The default one is there from when it is first used.
            let made = held.windows.iter().filter(|(start, _)| *start != 0);
            let made: Vec<_> = made.map(|(start, _)| *start).collect();
            assert!(
                made.iter().all(|start| starts.contains(start)),
                "{made:x?} {starts:x?}"
            );
        }
    }

    /// By the device's address: memory, and whether it can be written; how many devices find it so.
    fn wanted(&self) -> BTreeMap<(u64, u64, bool), usize> {
        let mut wanted = BTreeMap::new();
        for (start, page_shift) in self.model.windows() {
            for (n, target) in self.model.reached(start) {
                let memory = self.blocks[target.block].range().addr() + target.offset;
                for part in (0..1u64 << page_shift).step_by(PAGE) {
                    let at = (start + (n << page_shift) + part, memory as u64 + part);
                    if self.joined > 0 {
                        wanted.insert((at.0, at.1, target.writes), self.joined);
                    }
                }
            }
        }
        wanted
    }

    pub(crate) fn mapped(&self) -> BTreeMap<(u64, u64, bool), usize> {
        let mut mapped = BTreeMap::new();
        for it in self.sim.mappings() {
            for offset in (0..it.size).step_by(PAGE) {
                let page = (it.iova + offset, it.vaddr + offset, it.write);
                *mapped.entry(page).or_default() += 1;
            }
        }
        mapped
    }

    /// Nothing is left when everything was dropped: no mapping, no window, nothing registered or locked.
    pub(crate) fn end(self) {
        self.end_with(true);
    }

    /// The same; but where UNREGISTER has failed, memory stays pinned until the container is closed.
    pub(crate) fn end_with(self, all_unregistered: bool) {
        let Self {
            bridge,
            space,
            sim,
            blocks,
            devices,
            ..
        } = self;
        drop(bridge);
        assert_eq!(sim.mappings(), []);
        for held in sim.holdings() {
            let made = held.windows.iter().filter(|(start, _)| *start != 0);
            assert_eq!(made.count(), 0);
            assert!(held.registered.is_empty() || !all_unregistered);
        }
        drop((space, blocks, devices));
        assert!(sim.is_idle(), "{:?}", sim.open_objects());
        assert_eq!(sim.locked(), 0);
        assert_eq!(sim.hazards(), []);
    }
}
