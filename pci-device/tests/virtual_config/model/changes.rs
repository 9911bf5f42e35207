//! What a guest's writes have changed: what was, beside what is.
#![allow(clippy::cast_possible_truncation)] // Registers are taken apart.

use pci_device::Command;
use pci_device::bar::{BarRegister, Change};
use pci_device::virtual_config::{Effect, MsiState, PowerState};

use super::{BARS, Model, ROM};

impl Model {
    pub(super) fn state(&self) -> State {
        let mut places = Vec::new();
        for (number, bits, kind) in BARS {
            let at = usize::from(0x10 + 4 * number);
            let high = if kind == 0b100 {
                self.value(at + 4, 4)
            } else {
                0
            };
            let address = u64::from(self.value(at, 4)) | u64::from(high) << 32;
            let what = BarRegister::Bar(number as u8);
            places.push((what, Some(address & bits).filter(|it| *it != bits)));
        }
        let rom = u64::from(self.value(0x30, 4));
        let place = Some(rom & ROM).filter(|it| *it != ROM && rom & 1 != 0);
        places.push((BarRegister::Rom, place));
        State {
            command: self.value(4, 2) as u16,
            places,
            msi: self.msi.map(|at| self.msi_state(at)),
            msix: self.msix.map(|at| self.bytes[at + 3].value),
            power: self.power.map_or(0, |at| self.bytes[at + 4].value & 3),
        }
    }

    fn msi_state(&self, at: usize) -> MsiState {
        let control = self.value(at + 2, 2);
        let is_wide = control & 0x80 != 0;
        let data = at + if is_wide { 12 } else { 8 };
        let high = if is_wide { self.value(at + 8, 4) } else { 0 };
        MsiState {
            enabled: control & 1 != 0,
            vectors: 1 << (control >> 4 & 7).min(control >> 1 & 7),
            address: u64::from(self.value(at + 4, 4)) | u64::from(high) << 32,
            data: self.value(data, 2) as u16,
            masked: if control & 0x100 != 0 {
                self.value(data + 4, 4)
            } else {
                0
            },
        }
    }

    /// What is not as it was.
    pub(super) fn changed(&self, was: &State) -> Vec<Effect> {
        let is = self.state();
        let mut changed = Vec::new();
        if was.command != is.command {
            let [from, to] = [was.command, is.command].map(Command::from_bits_retain);
            changed.push(Effect::Command { from, to });
        }
        for ((what, from), (_, to)) in was.places.iter().zip(&is.places) {
            let (what, from, to) = (*what, *from, *to);
            if from != to {
                changed.push(Effect::Bar(Change { what, from, to }));
            }
        }
        changed.extend(is.msi.filter(|_| was.msi != is.msi).map(Effect::Msi));
        let control = |high: u8| Effect::MsixControl {
            enabled: high & 0x80 != 0,
            masked: high & 0x40 != 0,
        };
        changed.extend(is.msix.filter(|_| was.msix != is.msix).map(control));
        if was.power != is.power {
            let resets = self
                .power
                .is_some_and(|at| self.bytes[at + 4].value & 8 == 0);
            changed.push(Effect::Power {
                from: sleep_state(was.power),
                to: sleep_state(is.power),
                resets: resets && (was.power, is.power) == (3, 0),
            });
        }
        changed
    }
}

/// What effects come from.
pub(super) struct State {
    command: u16,
    places: Vec<(BarRegister, Option<u64>)>,
    msi: Option<MsiState>,
    msix: Option<u8>,
    pub(super) power: u8,
}

fn sleep_state(bits: u8) -> PowerState {
    use PowerState::{D0, D1, D2, D3Hot};
    [D0, D1, D2, D3Hot][usize::from(bits)]
}

/// In whatever order.
pub(super) fn sorted(effects: Vec<Effect>) -> Vec<String> {
    let mut shown: Vec<_> = effects.iter().map(|it| format!("{it:x?}")).collect();
    shown.sort();
    shown
}
