//! A VMM that does nothing but write down what it is told: for tests.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use vfio_core::host::Bdf;
use vfio_core::{Error, ErrorKind, Result};

use super::{Event, Interrupts, MappedSlice, MemorySlots, MsixEntry, Observer, Space, Trap, Traps};
use crate::bar::{BarRegister, overlap};
use crate::virtual_config::MsiState;

/// Something that a [`Recorder`] was told.
#[derive(Debug, Clone, PartialEq)]
pub enum Call {
    /// [`Traps::add`].
    TrapAdded(Trap),
    /// [`Traps::remove`].
    TrapRemoved(Trap),
    /// [`MemorySlots::insert`].
    SliceInserted(MappedSlice),
    /// [`MemorySlots::remove`].
    SliceRemoved(MappedSlice),
    /// [`Interrupts::line`].
    Line {
        /// Whether it was switched off.
        disabled: bool,
    },
    /// [`Interrupts::msi`].
    Msi(MsiState),
    /// [`Interrupts::msix`].
    Msix {
        /// Whether it is on.
        enabled: bool,
        /// Whether all vectors are masked.
        masked: bool,
    },
    /// [`Interrupts::vector`].
    Vector(u16, MsixEntry),
    /// [`Observer::event`].
    Event(Event),
}

/// A guest's address space that keeps what devices put there, refuses what overlaps as a VMM does, and writes all of it
/// down.
#[derive(Debug, Default)]
pub struct Recorder(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    calls: Vec<Call>,
    /// The guest's RAM: no BAR is put there.
    ram: Vec<Range<u64>>,
    traps: Vec<Trap>,
    slices: Vec<MappedSlice>,
    refuses_slices: bool,
}

impl Recorder {
    /// One whose guest has RAM at these addresses.
    pub fn with_ram(ram: impl IntoIterator<Item = Range<u64>>) -> Self {
        Self(Mutex::new(State {
            ram: ram.into_iter().collect(),
            ..State::default()
        }))
    }

    /// From now on slices are refused, or no longer.
    pub fn refuse_slices(&self, refuses: bool) {
        self.state().refuses_slices = refuses;
    }

    /// What was told since this was last asked.
    pub fn take(&self) -> Vec<Call> {
        std::mem::take(&mut self.state().calls)
    }

    /// The traps that there are.
    pub fn traps(&self) -> Vec<Trap> {
        self.state().traps.clone()
    }

    /// The mapped slices that there are.
    pub fn slices(&self) -> Vec<MappedSlice> {
        self.state().slices.clone()
    }

    /// Whose an address is, and the offset in it.
    pub fn find(&self, space: Space, address: u64) -> Option<(Bdf, BarRegister, u64)> {
        let state = self.state();
        let mut traps = state.traps.iter();
        let trap = traps.find(|it| it.space == space && it.range.contains(&address))?;
        Some((trap.device, trap.bar, address - trap.range.start))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Traps for Recorder {
    fn add(&self, trap: &Trap) -> Result<()> {
        let mut state = self.state();
        let mut others = state.traps.iter();
        let taken = others.any(|it| it.space == trap.space && overlap(&it.range, &trap.range));
        let is_ram = trap.space == Space::Memory;
        let is_ram = is_ram && state.ram.iter().any(|it| overlap(it, &trap.range));
        if taken || is_ram {
            return Err(Error::new(ErrorKind::Overlap, "place", "a BAR")
                .of_device(trap.device)
                .because(format!("something else is at {:#x?}", trap.range)));
        }
        state.traps.push(trap.clone());
        state.calls.push(Call::TrapAdded(trap.clone()));
        Ok(())
    }

    fn remove(&self, trap: &Trap) {
        let mut state = self.state();
        state.traps.retain(|it| it != trap);
        state.calls.push(Call::TrapRemoved(trap.clone()));
    }

    fn is_free(&self, range: &Range<u64>) -> bool {
        let state = self.state();
        let mut traps = state.traps.iter();
        !state.ram.iter().any(|it| overlap(it, range))
            && !traps.any(|it| it.space == Space::Memory && overlap(&it.range, range))
    }
}

impl MemorySlots for Recorder {
    fn insert(&self, slice: &MappedSlice) -> Result<()> {
        let mut state = self.state();
        let refused = |kind| Error::new(kind, "map", "a slice").of_device(slice.device);
        if state.refuses_slices {
            return Err(refused(ErrorKind::Exhausted).because("slices are refused"));
        }
        let mut others = state.slices.iter().map(|it| &it.guest);
        if others.any(|it| overlap(it, &slice.guest)) {
            return Err(refused(ErrorKind::Overlap).because("another slice is there"));
        }
        state.slices.push(slice.clone());
        state.calls.push(Call::SliceInserted(slice.clone()));
        Ok(())
    }

    fn remove(&self, slice: &MappedSlice) -> Result<()> {
        let mut state = self.state();
        state.slices.retain(|it| it != slice);
        state.calls.push(Call::SliceRemoved(slice.clone()));
        Ok(())
    }
}

impl Interrupts for Recorder {
    fn line(&self, disabled: bool) {
        self.state().calls.push(Call::Line { disabled });
    }

    fn msi(&self, state: &MsiState) {
        self.state().calls.push(Call::Msi(*state));
    }

    fn msix(&self, enabled: bool, masked: bool) {
        self.state().calls.push(Call::Msix { enabled, masked });
    }

    fn vector(&self, vector: u16, entry: MsixEntry) {
        self.state().calls.push(Call::Vector(vector, entry));
    }
}

impl Observer for Recorder {
    fn event(&self, _: Bdf, event: Event) {
        self.state().calls.push(Call::Event(event));
    }
}
