//! What a device reaches.

use vfio_core::uapi::SPAPR_TCE_IOMMU;

use super::calls::{enable, put, register};
use crate::conformance::clause::Trait;
use crate::conformance::host::Host;
use crate::conformance::memory::{Memory, random};
use crate::conformance::rig::{Open, Rig};

/// Of so many bytes a device moves.
const LEN: usize = 16;

/// A device that does DMA, in a container that is ready to map, with memory (registered, in version 2).
#[derive(Debug)]
pub(super) struct Engine {
    device: Open,
    pub(super) rig: Rig,
    pub(super) memory: Memory,
    /// Where it reads and writes what a clause does not ask about: the IOVA of the memory's last page.
    scratch: u64,
}

impl Engine {
    /// Of a window that starts at 0.
    pub(super) fn new(host: &Host, iommu: u32, pages: usize) -> Self {
        let engine = Self::unmapped(host, iommu, pages);
        engine.map_scratch(0x2000_0000)
    }

    /// Of no window yet.
    pub(super) fn unmapped(host: &Host, iommu: u32, pages: usize) -> Self {
        let (group, _) = Trait::Engine.find(host.machine()).unwrap();
        let rig = Rig::new(host.kernel(), group, iommu);
        let memory = host.memory(pages + 1);
        let answer = match iommu {
            SPAPR_TCE_IOMMU => enable(&rig),
            _ => register(&rig, memory.at(), memory.len()),
        };
        assert_eq!(answer, Ok(0));
        Self::inside(host, rig, memory, 0)
    }

    /// Of its group and memory; the last page of that is, or will be, at `scratch`.
    pub(super) fn inside(host: &Host, rig: Rig, memory: Memory, scratch: u64) -> Self {
        let (_, device) = Trait::Engine.find(host.machine()).unwrap();
        let device = rig.open(&device.bdf);
        device.master(true);
        Self {
            device,
            rig,
            memory,
            scratch,
        }
    }

    /// The last page is at that IOVA.
    pub(super) fn map_scratch(self, iova: u64) -> Self {
        let page = self.memory.len() - self.scratch_at() as u64;
        assert_eq!(
            put(
                &self.rig,
                iova,
                self.memory.at() + self.scratch_at() as u64,
                page
            ),
            Ok(0)
        );
        Self {
            scratch: iova,
            ..self
        }
    }

    fn scratch_at(&self) -> usize {
        let page = rustix::param::page_size().max(0x1_0000);
        usize::try_from(self.memory.len()).unwrap() - page
    }

    /// Whether it reads at an IOVA what is in memory there.
    pub(super) fn reads(&self, iova: u64, at: usize) -> bool {
        self.moves((iova, at), (self.scratch, self.scratch_at()))
    }

    /// Whether what it writes to an IOVA comes to memory there.
    pub(super) fn writes(&self, iova: u64, at: usize) -> bool {
        self.moves((self.scratch, self.scratch_at()), (iova, at))
    }

    /// The same of other memory.
    pub(super) fn reads_of(&self, memory: &Memory, iova: u64, at: usize) -> bool {
        let (scratch, place) = (self.scratch, self.scratch_at());
        let bytes = random(LEN);
        memory.put(at, &bytes);
        self.device.copy(iova, scratch, LEN as u64);
        self.memory.get(place..place + LEN) == bytes
    }

    /// Bytes that were nowhere before are moved from one IOVA and place to another.
    fn moves(&self, from: (u64, usize), to: (u64, usize)) -> bool {
        let bytes = random(LEN);
        self.memory.put(from.1, &bytes);
        self.device.copy(from.0, to.0, LEN as u64);
        self.memory.get(to.1..to.1 + LEN) == bytes
    }
}
