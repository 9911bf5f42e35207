//! Mapped regions (F77): of memory, pages; of registers, a way to each of them.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use vfio_core::kernel::{Errno, RegisterFile, Result};

use crate::event::Object;
use crate::machine::{Bar, BarKind};
use crate::world::{MapPlace, RegionMap, World};

use super::access::{Transfer, Way};
use super::memory::Memory;
use super::{REGION_SHIFT, State};

/// Mapped pages of a BAR with registers. They hold the device open.
#[derive(Debug)]
pub(crate) struct Registers {
    world: Arc<Mutex<World>>,
    bdf: String,
    index: u32,
    /// Where in the BAR they start, in bytes.
    start: u64,
    /// How much is mapped, in bytes.
    len: u64,
    /// The size of the BAR, which may end inside them.
    size: u64,
    _held: Arc<()>,
}

/// What a mapping of a region is made of.
pub(crate) enum Mappable {
    /// A file of this host, at that offset, whole pages of the machine: so many bytes.
    Memory(OwnedFd, u64, usize),
    Registers(Arc<Registers>),
}

impl World {
    /// F77: what is to be mapped for so many bytes at a place in the device's fd.
    pub(crate) fn mappable(
        &mut self,
        this: &Arc<Mutex<Self>>,
        bdf: &str,
        group: u32,
        place: u64,
        len: usize,
    ) -> Result<Mappable> {
        let page = self.machine.page_size;
        let index = u32::try_from(place >> REGION_SHIFT).map_err(|_| Errno::INVAL)?;
        let offset = place & ((1 << REGION_SHIFT) - 1);
        let state = self.state(bdf);
        let bar = state.bar(index).ok_or(Errno::INVAL)?;
        let end = offset.checked_add(len as u64).ok_or(Errno::INVAL)?;
        let inside = end <= state.whole_pages(bar) && offset % state.page == 0;
        if !state.maps(index) || !inside || len == 0 {
            return Err(Errno::INVAL);
        }
        let len = len.next_multiple_of(page);
        if matches!(bar.kind, BarKind::Memory { .. }) {
            let file = state.memory_of(index)?.file()?;
            return Ok(Mappable::Memory(file, offset, len));
        }
        let held = Arc::new(());
        self.add_map(
            bdf,
            group,
            index,
            MapPlace::Registers(Arc::downgrade(&held)),
        );
        Ok(Mappable::Registers(Arc::new(Registers {
            world: Arc::clone(this),
            bdf: bdf.to_owned(),
            index,
            start: offset,
            len: len as u64,
            size: bar.size,
            _held: held,
        })))
    }

    /// A region has been mapped.
    pub(crate) fn add_map(&mut self, bdf: &str, group: u32, index: u32, place: MapPlace) {
        let object = Object::Region {
            bdf: bdf.to_owned(),
            group,
            index,
        };
        self.log_open(object.clone());
        self.maps.push(RegionMap { object, place });
    }

    /// Pages of a region have been unmapped, if they were any.
    pub(crate) fn forget_pages(&mut self, addr: u64) {
        let is_there =
            |map: &RegionMap| matches!(&map.place, MapPlace::Pages(range) if range.start == addr);
        if let Some(at) = self.maps.iter().position(is_there) {
            let map = self.maps.swap_remove(at);
            self.release(vec![map.object]);
        }
    }
}

impl State {
    /// How much of a BAR can be mapped: the pages that it is in.
    fn whole_pages(&self, bar: Bar) -> u64 {
        bar.size.next_multiple_of(self.page)
    }

    /// What is behind a BAR of memory.
    pub(super) fn memory_of(&mut self, index: u32) -> Result<&mut Memory> {
        let size = self.whole_pages(self.bar(index).ok_or(Errno::INVAL)?);
        let answers = self.answers_mappings();
        let slot = usize::try_from(index)
            .ok()
            .and_then(|n| self.memory.get_mut(n));
        let slot = slot.ok_or(Errno::INVAL)?;
        if slot.is_none() {
            let mut memory = Memory::new(size)?;
            memory.answer(answers)?;
            *slot = Some(memory);
        }
        slot.as_mut().ok_or(Errno::INVAL)
    }

    /// What is mapped of memory answers, or no longer.
    pub(super) fn show_memory(&mut self) -> Result<()> {
        let answers = self.answers_mappings();
        let mut memory = self.memory.iter_mut().flatten();
        memory.try_for_each(|memory| memory.answer(answers))
    }
}

impl Registers {
    /// One access, which is a `SIGBUS` while the device does not decode its memory. Behind the BAR nothing answers.
    fn access(&self, offset: usize, mut transfer: Transfer<'_>) -> Result<()> {
        let offset = offset as u64;
        let end = offset.checked_add(transfer.len() as u64);
        if end.is_none_or(|end| end > self.len) {
            return Err(Errno::FAULT);
        }
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        if !world.state(&self.bdf).answers_mappings() {
            return Err(Errno::IO);
        }
        let at = self.start + offset;
        let inside = usize::try_from(self.size.saturating_sub(at)).unwrap_or(usize::MAX);
        if let Transfer::Read(bytes) = &mut transfer {
            bytes.iter_mut().skip(inside).for_each(|byte| *byte = 0xff);
        }
        world.registers(
            &self.bdf,
            (self.index, at),
            transfer.cut(inside),
            Way::Mapping,
        );
        Ok(())
    }
}

impl RegisterFile for Registers {
    fn read(&self, offset: usize, bytes: &mut [u8]) -> Result<()> {
        self.access(offset, Transfer::Read(bytes))
    }

    fn write(&self, offset: usize, bytes: &[u8]) -> Result<()> {
        self.access(offset, Transfer::Write(bytes))
    }
}
