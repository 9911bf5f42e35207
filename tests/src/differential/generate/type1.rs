//! Calls of type1.

use vfio_core::uapi;

use super::Generator;
use crate::differential::call::{Call, Slot, Word};

impl Generator {
    pub(super) fn type1_info(&mut self, on: Slot) -> Call {
        let room = self.random.choice([0, 16, 24, 64, 96, 160]).unwrap_or(0);
        let argsz = self.argsz(24.max(room));
        let mut words = vec![Word::U32(argsz), Word::U32(self.random.u32(..2))];
        words.push(Word::Bytes(vec![
            0x5a;
            (argsz as usize).saturating_sub(8).max(16)
        ]));
        Call::with(on, 12, words)
    }

    pub(super) fn mapping_call(&mut self) -> Call {
        if self.one_in(12) {
            if let Some(call) = self.dma() {
                return call;
            }
        }
        if self.places.spapr {
            return self.spapr_call();
        }
        let on = self.context();
        let has_iommu = self.contexts.get(&on).is_some_and(|it| it.iommu.is_some());
        if !has_iommu && !self.one_in(8) {
            if let Some(step) = self.missing_step() {
                return step;
            }
        }
        let known: Vec<_> = self
            .contexts
            .get(&on)
            .map(|context| context.mappings.iter().copied().collect())
            .unwrap_or_default();
        let known = self.random.choice(known);
        let Some(known) = known else {
            return self.map(on);
        };
        match self.random.u32(..21) {
            0..6 => self.map(on),
            6..15 => self.unmap(on, known),
            15 => self.unmap_all(on),
            20 => self.dirty_pages(on, known),
            // Forgets the address of a mapping, or gives it one.
            16 | 17 => Call::unmap(on, 24, uapi::DMA_UNMAP_FLAG_VADDR, known.0, known.1),
            _ => {
                let place = self.place();
                Call::map(on, 32, uapi::DMA_MAP_FLAG_VADDR, place, known.0, known.1)
            }
        }
    }

    /// Starts and stops to keep track of dirty pages, and asks for those of a range.
    fn dirty_pages(&mut self, on: Slot, (iova, size): (u64, u64)) -> Call {
        const GET: u32 = uapi::IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP;
        let flags = self
            .random
            .choice([1, 1, 2, GET, GET, GET, 3])
            .unwrap_or(GET);
        if flags != GET {
            let argsz = self.argsz(8);
            return Call::with(on, 17, vec![Word::U32(argsz), Word::U32(flags)]);
        }
        let page = self.places.page;
        let page = self
            .random
            .choice([page, page, page, 2 * page])
            .unwrap_or(page);
        let bitmap = self.random.choice([8, 8, 8, 16, 0, 7]).unwrap_or(8);
        let argsz = self.argsz(48);
        let words = vec![
            Word::U32(argsz),
            Word::U32(flags),
            Word::U64(iova),
            Word::U64(size),
            Word::U64(page),
            Word::U64(bitmap),
            Word::At(self.place()),
        ];
        Call::with(on, 17, words)
    }

    fn unmap_all(&mut self, on: Slot) -> Call {
        let (iova, size) = self
            .random
            .choice([(0, 0), (0, 0), (0, 4096)])
            .unwrap_or((0, 0));
        Call::unmap(on, 24, uapi::DMA_UNMAP_FLAG_ALL, iova, size)
    }

    fn map(&mut self, on: Slot) -> Call {
        let flags = match self.random.u32(..16) {
            0 => self.random.choice([0, 8 | 3]).unwrap_or(0),
            1..=3 => uapi::DMA_MAP_FLAG_READ,
            4 => uapi::DMA_MAP_FLAG_WRITE,
            _ => 3,
        };
        let argsz = self.argsz(32);
        let mut place = self.place();
        let mut size = self.pages();
        let mut iova = self.iova();
        match self.random.u32(..60) {
            0 => place.offset += 1,
            1 => size += 512,
            2 => iova = iova.wrapping_add(8),
            3 => size = 0,
            4 => size = 1 << 40,
            _ => {}
        }
        Call::map(on, argsz, flags, place, iova, size)
    }

    fn unmap(&mut self, on: Slot, (mut iova, mut size): (u64, u64)) -> Call {
        let page = self.places.page;
        match self.random.u32(..30) {
            0 => iova = iova.wrapping_add(page),
            1 => size = size.wrapping_sub(page),
            2 => (iova, size) = (iova.wrapping_sub(page), size + 2 * page),
            3 => size += 4 * page,
            4 => (iova, size) = (self.iova(), self.pages()),
            5 => size += 1,
            6 => size = u64::MAX - page + 1,
            _ => {} // mostly whole
        }
        let argsz = self.argsz(24);
        let flags = self.random.choice([0, 0, 0, 0, 0, 0, 8]).unwrap_or(0);
        Call::unmap(on, argsz, flags, iova, size)
    }
}
