//! Type1 (part B of the page of kernel behaviours).

mod dirty;

use std::collections::BTreeMap;

use vfio_core::kernel::{Arg, Errno, Opcode, Result};
use vfio_core::uapi::{
    self, DmaMap, DmaUnmap, IommuType1CapIovaRange, IommuType1CapMigration, IommuType1DmaAvail,
    IommuType1Info, IovaRangeEntry,
};
use zerocopy::IntoBytes;

use crate::arg;
use crate::caps::{Caps, header};
use crate::machine::Type1 as Hardware;
use crate::memory;
use crate::process::{ProcessId, Processes};

use super::{Env, Hazard, Mapping, Translation};
use dirty::{Asked, Bitmap};

/// What a caller must give room for: everything before `cap_offset`.
const INFO_LEAST: usize = std::mem::offset_of!(IommuType1Info, cap_offset);

/// A type1 context.
#[derive(Debug, Clone)]
pub(crate) struct Type1 {
    hardware: Hardware,
    is_v2: bool,
    /// By first address.
    mapped: BTreeMap<u64, Dma>,
    entries_left: u32,
    /// Somebody wants to know which pages are dirty.
    tracks_dirty: bool,
}

/// A mapping.
#[derive(Debug, Clone)]
struct Dma {
    size: u64,
    /// Where the pages were when they were pinned.
    pinned_at: u64,
    /// Where they are said to be now (B32).
    vaddr: u64,
    read: bool,
    write: bool,
    /// The process and the bytes that are accounted to it.
    locked: (ProcessId, u64),
    /// Its address was forgotten (B32); devices still reach the pages.
    is_forgotten: bool,
    /// The kernel does not find it any more, and never unpins its pages (H8).
    is_lost: bool,
    /// What the kernel keeps of which pages are dirty (B34b).
    dirty: Vec<u64>,
}

impl Dma {
    /// Where the pages are: a new address pins no others (B32). If nothing is there any more where they were pinned,
    /// they are found where they are said to be.
    fn memory(&self) -> u64 {
        match memory::read(self.pinned_at, &mut [0]) {
            true => self.pinned_at,
            false => self.vaddr,
        }
    }
}

impl Type1 {
    pub(crate) fn new(hardware: &Hardware, is_v2: bool) -> Result<Self> {
        let context = Self {
            hardware: hardware.clone(),
            is_v2,
            mapped: BTreeMap::new(),
            entries_left: hardware.entry_limit,
            tracks_dirty: false,
        };
        context.attach()?;
        Ok(context)
    }

    /// B19, H7
    pub(crate) fn attach(&self) -> Result<()> {
        if self.mapped.values().any(|dma| dma.is_forgotten) {
            return Err(Errno::BUSY);
        }
        if !self.hardware.remaps_interrupts && !self.hardware.allows_unsafe_interrupts {
            return Err(Errno::PERM);
        }
        Ok(())
    }

    /// B35
    pub(crate) fn release(&mut self, processes: &mut Processes) {
        for dma in std::mem::take(&mut self.mapped).into_values() {
            if !dma.is_lost {
                processes.unlock(dma.locked.0, dma.locked.1);
            }
        }
        self.entries_left = self.hardware.entry_limit;
    }

    pub(crate) fn ioctl(
        &mut self,
        env: &mut Env<'_>,
        opcode: Opcode,
        arg: &mut Arg<'_>,
    ) -> Result<u32> {
        match opcode {
            uapi::IOMMU_GET_INFO => self.info(env, arg)?,
            uapi::IOMMU_MAP_DMA => self.map(env, arg)?,
            uapi::IOMMU_UNMAP_DMA => self.unmap(env, arg)?,
            uapi::IOMMU_DIRTY_PAGES => self.dirty_pages(env, arg)?,
            _ => return Err(Errno::NOTTY), // A6
        }
        Ok(0)
    }

    fn page(&self) -> u64 {
        1 << self.hardware.page_sizes.trailing_zeros().min(63)
    }

    /// B33
    fn info(&self, env: &Env<'_>, arg: &mut Arg<'_>) -> Result<()> {
        let mut info: IommuType1Info = arg::sized_from(arg, INFO_LEAST)?;
        info.flags = uapi::IOMMU_INFO_PGSIZES;
        info.iova_pgsizes = self.hardware.page_sizes;

        let mut caps = Caps::new(env.profile);
        let migration = IommuType1CapMigration {
            header: header(uapi::IOMMU_TYPE1_INFO_CAP_MIGRATION),
            pgsize_bitmap: self.page(),
            max_dirty_bitmap_size: dirty::LARGEST_BITMAP,
            ..Default::default()
        };
        caps.add(&migration, &[]);
        let left = IommuType1DmaAvail {
            header: header(uapi::IOMMU_TYPE1_INFO_DMA_AVAIL),
            avail: self.entries_left,
        };
        caps.add(&left, &[]);
        let ranges: Vec<_> = self
            .hardware
            .ranges
            .iter()
            .map(|&(start, end)| IovaRangeEntry { start, end })
            .collect();
        let head = IommuType1CapIovaRange {
            header: header(uapi::IOMMU_TYPE1_INFO_CAP_IOVA_RANGE),
            nr_iovas: u32::try_from(ranges.len()).unwrap_or(u32::MAX),
            reserved: 0,
        };
        caps.add(&head, ranges.as_bytes());

        info.flags |= uapi::IOMMU_INFO_CAPS;
        let start = size_of::<IommuType1Info>();
        let room = info.argsz as usize;
        let needed = start + caps.len();
        (info.cap_offset, info.pad) = (0, 0);
        if room < needed {
            info.argsz = u32::try_from(needed).unwrap_or(u32::MAX);
        } else {
            caps.write(arg, start)?;
            info.cap_offset = u32::try_from(start).unwrap_or(0);
        }
        arg::write(arg, &info, env.profile.info_written(room))
    }

    fn map(&mut self, env: &mut Env<'_>, arg: &Arg<'_>) -> Result<()> {
        let map: DmaMap = arg::sized(arg)?;
        let rights = uapi::DMA_MAP_FLAG_READ | uapi::DMA_MAP_FLAG_WRITE;
        if map.flags & !(rights | uapi::DMA_MAP_FLAG_VADDR) != 0 {
            return Err(Errno::INVAL); // B20
        }
        // B21
        let has_rights = map.flags & rights != 0;
        let renews = map.flags & uapi::DMA_MAP_FLAG_VADDR != 0;
        let misaligned = (map.size | map.iova | map.vaddr) % self.page() != 0;
        if map.size == 0 {
            return Err(Errno::INVAL);
        }
        let last = last_of(env, map.iova, map.size)?;
        last_of(env, map.vaddr, map.size)?;
        if has_rights == renews || misaligned {
            return Err(Errno::INVAL);
        }
        if renews {
            return self.renew(env, &map);
        }
        if self.overlapping(map.iova, last).is_some() {
            return Err(Errno::EXIST); // B22
        }
        if self.entries_left == 0 {
            return Err(Errno::NOSPC); // B23
        }
        let inside = |&(first, end): &(u64, u64)| first <= map.iova && last <= end;
        if !self.hardware.ranges.iter().any(inside) {
            return Err(Errno::INVAL); // B24
        }
        let write = map.flags & uapi::DMA_MAP_FLAG_WRITE != 0;
        let locked = pin(env, &map, write)?;
        let is_lost = loses(env, last);
        if is_lost {
            env.hazards.push(Hazard::H8);
        }
        let keeps = self.hardware.has_write_only && env.profile.keeps_write_only();
        let dma = Dma {
            size: map.size,
            pinned_at: map.vaddr,
            vaddr: map.vaddr,
            read: map.flags & uapi::DMA_MAP_FLAG_READ != 0 || !keeps,
            write,
            locked: (env.caller, locked),
            is_forgotten: false,
            is_lost,
            dirty: Vec::new(),
        };
        self.mapped.insert(map.iova, dma);
        self.entries_left -= 1;
        Ok(())
    }

    /// B32: a mapping whose address was forgotten gets a new one.
    fn renew(&mut self, env: &mut Env<'_>, map: &DmaMap) -> Result<()> {
        let last = map.iova + (map.size - 1);
        let (iova, _) = self.overlapping(map.iova, last).ok_or(Errno::NOENT)?;
        let found = self.mapped.get_mut(&iova).filter(|dma| !dma.is_lost);
        let dma = found.ok_or(Errno::NOENT)?;
        if !dma.is_forgotten || iova != map.iova || dma.size != map.size {
            return Err(Errno::INVAL);
        }
        // Whoever gives the address is accounted for it from now on.
        let (owner, bytes) = dma.locked;
        if owner != env.caller {
            env.processes.lock(env.caller, bytes)?;
            env.processes.unlock(owner, bytes);
            dma.locked.0 = env.caller;
        }
        dma.vaddr = map.vaddr;
        dma.is_forgotten = false;
        Ok(())
    }

    fn unmap(&mut self, env: &mut Env<'_>, arg: &mut Arg<'_>) -> Result<()> {
        let mut unmap: DmaUnmap = arg::sized(arg)?;
        let (all, vaddr) = (uapi::DMA_UNMAP_FLAG_ALL, uapi::DMA_UNMAP_FLAG_VADDR);
        let bitmap = match unmap.flags & !(all | vaddr) {
            0 => None,
            uapi::DMA_UNMAP_FLAG_GET_DIRTY_BITMAP if unmap.flags & (all | vaddr) == 0 => {
                Some(self.bitmap_behind(arg, &unmap)?)
            }
            _ => return Err(Errno::INVAL), // B20, B31
        };
        let mut covered = match unmap.flags & all {
            0 => self.covered(env, &unmap)?,
            _ if unmap.iova != 0 || unmap.size != 0 => return Err(Errno::INVAL), // B31
            _ => self.findable(0, u64::MAX),
        };
        if unmap.flags & vaddr != 0 {
            unmap.size = self.forget(&covered)?;
        } else {
            covered.sort_unstable();
            unmap.size = 0;
            for iova in covered {
                if let (Some(bitmap), Some(dma)) = (&bitmap, self.mapped.get_mut(&iova)) {
                    bitmap.mark(iova - unmap.iova, dma.size, &mut dma.dirty)?;
                }
                if let Some(dma) = self.mapped.remove(&iova) {
                    env.processes.unlock(dma.locked.0, dma.locked.1);
                    self.entries_left += 1;
                    unmap.size += dma.size;
                }
            }
        }
        arg::write(arg, &unmap, size_of::<DmaUnmap>())
    }

    /// B34: the bitmap that says which of the pages that go were dirty.
    fn bitmap_behind(&self, arg: &Arg<'_>, unmap: &DmaUnmap) -> Result<Bitmap> {
        let bitmap = Bitmap::behind(arg, size_of::<DmaUnmap>(), unmap.argsz)?;
        bitmap.check(unmap.size)?;
        match self.tracks_dirty && bitmap.page() == self.page() {
            true => Ok(bitmap),
            false => Err(Errno::INVAL),
        }
    }

    /// B34
    fn dirty_pages(&mut self, env: &Env<'_>, arg: &Arg<'_>) -> Result<()> {
        if !self.is_v2 {
            return Err(Errno::ACCESS);
        }
        let get = match Asked::of(arg)? {
            Asked::Start => {
                self.tracks_dirty = true;
                return Ok(());
            }
            Asked::Stop => {
                self.tracks_dirty = false;
                self.mapped.values_mut().for_each(|dma| dma.dirty.clear());
                return Ok(());
            }
            Asked::Get(get) => get,
        };
        let bitmap = Bitmap(get.bitmap);
        if !self.tracks_dirty || bitmap.page() != self.page() {
            return Err(Errno::INVAL);
        }
        // What must not be cut is what an unmap must not cut (B28).
        let range = DmaUnmap {
            iova: get.iova,
            size: get.size,
            ..DmaUnmap::default()
        };
        for iova in self.covered(env, &range)? {
            if let Some(dma) = self.mapped.get_mut(&iova) {
                bitmap.mark(iova - get.iova, dma.size, &mut dma.dirty)?;
            }
        }
        Ok(())
    }

    /// The mappings that an unmap takes.
    fn covered(&self, env: &Env<'_>, unmap: &DmaUnmap) -> Result<Vec<u64>> {
        // B30
        if unmap.size == 0 || (unmap.size | unmap.iova) % self.page() != 0 {
            return Err(Errno::INVAL);
        }
        let last = last_of(env, unmap.iova, unmap.size)?;
        let covers = |address| {
            let found = self.overlapping(address, address);
            found.filter(|(_, dma)| !dma.is_lost)
        };
        let begins_inside = covers(unmap.iova).is_some_and(|(iova, _)| iova < unmap.iova);
        if self.is_v2 {
            let ends_inside = covers(last).is_some_and(|(iova, dma)| iova + (dma.size - 1) > last);
            if begins_inside || ends_inside {
                return Err(Errno::INVAL); // B28
            }
        } else if begins_inside {
            return Ok(Vec::new()); // B29: version 1 stops at the first mapping that it would cut
        }
        if loses(env, last) {
            return Ok(Vec::new()); // H8: nor is anything found in a range that ends there
        }
        // B29: of version 1, what begins inside goes whole.
        Ok(self.findable(unmap.iova, last))
    }

    /// The mappings that begin from `first` to `last`, but for those that the kernel does not find (H8).
    fn findable(&self, first: u64, last: u64) -> Vec<u64> {
        let there = self.mapped.range(first..=last);
        there
            .filter(|(_, dma)| !dma.is_lost)
            .map(|(&iova, _)| iova)
            .collect()
    }

    /// B32
    fn forget(&mut self, covered: &[u64]) -> Result<u64> {
        let is_forgotten = |iova: &&u64| self.mapped.get(iova).is_some_and(|it| it.is_forgotten);
        if covered.iter().any(|iova| is_forgotten(&iova)) {
            return Err(Errno::INVAL);
        }
        let mut bytes = 0;
        for iova in covered {
            if let Some(dma) = self.mapped.get_mut(iova) {
                dma.is_forgotten = true;
                bytes += dma.size;
            }
        }
        Ok(bytes)
    }

    /// A mapping that has an address from `first` to `last`: of those, the last.
    fn overlapping(&self, first: u64, last: u64) -> Option<(u64, &Dma)> {
        let (&iova, dma) = self.mapped.range(..=last).next_back()?;
        (iova + (dma.size - 1) >= first).then_some((iova, dma))
    }

    pub(crate) fn translate(&self, iova: u64, write: bool) -> Option<Translation> {
        let (start, dma) = self.overlapping(iova, iova)?;
        let allowed = if write { dma.write } else { dma.read };
        let inside = iova - start;
        allowed.then_some(Translation {
            vaddr: dma.memory() + inside,
            len: dma.size - inside,
        })
    }

    pub(crate) fn mappings(&self) -> Vec<Mapping> {
        let mapping = |(&iova, dma): (&u64, &Dma)| Mapping {
            iova,
            vaddr: dma.memory(),
            size: dma.size,
            read: dma.read,
            write: dma.write,
        };
        self.mapped.iter().map(mapping).collect()
    }
}

/// The last address of a range; one that wraps is an error (B21, B30).
fn last_of(env: &Env<'_>, first: u64, size: u64) -> Result<u64> {
    first
        .checked_add(size - 1)
        .ok_or(match env.profile.says_overflow() {
            true => Errno::OVERFLOW,
            false => Errno::INVAL,
        })
}

/// H8: whether the kernel does not find what ends with that address, because the address behind it is 0 for it.
fn loses(env: &Env<'_>, last: u64) -> bool {
    last == u64::MAX && !env.profile.finds_last_address()
}

/// Pins the memory of a mapping page by page; answers how many bytes were accounted (B25 to B27).
fn pin(env: &mut Env<'_>, map: &DmaMap, write: bool) -> Result<u64> {
    let pages = map.size / env.host_page;
    let is_bar = env
        .bars
        .iter()
        .any(|bar| bar.start <= map.vaddr && map.vaddr + (map.size - 1) < bar.end);
    let allowed = match is_bar {
        true => pages,
        false => env.processes.lockable(env.caller) / env.host_page,
    };
    let shares_zeros = !write && !env.profile.pins_own_zeros();
    // The kernel has each page before it accounts it, and ends with the first that is too many.
    let tried = match shares_zeros {
        true => pages,
        false => pages.min(allowed.saturating_add(1)),
    };
    let there = memory::populate(map.vaddr, tried * env.host_page, env.host_page, write);
    let free = match shares_zeros {
        true => memory::zeros(map.vaddr, there * env.host_page) / env.host_page,
        false => 0,
    };
    if there - free > allowed {
        return Err(Errno::NOMEM);
    }
    if there < pages {
        return Err(Errno::FAULT);
    }
    let accounted = match is_bar {
        true => 0,
        false => (pages - free) * env.host_page,
    };
    env.processes.lock(env.caller, accounted)?;
    Ok(accounted)
}
