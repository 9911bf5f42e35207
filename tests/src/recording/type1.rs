//! Type1: what can be mapped where, at the borders of the ranges and beyond.

use std::os::fd::OwnedFd;

use vfio_core::info_chain;
use vfio_core::uapi::{
    self, DMA_MAP_FLAG_READ, DMA_MAP_FLAG_WRITE, DmaMap, DmaUnmap, IommuType1CapIovaRange,
    IommuType1Info, IovaRangeEntry,
};
use zerocopy::{FromBytes, IntoBytes};

use super::caller::Caller;

const BOTH: u32 = DMA_MAP_FLAG_READ | DMA_MAP_FLAG_WRITE;

/// Room for the capabilities of any IOMMU.
const ROOM: u32 = 0x1000;

pub(super) fn programme(caller: &Caller, container: &OwnedFd) {
    let iommu = Iommu { caller, container };
    iommu.info(15, 24);
    iommu.info(16, 24);
    iommu.info(24, 24);
    let ranges = iommu.info(ROOM, ROOM as usize).map(|info| ranges(&info));
    let ranges = ranges.filter(|ranges| !ranges.is_empty());
    // Without that capability, any address can be mapped that an IOMMU has.
    for (n, range) in ranges
        .unwrap_or_else(|| vec![(0, u64::from(u32::MAX))])
        .iter()
        .enumerate()
    {
        if n == 0 {
            iommu.arguments(range.0);
        }
        iommu.borders(*range);
    }
    iommu.info(ROOM, ROOM as usize);
    iommu.unmap(24, uapi::DMA_UNMAP_FLAG_ALL, 0, 0);
}

fn ranges(info: &[u8]) -> Vec<(u64, u64)> {
    let Ok((head, _)) = IommuType1Info::read_from_prefix(info) else {
        return Vec::new();
    };
    let mut capabilities = info_chain::capabilities(info, head.cap_offset);
    let found = capabilities.find(|(header, _)| header.id == uapi::IOMMU_TYPE1_INFO_CAP_IOVA_RANGE);
    let Some(Ok((head, rest))) =
        found.map(|(_, bytes)| IommuType1CapIovaRange::read_from_prefix(bytes))
    else {
        return Vec::new();
    };
    let entries = rest.chunks_exact(size_of::<IovaRangeEntry>());
    entries
        .take(head.nr_iovas as usize)
        .filter_map(|bytes| IovaRangeEntry::read_from_bytes(bytes).ok())
        .map(|entry| (entry.start, entry.end))
        .collect()
}

struct Iommu<'a> {
    caller: &'a Caller,
    container: &'a OwnedFd,
}

impl Iommu<'_> {
    /// What is wrong with the arguments themselves; and what is mapped already.
    fn arguments(&self, start: u64) {
        let page = self.caller.page();
        let memory = self.caller.memory();
        let size = 4 * page;
        self.map(32, BOTH, memory, start, size);
        for (argsz, flags, vaddr, iova, size) in [
            (31, BOTH, memory, start + size, page),
            (32, 0, memory, start + size, page),
            (32, BOTH | 1 << 31, memory, start + size, page),
            (32, BOTH, memory, start + size, 0),
            (32, BOTH, memory, start + size, page - 1),
            (32, BOTH, memory, start + size + 1, page),
            (32, BOTH, memory + 1, start + size, page),
            (32, BOTH, 0, start + size, page), // no memory is there
            (32, BOTH, memory, start, size),   // mapped already
            (32, BOTH, memory, start + page, page),
            (32, BOTH, memory, start + size - page, 2 * page),
            (32, BOTH, memory, 0_u64.wrapping_sub(page), 2 * page), // wraps
            (32, DMA_MAP_FLAG_READ, memory, start + size, page),
            (32, DMA_MAP_FLAG_WRITE, memory, start + size + page, page),
        ] {
            self.map(argsz, flags, vaddr, iova, size);
        }
        for (argsz, flags, iova, size) in [
            (23, 0, start, page),
            (24, 1 << 31, start, page),
            (24, 0, start, 0),
            (24, 0, start, page - 1),
            (24, 0, start + 1, page),
            (24, 0, 0_u64.wrapping_sub(page), 2 * page),
            (24, uapi::DMA_UNMAP_FLAG_ALL, start, size),
            (24, 0, start + page, page), // cuts: version 1 takes nothing, version 2 refuses
            (24, 0, start + 64 * page, page), // nothing is there
            (24, 0, start, 8 * page),    // has a hole at its end
            (24, 0, start, 8 * page),
        ] {
            self.unmap(argsz, flags, iova, size);
        }
        // The first byte of a mapping alone: version 1 takes all of it, version 2 refuses.
        self.map(32, BOTH, memory, start, size);
        self.unmap(24, 0, start, page);
        self.unmap(24, 0, start, size);
    }

    /// The first page and the last, one before and one behind, and what reaches across.
    fn borders(&self, (first, last): (u64, u64)) {
        let page = self.caller.page();
        let start = first.next_multiple_of(page);
        let after =
            (last & !(page - 1)).wrapping_add(if last % page == page - 1 { page } else { 0 });
        if start > 0 {
            self.try_map(start - page, page);
            self.try_map(start - page, 2 * page);
        }
        self.try_map(start, page);
        // The last page of all is not forgotten by each kernel that has mapped it (H8).
        if after != 0 {
            self.try_map(after - page, page);
            self.try_map(after - page, 2 * page);
            self.try_map(after, page);
        }
    }

    /// Maps, and unmaps again.
    fn try_map(&self, iova: u64, size: u64) {
        self.map(32, BOTH, self.caller.memory(), iova, size);
        self.unmap(24, 0, iova, size);
    }

    fn info(&self, argsz: u32, room: usize) -> Option<Vec<u8>> {
        let opcode = uapi::IOMMU_GET_INFO;
        self.caller.ask(self.container, opcode, argsz, &[], room)
    }

    fn map(&self, argsz: u32, flags: u32, vaddr: u64, iova: u64, size: u64) {
        let map = DmaMap {
            argsz,
            flags,
            vaddr,
            iova,
            size,
        };
        let bytes = map.as_bytes();
        let _ = self.caller.give(self.container, uapi::IOMMU_MAP_DMA, bytes);
    }

    fn unmap(&self, argsz: u32, flags: u32, iova: u64, size: u64) {
        let unmap = DmaUnmap {
            argsz,
            flags,
            iova,
            size,
        };
        let bytes = unmap.as_bytes();
        self.caller
            .fill(self.container, uapi::IOMMU_UNMAP_DMA, bytes);
    }
}
