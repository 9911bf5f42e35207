//! A function level reset for devices that are not on PCI Express.

use super::Found;
use crate::virtual_config::bits::Bits;

pub(super) const LEN: u16 = 6;

const LENGTH: u16 = 2;
const CAPABILITIES: u16 = 3;
const CONTROL: u16 = 4;
const STATUS: u16 = 5;

const HAS_RESET: u8 = 1 << 1;
const RESET: u8 = 1 << 0;

/// Answers which bit sets a function level reset off.
pub(super) fn lay_out(bits: &mut Bits, found: &Found<'_>) -> Option<(u16, u8)> {
    let capabilities = found.raw.byte(found.at + CAPABILITIES);
    bits.show(
        found.at + LENGTH,
        [found.raw.byte(found.at + LENGTH), capabilities],
    );
    bits.show(found.at + CONTROL, [0]);
    bits.pass_register(found.at + STATUS, [0]);
    has_function_reset(found).then_some((found.at + CONTROL, RESET))
}

pub(super) fn has_function_reset(found: &Found<'_>) -> bool {
    found.raw.byte(found.at + CAPABILITIES) & HAS_RESET != 0
}
