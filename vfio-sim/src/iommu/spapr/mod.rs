//! sPAPR TCE (parts C and D of the page of kernel behaviours).
//!
//! - `eeh`: errors that are isolated, by groups.
//! - `window`: tables, their entries, and what making one costs.
//! - `kvm`: what KVM puts into them.
//! - `registered`: memory that is registered for a process, whichever of its containers did it.

mod eeh;
mod kvm;
mod registered;
mod window;

use std::collections::BTreeMap;

use vfio_core::kernel::{Arg, Errno, Opcode, Result};
use vfio_core::uapi::{
    self, DmaMap, DmaUnmap, SpaprRegisterMemory, SpaprTceCreate, SpaprTceInfo, SpaprTceRemove,
};

use crate::arg;
use crate::machine::{Platform, Profile, Spapr as Hardware};
use crate::memory;
use crate::process::{ProcessId, Processes};

use super::{Env, Hazard, Holdings, Mapping, Translation, WindowId};

pub(crate) use eeh::{Access, Instead, Kind as AccessKind, Units};
pub(crate) use kvm::is_registered;
use registered::Put;
pub(crate) use registered::Registered;
use window::{DEFAULT_PAGE_SHIFT, Table, Tce, Window};

/// How many tables a container can have (`IOMMU_TABLE_GROUP_MAX_TABLES`).
const SLOTS: usize = 2;

/// What a caller of GET_INFO must give room for: everything before the part about windows.
const INFO_LEAST: usize = std::mem::offset_of!(SpaprTceInfo, ddw);

/// An sPAPR context.
#[derive(Debug, Clone)]
pub(crate) struct Spapr {
    hardware: Hardware,
    is_v2: bool,
    /// Whoever enabled, registered or created first: nobody else may call (C38).
    owner: Option<ProcessId>,
    is_enabled: bool,
    /// What ENABLE accounted, in bytes.
    locked: u64,
    /// The default window is made when it is first used (C43).
    default_pending: bool,
    windows: [Option<Window>; SLOTS],
    /// How many there were.
    made: u64,
    /// What this container has registered: address and size. What pins it is the process's.
    registered: Vec<(u64, u64)>,
}

impl Spapr {
    /// C37: version 2 is nothing without dynamic windows.
    pub(crate) fn new(hardware: &Hardware, is_v2: bool) -> Result<Self> {
        if is_v2 && hardware.windows == 0 {
            return Err(Errno::INVAL);
        }
        Ok(Self {
            hardware: hardware.clone(),
            is_v2,
            owner: None,
            is_enabled: false,
            locked: 0,
            default_pending: true,
            windows: [None, None],
            made: 0,
            registered: Vec::new(),
        })
    }

    /// C37, D57: a hypervisor's windows are those of the group that they were made for.
    pub(crate) fn attach(&self) -> Result<()> {
        let has_windows = self.windows.iter().any(Option::is_some);
        match (self.is_v2, self.is_hypervisors() && has_windows) {
            (false, _) => Err(Errno::BUSY),
            (true, true) => Err(Errno::PERM),
            (true, false) => Ok(()),
        }
    }

    /// D57b: what the other groups have mapped goes, too, and their windows stay.
    pub(crate) fn detach(&mut self, profile: Profile, processes: &mut Processes) {
        if profile.clears_windows_that_are_left() {
            for slot in 0..SLOTS {
                self.clear_slot(slot, processes);
            }
        }
    }

    fn is_hypervisors(&self) -> bool {
        matches!(self.hardware.platform, Platform::Pseries { .. })
    }

    /// Whether every group can have a window that is made now (D57).
    fn may_have_windows(&self, env: &Env<'_>) -> Result<()> {
        match self.is_hypervisors() && env.groups.len() > 1 {
            true => Err(Errno::PERM),
            false => Ok(()),
        }
    }

    /// C37c: a firmware that has refused a window once is not asked again. The table was accounted already, for good.
    fn may_ask_for_windows(&self, env: &mut Env<'_>) -> Result<()> {
        if env.groups.iter().any(|group| env.refused.contains(group)) {
            env.hazards.push(Hazard::H5);
            return Err(Errno::NODEV);
        }
        Ok(())
    }

    /// C48
    pub(crate) fn release(&mut self, processes: &mut Processes) {
        for slot in 0..SLOTS {
            self.remove_slot(slot, processes);
        }
        for (vaddr, size) in std::mem::take(&mut self.registered) {
            self.put_block(vaddr, size, processes);
        }
        self.disable(processes);
        self.owner = None;
        self.default_pending = true;
    }

    pub(crate) fn ioctl(
        &mut self,
        env: &mut Env<'_>,
        opcode: Opcode,
        arg: &mut Arg<'_>,
    ) -> Result<u32> {
        if self.owner.is_some_and(|owner| owner != env.caller) {
            return Err(Errno::PERM); // C38
        }
        match (opcode, self.is_v2) {
            (uapi::SPAPR_TCE_GET_INFO, _) => self.info(arg).map(|()| 0),
            (uapi::IOMMU_MAP_DMA, _) => self.map(env, arg),
            (uapi::IOMMU_UNMAP_DMA, _) => self.unmap(env, arg),
            // C41, C42, C47
            (uapi::SPAPR_ENABLE, false) => self.enable(env),
            (uapi::SPAPR_DISABLE, false) => {
                self.disable(env.processes);
                Ok(0)
            }
            (uapi::SPAPR_REGISTER_MEMORY, true) => self.register(env, arg),
            (uapi::SPAPR_UNREGISTER_MEMORY, true) => self.unregister(env, arg),
            (uapi::SPAPR_TCE_CREATE, true) => self.create(env, arg),
            (uapi::SPAPR_TCE_REMOVE, true) => self.remove(env, arg),
            // D58: without a unit not even the pointer is looked at.
            (uapi::EEH_PE_OP, _) if !self.hardware.eeh => Err(Errno::NODEV),
            (uapi::EEH_PE_OP, _) => env.units.operate(env.groups, self.hardware.freezes, arg),
            _ => Err(Errno::NOTTY),
        }
    }

    /// C39
    fn info(&self, arg: &mut Arg<'_>) -> Result<()> {
        let mut info: SpaprTceInfo = arg::sized_from(arg, INFO_LEAST)?;
        info.flags = 0;
        (info.dma32_window_start, info.dma32_window_size) = self.hardware.default_window;
        info.ddw = uapi::SpaprTceDdwInfo::default();
        if self.is_v2 && self.hardware.windows > 0 {
            info.flags = uapi::SPAPR_INFO_DDW;
            info.ddw.pgsizes = self.hardware.page_sizes;
            info.ddw.max_dynamic_windows_supported = self.hardware.windows;
            info.ddw.levels = self.hardware.levels;
        }
        let whole = size_of::<SpaprTceInfo>();
        let most = if info.argsz as usize >= whole {
            whole
        } else {
            INFO_LEAST
        };
        arg::write(arg, &info, most)
    }

    /// C41
    fn enable(&mut self, env: &mut Env<'_>) -> Result<u32> {
        if self.is_enabled {
            return Err(Errno::BUSY);
        }
        let size = u64::from(self.hardware.default_window.1);
        if size == 0 {
            return Err(Errno::PERM);
        }
        self.owner = Some(env.caller);
        env.processes.lock(env.caller, size)?;
        self.locked = size;
        self.is_enabled = true;
        Ok(0)
    }

    /// C42
    fn disable(&mut self, processes: &mut Processes) {
        self.is_enabled = false;
        if let Some(owner) = self.owner {
            processes.unlock(owner, std::mem::take(&mut self.locked));
        }
    }

    /// C43
    fn make_default_window(&mut self, env: &mut Env<'_>) -> Result<()> {
        if self.default_pending {
            // C37b: what offers no pages at all has none for this window either.
            if self.hardware.page_sizes & 1 << DEFAULT_PAGE_SHIFT == 0 {
                return Err(Errno::INVAL);
            }
            let owner = self.owner.unwrap_or(env.caller);
            let window = Window::default_of(&self.hardware, env.host_page);
            env.processes.lock(owner, window.table_bytes())?;
            self.may_ask_for_windows(env)?;
            if let Err(errno) = self.may_have_windows(env) {
                env.processes.unlock(owner, window.table_bytes());
                return Err(errno);
            }
            self.put_window(0, window);
            self.default_pending = false;
        }
        Ok(())
    }

    fn put_window(&mut self, slot: usize, window: Window) {
        let id = WindowId {
            number: self.made,
            page: window.page(),
        };
        self.windows[slot] = Some(window.numbered(id));
        self.made += 1;
    }

    /// The slot of the window that an address is in.
    fn slot(&self, iova: u64) -> Option<usize> {
        let holds = |window: &Option<Window>| window.as_ref().is_some_and(|it| it.holds(iova));
        self.windows.iter().position(holds)
    }

    fn map(&mut self, env: &mut Env<'_>, arg: &Arg<'_>) -> Result<u32> {
        if !self.is_enabled {
            return Err(Errno::PERM); // C40
        }
        // C44
        let map: DmaMap = arg::sized(arg)?;
        let rights = uapi::DMA_MAP_FLAG_READ | uapi::DMA_MAP_FLAG_WRITE;
        if map.flags & !rights != 0 {
            return Err(Errno::INVAL);
        }
        self.make_default_window(env)?;
        let slot = self.slot(map.iova).ok_or(Errno::NXIO)?;
        let Some(window) = &self.windows[slot] else {
            return Err(Errno::NXIO);
        };
        let page = window.page();
        if (map.size | map.vaddr) % page != 0 || map.flags & rights == 0 {
            return Err(Errno::INVAL);
        }
        if map.iova % page != 0 {
            return Ok(1); // P1
        }
        if map.size > window.bytes_from(map.iova) {
            env.hazards.push(Hazard::H2);
        }
        let write = map.flags & uapi::DMA_MAP_FLAG_WRITE != 0;
        let read = map.flags & uapi::DMA_MAP_FLAG_READ != 0 || !self.is_hypervisors();
        let pages = map.size.min(window.bytes_from(map.iova)) / page;
        for n in 0..pages {
            let vaddr = map.vaddr.wrapping_add(n * page);
            let tce = Tce { vaddr, read, write };
            if let Err(errno) = self.set(env, slot, map.iova + n * page, tce) {
                // C46: what was set so far is cleared, also where something else was before.
                self.clear(env.processes, slot, map.iova, n);
                return Err(errno);
            }
        }
        Ok(0)
    }

    /// Sets one entry; what was there before is replaced (C45).
    fn set(&mut self, env: &mut Env<'_>, slot: usize, iova: u64, tce: Tce) -> Result<()> {
        let blocks = env.processes.registered(env.caller);
        let Some(window) = &mut self.windows[slot] else {
            return Err(Errno::NXIO);
        };
        let page = window.page();
        if self.is_v2 {
            // D52
            let block = blocks.holding(tce.vaddr, page).ok_or(Errno::INVAL)?;
            if page > block.largest_page {
                return Err(Errno::INVAL);
            }
            block.users += 1;
        } else {
            // C46: the kernel wants to write there also if the device may only read.
            let at = tce.vaddr - tce.vaddr % env.host_page;
            if memory::populate(at, env.host_page, env.host_page, true) == 0 {
                return Err(Errno::FAULT);
            }
            if page > env.host_page {
                return Err(Errno::PERM);
            }
        }
        if let Some(before) = window.put(iova, Some(tce)) {
            blocks.leave(before.vaddr);
        }
        Ok(())
    }

    /// Clears so many entries.
    fn clear(&mut self, processes: &mut Processes, slot: usize, iova: u64, pages: u64) {
        if let (Some(window), Some(owner)) = (&mut self.windows[slot], self.owner) {
            for tce in window.take(iova, pages) {
                processes.registered(owner).leave(tce.vaddr);
            }
        }
    }

    fn unmap(&mut self, env: &mut Env<'_>, arg: &Arg<'_>) -> Result<u32> {
        if !self.is_enabled {
            return Err(Errno::PERM); // C40
        }
        let unmap: DmaUnmap = arg::sized(arg)?;
        if unmap.flags != 0 {
            return Err(Errno::INVAL);
        }
        self.make_default_window(env)?;
        let slot = self.slot(unmap.iova).ok_or(Errno::NXIO)?;
        let Some(window) = &self.windows[slot] else {
            return Err(Errno::NXIO);
        };
        let page = window.page();
        if unmap.size % page != 0 {
            return Err(Errno::INVAL);
        }
        if unmap.iova % page != 0 {
            return Ok(1); // P2
        }
        if unmap.size > window.bytes_from(unmap.iova) {
            if env.profile.checks_unmap_range() {
                return Ok(1); // P2
            }
            env.hazards.push(Hazard::H1);
        }
        let pages = unmap.size.min(window.bytes_from(unmap.iova)) / page;
        self.clear(env.processes, slot, unmap.iova, pages);
        Ok(0)
    }

    /// D49, D50
    fn register(&mut self, env: &mut Env<'_>, arg: &Arg<'_>) -> Result<u32> {
        self.owner = Some(env.caller);
        let (vaddr, size) = block(env, arg)?;
        if vaddr.checked_add(size).is_none() {
            return Err(Errno::INVAL);
        }
        if size == 0 {
            env.hazards.push(Hazard::H4);
            return Err(Errno::NOMEM);
        }
        if self.registered.contains(&(vaddr, size)) {
            return Err(Errno::BUSY);
        }
        if !env.processes.registered(env.caller).get(vaddr, size) {
            env.processes.lock(env.caller, size)?;
            if let Some(refusal) = pin(env, vaddr, size) {
                env.processes.unlock(env.caller, size);
                return refusal;
            }
        }
        self.registered.push((vaddr, size));
        self.is_enabled = true;
        Ok(0)
    }

    /// D51
    fn unregister(&mut self, env: &mut Env<'_>, arg: &Arg<'_>) -> Result<u32> {
        if self.owner.is_none() {
            return Err(Errno::PERM);
        }
        let block = block(env, arg)?;
        let known = self.registered.iter().position(|it| *it == block);
        self.registered.swap_remove(known.ok_or(Errno::NOENT)?);
        if self.put_block(block.0, block.1, env.processes) == Put::InUse {
            env.hazards.push(Hazard::H3);
        }
        Ok(0)
    }

    fn put_block(&self, vaddr: u64, size: u64, processes: &mut Processes) -> Put {
        let Some(owner) = self.owner else {
            return Put::Held;
        };
        let put = processes.registered(owner).put(vaddr, size);
        if put == Put::Unpinned {
            processes.unlock(owner, size);
        }
        put
    }

    /// D54
    fn create(&mut self, env: &mut Env<'_>, arg: &mut Arg<'_>) -> Result<u32> {
        self.owner = Some(env.caller);
        let mut create: SpaprTceCreate = arg::sized(arg)?;
        if create.flags != 0 {
            return Err(Errno::INVAL);
        }
        self.make_default_window(env)?;
        let free = self.windows.iter().position(Option::is_none);
        let slot = free.ok_or(Errno::NOSPC)?;
        if create.page_shift >= u64::BITS {
            env.hazards.push(Hazard::H5);
            return Err(Errno::INVAL);
        }
        if self.hardware.page_sizes & 1 << create.page_shift == 0 {
            return Err(Errno::INVAL);
        }
        if Table::is_shifted_too_far(&self.hardware, &create) {
            env.hazards.push(Hazard::H5);
            return Err(Errno::INVAL);
        }
        let table = Table::of(&self.hardware, &create, env.host_page).ok_or(Errno::INVAL)?;
        env.processes.lock(env.caller, table.bytes())?;
        self.may_ask_for_windows(env)?;
        let is_taken = |start| self.windows.iter().flatten().any(|it| it.start() == start);
        let made = Window::created(
            &self.hardware,
            slot,
            &create,
            table,
            env.host_page,
            is_taken,
        );
        let window = made.inspect_err(|errno| {
            env.hazards.push(Hazard::H5); // accounted for good
            if *errno == Errno::NODEV {
                env.refused.extend(env.groups);
            }
        })?;
        if let Err(errno) = self.may_have_windows(env) {
            env.processes.unlock(env.caller, table.bytes());
            return Err(errno);
        }
        create.start_addr = window.start();
        self.put_window(slot, window);
        arg::write(arg, &create, size_of::<SpaprTceCreate>())?;
        Ok(0)
    }

    /// D55, D56
    fn remove(&mut self, env: &mut Env<'_>, arg: &Arg<'_>) -> Result<u32> {
        self.owner = Some(env.caller);
        let remove: SpaprTceRemove = arg::sized(arg)?;
        if remove.flags != 0 {
            return Err(Errno::INVAL);
        }
        if self.default_pending && remove.start_addr == 0 {
            self.default_pending = false;
            return Ok(0);
        }
        let slot = self.slot(remove.start_addr).ok_or(Errno::INVAL)?;
        let start = self.windows[slot].as_ref().map(Window::start);
        if start != Some(remove.start_addr) {
            env.hazards.push(Hazard::H6);
        }
        self.remove_slot(slot, env.processes);
        Ok(0)
    }

    fn remove_slot(&mut self, slot: usize, processes: &mut Processes) {
        self.clear_slot(slot, processes);
        if let (Some(window), Some(owner)) = (self.windows[slot].take(), self.owner) {
            processes.unlock(owner, window.table_bytes());
        }
    }

    /// Clears every entry of a window, which stays.
    fn clear_slot(&mut self, slot: usize, processes: &mut Processes) {
        if let (Some(window), Some(owner)) = (&mut self.windows[slot], self.owner) {
            for tce in window.take_all() {
                processes.registered(owner).leave(tce.vaddr);
            }
        }
    }

    pub(crate) fn translate(&self, iova: u64, write: bool) -> Option<Translation> {
        let window = self.windows[self.slot(iova)?].as_ref()?;
        let tce = window.get(iova)?;
        let allowed = if write { tce.write } else { tce.read };
        let inside = iova % window.page();
        allowed.then_some(Translation {
            vaddr: tce.vaddr + inside,
            len: window.page() - inside,
        })
    }

    /// Pages that follow each other count as one mapping.
    pub(crate) fn mappings(&self) -> Vec<Mapping> {
        let pages: BTreeMap<u64, Mapping> = self
            .windows
            .iter()
            .flatten()
            .flat_map(Window::mappings)
            .map(|mapping| (mapping.iova, mapping))
            .collect();
        let mut joined: Vec<Mapping> = Vec::new();
        for page in pages.into_values() {
            match joined.last_mut() {
                Some(last)
                    if last.iova + last.size == page.iova
                        && last.vaddr + last.size == page.vaddr
                        && (last.read, last.write) == (page.read, page.write) =>
                {
                    last.size += page.size;
                }
                _ => joined.push(page),
            }
        }
        joined
    }

    pub(crate) fn holdings(&self) -> Holdings {
        Holdings {
            registered: self.registered.clone(),
            windows: self
                .windows
                .iter()
                .flatten()
                .map(|window| (window.start(), window.size()))
                .collect(),
        }
    }
}

/// Whole host pages.
fn block(env: &Env<'_>, arg: &Arg<'_>) -> Result<(u64, u64)> {
    let SpaprRegisterMemory {
        flags, vaddr, size, ..
    } = arg::sized(arg)?;
    if flags != 0 || (vaddr | size) % env.host_page != 0 {
        return Err(Errno::INVAL);
    }
    Ok((vaddr, size))
}

/// Pins a block: the pages first, then the overlap is looked for. Answers what REGISTER answers if that fails (D49, P3).
fn pin(env: &mut Env<'_>, vaddr: u64, size: u64) -> Option<Result<u32>> {
    let there = memory::populate(vaddr, size, env.host_page, true);
    if there < size / env.host_page {
        return Some(match u32::try_from(there) {
            Ok(0) => Err(Errno::FAULT),
            Ok(pages) => Ok(pages),
            Err(_) => Ok(u32::MAX),
        });
    }
    let blocks = env.processes.registered(env.caller);
    if blocks.overlaps(vaddr, size) {
        return Some(Err(Errno::INVAL));
    }
    let page = env.huge_pages.smallest(vaddr, size, env.host_page);
    blocks.add(vaddr, size, page);
    None
}
