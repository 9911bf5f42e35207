//! sPAPR: windows, and registered memory. What a kernel does not survive (H1 to H6) is not asked.

use std::os::fd::OwnedFd;

use vfio_core::uapi::{
    self, DMA_MAP_FLAG_READ, DMA_MAP_FLAG_WRITE, DmaMap, DmaUnmap, SpaprRegisterMemory,
    SpaprTceCreate, SpaprTceInfo, SpaprTceRemove,
};
use zerocopy::{FromBytes, IntoBytes};

use super::caller::{Caller, PAGES};

const BOTH: u32 = DMA_MAP_FLAG_READ | DMA_MAP_FLAG_WRITE;

pub(super) fn programme(caller: &Caller, container: &OwnedFd, is_v2: bool) {
    let iommu = Iommu { caller, container };
    for argsz in [15, 16, 31] {
        iommu.info(argsz);
    }
    let Some(info) = iommu.info(32) else {
        return;
    };
    let start = u64::from(info.dma32_window_start);
    let end = start + u64::from(info.dma32_window_size);
    let size = PAGES * caller.page();
    iommu.map(32, BOTH, caller.memory(), start, caller.page()); // too early
    match is_v2 {
        false => caller.plain(container, uapi::SPAPR_ENABLE),
        true => iommu.registrations(size),
    }
    caller.plain(container, uapi::SPAPR_ENABLE); // once, and not at all in version 2
    iommu.register(caller.memory(), size);
    if end > start {
        iommu.mappings(start, end);
    }
    if is_v2 {
        iommu.windows(&info);
    }
    iommu.unregister(caller.memory(), size);
    iommu.unregister(caller.memory(), size);
    caller.plain(container, uapi::SPAPR_DISABLE);
}

struct Iommu<'a> {
    caller: &'a Caller,
    container: &'a OwnedFd,
}

impl Iommu<'_> {
    fn info(&self, argsz: u32) -> Option<SpaprTceInfo> {
        let opcode = uapi::SPAPR_TCE_GET_INFO;
        let room = size_of::<SpaprTceInfo>();
        let bytes = self.caller.ask(self.container, opcode, argsz, &[], room)?;
        SpaprTceInfo::read_from_bytes(&bytes).ok()
    }

    /// What is wrong with a registration; and one that is right.
    fn registrations(&self, size: u64) {
        let (memory, page) = (self.caller.memory(), self.caller.page());
        self.unregister(memory, size); // too early
        self.register(memory + 1, page);
        self.register(memory, page - 1);
        self.register(memory, size);
        self.register(memory, size); // registered already
        self.register(memory, page); // overlaps
        self.unregister(memory, page);
        self.unregister(memory + page, size);
    }

    /// In the default window, whose pages have 4096 bytes.
    fn mappings(&self, start: u64, end: u64) {
        let page = self.caller.page();
        let memory = self.caller.memory();
        for (argsz, flags, vaddr, iova, size) in [
            (31, BOTH, memory, start, page),
            (32, BOTH | 1 << 31, memory, start, page),
            (32, 0, memory, start, page),
            (32, BOTH, memory, start, page - 1),
            (32, BOTH, memory + 1, start, page),
            (32, BOTH, memory, start + 1, page),
            (32, BOTH, memory, end, page),
            (32, BOTH, 0, start, page), // no memory is there, nor registered
            (32, BOTH, memory, start, page),
            (32, BOTH, memory + page, start, page), // replaces
            (32, DMA_MAP_FLAG_READ, memory, start + page, page),
            (32, DMA_MAP_FLAG_WRITE, memory, start + 2 * page, page),
            (32, BOTH, memory, end - page, page),
        ] {
            self.map(argsz, flags, vaddr, iova, size);
        }
        for (argsz, flags, iova, size) in [
            (23, 0, start, page),
            (24, 1, start, page),
            (24, 0, start, page - 1),
            (24, 0, start + 1, page),
            (24, 0, end, page),
            (24, 0, start, page),
            (24, 0, start, page), // nothing is there
            (24, 0, start + page, 2 * page),
            (24, 0, end - page, page),
        ] {
            self.unmap(argsz, flags, iova, size);
        }
    }

    /// A window of the host's pages beside the default one, and no third.
    fn windows(&self, info: &SpaprTceInfo) {
        const SIZE: u64 = 1 << 30;
        let page = self.caller.page();
        let shift = page.trailing_zeros();
        let other = (12..40).find(|shift| info.ddw.pgsizes & 1 << shift == 0);
        self.create(39, shift, SIZE);
        self.create(40, other.unwrap_or(13), SIZE); // pages that there are not
        let window = self.create(40, shift, SIZE);
        self.create(40, shift, SIZE);
        if let Some(start) = window {
            self.map(32, BOTH, self.caller.memory(), start, page);
            self.map(32, BOTH, self.caller.memory(), start + SIZE - page, page);
            self.map(32, BOTH, self.caller.memory(), start + SIZE, page);
            self.unmap(24, 0, start, page);
            self.unmap(24, 0, start + SIZE - page, page);
            self.remove(start);
            self.remove(start);
        }
        self.info(32);
    }

    fn create(&self, argsz: u32, page_shift: u32, window_size: u64) -> Option<u64> {
        let create = SpaprTceCreate {
            argsz,
            page_shift,
            window_size,
            levels: 1,
            ..SpaprTceCreate::default()
        };
        let opcode = uapi::SPAPR_TCE_CREATE;
        let bytes = self
            .caller
            .fill(self.container, opcode, create.as_bytes())?;
        let created = SpaprTceCreate::read_from_bytes(&bytes).ok()?;
        Some(created.start_addr)
    }

    fn remove(&self, start_addr: u64) {
        let remove = SpaprTceRemove {
            argsz: 16,
            flags: 0,
            start_addr,
        };
        self.give(uapi::SPAPR_TCE_REMOVE, remove.as_bytes());
    }

    fn register(&self, vaddr: u64, size: u64) {
        self.give(uapi::SPAPR_REGISTER_MEMORY, memory(vaddr, size).as_bytes());
    }

    fn unregister(&self, vaddr: u64, size: u64) {
        self.give(
            uapi::SPAPR_UNREGISTER_MEMORY,
            memory(vaddr, size).as_bytes(),
        );
    }

    fn map(&self, argsz: u32, flags: u32, vaddr: u64, iova: u64, size: u64) {
        let map = DmaMap {
            argsz,
            flags,
            vaddr,
            iova,
            size,
        };
        self.give(uapi::IOMMU_MAP_DMA, map.as_bytes());
    }

    fn unmap(&self, argsz: u32, flags: u32, iova: u64, size: u64) {
        let unmap = DmaUnmap {
            argsz,
            flags,
            iova,
            size,
        };
        self.give(uapi::IOMMU_UNMAP_DMA, unmap.as_bytes());
    }

    fn give(&self, opcode: vfio_core::kernel::Opcode, bytes: &[u8]) {
        let _ = self.caller.give(self.container, opcode, bytes);
    }
}

fn memory(vaddr: u64, size: u64) -> SpaprRegisterMemory {
    SpaprRegisterMemory {
        argsz: 24,
        flags: 0,
        vaddr,
        size,
    }
}
