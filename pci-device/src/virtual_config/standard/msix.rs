//! MSI-X: the VMM's, and no bit of it the device's. The table is where the BARs say that the guest sees it.

use super::Found;
use crate::bar::Place;
use crate::virtual_config::bits::Bits;

pub(super) const LEN: u16 = 12;

const CONTROL: u16 = 2;
const TABLE: u16 = 4;
const PENDING: u16 = 8;

const MASKED: u16 = 1 << 14;
const ENABLE: u16 = 1 << 15;

/// Answers where the control register is; `None` if the guest has no MSI-X.
pub(super) fn lay_out(bits: &mut Bits, found: &Found<'_>) -> Option<u16> {
    let msix = found.msix?;
    let place = |place: Place| (place.offset | u32::from(place.bar)).to_le_bytes();
    let control = found.at + CONTROL;
    bits.emulate(
        control,
        msix.vectors.saturating_sub(1).to_le_bytes(),
        (MASKED | ENABLE).to_le_bytes(),
    );
    bits.show(found.at + TABLE, place(msix.table));
    bits.show(found.at + PENDING, place(msix.pending));
    Some(control)
}

/// Whether MSI-X is on, and whether all vectors are masked.
pub(in crate::virtual_config) fn state(bits: &Bits, control: u16) -> (bool, bool) {
    let value = bits.value(control, 2);
    let has = |bit: u16| value & u32::from(bit) != 0;
    (has(ENABLE), has(MASKED))
}
