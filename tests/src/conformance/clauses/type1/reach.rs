//! What a device reaches.

use vfio_core::uapi::TYPE1V2_IOMMU;

use crate::conformance::clause::Trait;
use crate::conformance::host::Host;
use crate::conformance::memory::{Memory, random};
use crate::conformance::rig::{Open, Rig};

/// Where the engine has memory of its own.
const OWN: u64 = 0x200_0000;
const SOME: usize = 64;

/// A device with a DMA engine, alone in a container.
pub(super) struct Engine {
    open: Open,
    pub(super) rig: Rig,
    own: Memory,
}

impl Engine {
    pub(super) fn new(host: &Host) -> Self {
        Self::of(host, TYPE1V2_IOMMU)
    }

    pub(super) fn of(host: &Host, iommu: u32) -> Self {
        let (group, _) = Trait::Engine.find(host.machine()).unwrap();
        Self::inside(Rig::new(host.kernel(), group, iommu), host)
    }

    /// The engine of this group and container.
    pub(super) fn inside(rig: Rig, host: &Host) -> Self {
        let open = rig.open(&host.device(Trait::Engine).bdf);
        let own = host.memory(1);
        let engine = Self { open, rig, own };
        engine.map_own();
        engine
    }

    /// Maps its own memory: anew, if a clause has unmapped that too.
    pub(super) fn map_own(&self) {
        self.rig.map(OWN, &self.own).unwrap();
    }

    /// Whether it can write at `iova`, where `at` bytes into that memory is mapped.
    pub(super) fn writes(&self, iova: u64, memory: &Memory, at: usize) -> bool {
        let bytes = random(SOME);
        self.own.put(0, &bytes);
        self.open.copy(OWN, iova, SOME as u64);
        memory.get(at..at + SOME) == bytes
    }

    /// Whether it can read there.
    pub(super) fn reads(&self, iova: u64, memory: &Memory, at: usize) -> bool {
        let bytes = random(SOME);
        memory.put(at, &bytes);
        self.open.copy(iova, OWN, SOME as u64);
        self.own.get(0..SOME) == bytes
    }

    pub(super) fn reaches(&self, iova: u64, memory: &Memory, at: usize) -> bool {
        let (reads, writes) = (self.reads(iova, memory, at), self.writes(iova, memory, at));
        assert_eq!(reads, writes, "both, or neither");
        reads
    }
}
