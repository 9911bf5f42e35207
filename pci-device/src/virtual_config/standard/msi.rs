//! Message signalled interrupts: the VMM's, and no bit of them the device's.

use super::Found;
use crate::virtual_config::bits::Bits;
use crate::virtual_config::effect::MsiState;

const CONTROL: u16 = 2;
const ADDRESS: u16 = 4;

const ENABLE: u16 = 1 << 0;
/// How many vectors the device has, and how many the guest uses: logarithms.
const CAPABLE: u16 = 0b111 << 1;
const ENABLED: u16 = 0b111 << 4;
const WIDE: u16 = 1 << 7;
const MASKABLE: u16 = 1 << 8;

/// More vectors there are not: a logarithm.
const MOST: u16 = 5;

/// The registers of a capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::virtual_config) struct Msi {
    at: u16,
    wide: bool,
    maskable: bool,
    /// The logarithm of how many vectors the device has.
    capable: u16,
}

/// How many bytes it has, by its control register.
pub(super) fn len(control: u16) -> u16 {
    let address = if control & WIDE != 0 { 8 } else { 4 };
    // Masks and pending bits follow at the next multiple of four.
    ADDRESS + address + if control & MASKABLE != 0 { 12 } else { 2 }
}

pub(super) fn lay_out(bits: &mut Bits, found: &Found<'_>) -> Msi {
    let control = found.raw.word(found.at + CONTROL);
    let msi = Msi {
        at: found.at,
        wide: control & WIDE != 0,
        maskable: control & MASKABLE != 0,
        capable: ((control & CAPABLE) >> 1).min(MOST),
    };
    bits.hide(found.at..found.at + len(control));
    let shown = control & (WIDE | MASKABLE) | msi.capable << 1;
    let writable = ENABLE | ENABLED;
    bits.emulate(
        msi.at + CONTROL,
        shown.to_le_bytes(),
        writable.to_le_bytes(),
    );
    bits.emulate(msi.at + ADDRESS, [0; 4], [0xfc, 0xff, 0xff, 0xff]);
    if msi.wide {
        bits.emulate(msi.at + ADDRESS + 4, [0; 4], [0xff; 4]);
    }
    bits.emulate(msi.data(), [0; 2], [0xff; 2]);
    if msi.maskable {
        let vectors = u32::MAX >> (32 - (1_u32 << msi.capable));
        bits.emulate(msi.data() + 4, [0; 4], vectors.to_le_bytes());
    }
    msi
}

impl Msi {
    fn data(self) -> u16 {
        self.at + ADDRESS + if self.wide { 8 } else { 4 }
    }

    /// What the guest has written.
    pub(in crate::virtual_config) fn state(self, bits: &Bits) -> MsiState {
        let word = |at| bits.value(at, 2);
        let control = word(self.at + CONTROL);
        let enabled = (control & u32::from(ENABLED)) >> 4;
        let high = if self.wide {
            bits.value(self.at + ADDRESS + 4, 4)
        } else {
            0
        };
        let masked = if self.maskable {
            bits.value(self.data() + 4, 4)
        } else {
            0
        };
        MsiState {
            enabled: control & u32::from(ENABLE) != 0,
            vectors: 1 << enabled.min(self.capable.into()),
            address: u64::from(bits.value(self.at + ADDRESS, 4)) | u64::from(high) << 32,
            data: u16::try_from(word(self.data())).unwrap_or(0),
            masked,
        }
    }
}
