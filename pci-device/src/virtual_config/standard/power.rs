//! Power management.

use super::Found;
use crate::virtual_config::bits::Bits;
use crate::virtual_config::effect::PowerState;

pub(super) const LEN: u16 = 8;

const CAPABILITIES: u16 = 2;
const CONTROL: u16 = 4;

/// What wakes the system up, which a guest cannot have: support of it, and what is needed for it.
const PME: u16 = 0xf800 | 1 << 3;
const D1: u16 = 1 << 9;
const D2: u16 = 1 << 10;

/// The device keeps its registers when it wakes up.
const NO_SOFT_RESET: u16 = 1 << 3;
const STATE: u16 = 0b11;

/// The registers of a capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::virtual_config) struct Power {
    at: u16,
    has_d1: bool,
    has_d2: bool,
    /// Whether waking up from D3 resets it.
    pub(in crate::virtual_config) resets: bool,
}

pub(super) fn lay_out(bits: &mut Bits, found: &Found<'_>) -> Power {
    let capabilities = found.raw.word(found.at + CAPABILITIES);
    let control = found.raw.word(found.at + CONTROL);
    bits.show(found.at + CAPABILITIES, (capabilities & !PME).to_le_bytes());
    bits.emulate(
        found.at + CONTROL,
        (control & NO_SOFT_RESET).to_le_bytes(),
        STATE.to_le_bytes(),
    );
    bits.hide(found.at + CONTROL + 2..found.at + LEN);
    Power {
        at: found.at,
        has_d1: capabilities & D1 != 0,
        has_d2: capabilities & D2 != 0,
        resets: control & NO_SOFT_RESET == 0,
    }
}

impl Power {
    /// Where its register is.
    pub(in crate::virtual_config) fn register(self) -> u16 {
        self.at + CONTROL
    }

    /// What the register says.
    pub(in crate::virtual_config) fn state(self, bits: &Bits) -> PowerState {
        PowerState::of_bits(bits.value(self.register(), 2))
    }

    /// Takes back what the device would not do: go to a state that it does not have, or from one state of sleep to a lighter
    /// one (PCI Power Management, 5.4).
    pub(in crate::virtual_config) fn check(self, from: PowerState, bits: &mut Bits) {
        let to = self.state(bits);
        let has_it = match to {
            PowerState::D1 => self.has_d1,
            PowerState::D2 => self.has_d2,
            PowerState::D0 | PowerState::D3Hot => true,
        };
        if !has_it || to != PowerState::D0 && to < from {
            let [rest, _, ..] = bits.value(self.register(), 2).to_le_bytes();
            let [state, _] = from.bits().to_le_bytes();
            bits.set(self.register(), [rest & !0b11 | state]);
        }
    }
}
