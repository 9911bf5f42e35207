//! A device on a simulated machine.

use std::sync::Arc;

use iommu_type1::TYPE1_V2;
use vfio_core::kernel::Kernel;
use vfio_core::{Device, Vfio, iommu::Registry};
use vfio_sim::wrap::{FailNth, Watched};
use vfio_sim::{Machine, SimKernel};
use vm_memory::{
    Address, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion, GuestRegionMmap,
};

pub(crate) const PAGE: usize = 4096;

pub(crate) struct Board {
    pub(crate) sim: SimKernel,
    pub(crate) failing: Arc<FailNth>,
    pub(crate) device: Device,
}

/// Address for the device, address in the process, size, and whether the device may write.
pub(crate) type Reached = (u64, u64, u64, bool);

impl Board {
    pub(crate) fn new() -> Self {
        let machine = Machine::x86_64();
        let bdf = machine.groups[0].devices[0].bdf.parse().unwrap();
        let sim = SimKernel::new(machine);
        let failing = Arc::new(FailNth::default());
        let kernel: Arc<dyn Kernel> = Arc::new(sim.clone());
        let kernel: Arc<dyn Kernel> = Arc::new(Watched::new(kernel, failing.clone()));
        let vfio = Vfio::on(kernel, Registry::of([TYPE1_V2]).unwrap());
        let device = vfio.open(bdf).unwrap();
        Self {
            sim,
            failing,
            device,
        }
    }

    /// What the device reaches.
    pub(crate) fn reached(&self) -> Vec<Reached> {
        let mappings = self.sim.mappings().into_iter();
        let mut reached: Vec<_> = mappings
            .map(|it| (it.iova, it.vaddr, it.size, it.write))
            .collect();
        reached.sort_unstable();
        reached
    }

    /// The ioctls that something makes.
    pub(crate) fn calls<T>(&self, of: impl FnOnce() -> T) -> (T, Vec<String>) {
        self.failing.disarm();
        let answer = of();
        let seen = self.failing.seen();
        (answer, seen.iter().map(ToString::to_string).collect())
    }
}

/// A few pages at an address of the guest.
pub(crate) fn region(guest: u64) -> Arc<GuestRegionMmap> {
    let size = PAGE * fastrand::usize(1..=16);
    Arc::new(GuestRegionMmap::from_range(GuestAddress(guest), size, None).unwrap())
}

/// What devices are to reach of memory.
pub(crate) fn all_of(
    memory: &GuestMemoryMmap,
    is_rom: impl Fn(&GuestRegionMmap) -> bool,
) -> Vec<Reached> {
    let regions = memory.iter();
    regions
        .map(|it| {
            let host = it.as_ptr().addr() as u64;
            (it.start_addr().raw_value(), host, it.len(), !is_rom(it))
        })
        .collect()
}
