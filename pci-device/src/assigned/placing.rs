//! Where the guest has placed the BARs: traps and mapped slices follow.

use std::ops::Range;

use vfio_core::ErrorKind;
use vfio_core::host::Bdf;

use super::bar_space::BarSpace;
use super::{Inner, State};
use crate::bar::{BarRegister, overlap};
use crate::virtual_config::PowerState;
use crate::vmm::{Event, MappedSlice, Space, Trap};

/// What the VMM was told of.
#[derive(Debug, Default)]
pub(super) struct Placed {
    traps: Vec<Trap>,
    slices: Vec<PlacedSlice>,
}

/// A slice, and which of those that the VMM gave has it.
#[derive(Debug)]
struct PlacedSlice {
    slice: MappedSlice,
    holders: Vec<bool>,
}

impl Inner {
    /// Brings everything to where config space says that it is. What leaves its place is gone before `meanwhile`, in which the
    /// device itself is told; what comes to one comes afterwards. Accesses to what is on its way are turned away; those that
    /// were inside are waited for.
    pub(super) fn settle(&self, state: &mut State, meanwhile: impl FnOnce(&mut State)) {
        let wanted = self.wanted_traps(state);
        let (staying, going) = std::mem::take(&mut state.placed.traps)
            .into_iter()
            .partition(|trap| wanted.contains(trap));
        let going: Vec<Trap> = going;
        state.placed.traps = staying;
        for space in going.iter().filter_map(|trap| self.space(trap.bar)) {
            space.gate().close();
        }
        let staying = self.wanted_slices(&state.placed.traps, &wanted);
        self.remove_slices(&mut state.placed, &staying);
        for trap in &going {
            self.vmm.traps.remove(trap);
        }

        meanwhile(state);

        for trap in wanted {
            if !state.placed.traps.contains(&trap) {
                self.add_trap(state, trap);
            }
        }
        let wanted = self.wanted_slices(&state.placed.traps, &state.placed.traps);
        self.remove_slices(&mut state.placed, &wanted);
        for slice in wanted {
            self.insert_slice(&mut state.placed, slice);
        }
        for space in state
            .placed
            .traps
            .iter()
            .filter_map(|trap| self.space(trap.bar))
        {
            space.gate().open();
        }
    }

    /// Everything that the guest has placed, by the registers and the command register, while the device is awake.
    fn wanted_traps(&self, state: &State) -> Vec<Trap> {
        if state.stopped > 0 || state.config.power() != PowerState::D0 {
            return Vec::new();
        }
        let places = state.config.registers().places(state.config.command());
        let trap = |(bar, place): (BarRegister, Option<u64>)| {
            let (space, range) = self.addresses(self.space(bar)?, place?)?;
            Some(Trap {
                device: self.bdf(),
                bar,
                space,
                range,
            })
        };
        BarRegister::all().zip(places).filter_map(trap).collect()
    }

    /// Where a guest finds what its registers place there.
    fn addresses(&self, space: &BarSpace, place: u64) -> Option<(Space, Range<u64>)> {
        match space.is_io {
            true => self.vmm.io_space.ports(place, space.size()),
            false => Some((Space::Memory, place..place.checked_add(space.size())?)),
        }
    }

    /// The slices of what is there. `all` is what the guest has placed, or will have in a moment.
    fn wanted_slices(&self, traps: &[Trap], all: &[Trap]) -> Vec<MappedSlice> {
        let mut slices = Vec::new();
        for trap in traps.iter().filter(|trap| trap.space == Space::Memory) {
            let (Some(space), BarRegister::Bar(number)) = (self.space(trap.bar), trap.bar) else {
                continue;
            };
            let slice = |memory, guest| MappedSlice {
                device: self.bdf(),
                bar: number,
                guest,
                memory,
            };
            for (range, mapped) in space.mapped() {
                let guest = trap.range.start + range.start..trap.range.start + range.end;
                match mapped.map() {
                    Ok(map) => slices.push(slice(map.clone(), guest)),
                    Err(error) => self.report(not_mapped(number, guest, error)),
                }
            }
            let Some(small) = &space.sub_page else {
                continue;
            };
            let Some(at) = small.shape.at(trap.range.start) else {
                continue;
            };
            let is_own = |it: &&Trap| it.space == Space::Memory && overlap(&it.range, &at.rest);
            if all.iter().any(|it| is_own(&it)) || !self.vmm.traps.is_free(&at.rest) {
                continue;
            }
            match small.page.map() {
                Ok(map) => slices.push(slice(map.clone(), at.page)),
                Err(error) => self.report(not_mapped(number, at.page, error)),
            }
        }
        slices
    }

    fn add_trap(&self, state: &mut State, trap: Trap) {
        match self.vmm.traps.add(&trap) {
            Ok(()) => state.placed.traps.push(trap),
            // One at 0 is one that the guest has not placed yet.
            Err(_) if trap.range.start == 0 => {}
            Err(error) => {
                self.report(Event::NotPlaced(trap.bar, trap.range, error));
            }
        }
    }

    /// Takes away every slice but those.
    fn remove_slices(&self, placed: &mut Placed, staying: &[MappedSlice]) {
        for one in &mut placed.slices {
            if staying.contains(&one.slice) {
                continue;
            }
            let holders = one.holders.iter_mut().zip(&self.vmm.slots);
            for (holds, slots) in holders.rev().filter(|(holds, _)| **holds) {
                match slots.remove(&one.slice) {
                    Ok(()) => *holds = false,
                    Err(error) => self.report(Event::StillMapped(
                        one.slice.bar,
                        one.slice.guest.clone(),
                        error,
                    )),
                }
            }
        }
        placed.slices.retain(|one| one.holders.contains(&true));
    }

    fn insert_slice(&self, placed: &mut Placed, slice: MappedSlice) {
        let at = placed.slices.iter().position(|one| one.slice == slice);
        let mut one = match at {
            Some(at) => placed.slices.swap_remove(at),
            None => PlacedSlice {
                slice,
                holders: vec![false; self.vmm.slots.len()],
            },
        };
        let holders = one.holders.iter_mut().zip(&self.vmm.slots);
        for (holds, slots) in holders.filter(|(holds, _)| !**holds) {
            match slots.insert(&one.slice) {
                Ok(()) => *holds = true,
                Err(error) => {
                    // What is torn may be there, and has to be taken away.
                    *holds = error.kind() == ErrorKind::Torn;
                    self.report(not_mapped(one.slice.bar, one.slice.guest.clone(), error));
                }
            }
        }
        if one.holders.contains(&true) {
            placed.slices.push(one);
        }
    }

    fn bdf(&self) -> Bdf {
        self.device.bdf()
    }
}

fn not_mapped(bar: u8, guest: Range<u64>, error: vfio_core::Error) -> Event {
    Event::NotMapped(bar, guest, error)
}
