//! The header: the first 64 bytes.

use super::bits::Bits;
use super::raw::Raw;
use super::seat::Seat;
use crate::bar::Bars;
use crate::config::{
    COMMAND, Command, DEVICE, HEADER_TYPE, REVISION, STATUS, STATUS_CAPABILITIES, VENDOR,
};

const CLASS: u16 = 0x09;
const CACHE_LINE: u16 = 0x0c;
const LATENCY: u16 = 0x0d;
const SUBSYSTEM_VENDOR: u16 = 0x2c;
const SUBSYSTEM: u16 = 0x2e;
const LINE: u16 = 0x3c;
const PIN: u16 = 0x3d;
const MIN_GNT: u16 = 0x3e;

/// In the status register: errors that were seen, which ones clear.
const SEEN: u16 = 0xf900;
/// There are further functions.
const MULTI_FUNCTION: u8 = 1 << 7;

/// In the command register: errors of parity, and others, are told.
const TELLS_ERRORS: u16 = 1 << 6 | 1 << 8;

/// The header, but for the BARs, whose registers are a machine of their own, and the pointer to the list. What is not
/// named here (the built-in self-test, pointers of CardBus) is hidden.
pub(super) fn lay_out(bits: &mut Bits, raw: Raw<'_>, bars: &Bars, seat: &Seat) {
    let identity = seat.identity;
    let word = |told: Option<u16>, at| told.unwrap_or(raw.word(at)).to_le_bytes();
    bits.show(VENDOR, word(identity.vendor, VENDOR));
    bits.show(DEVICE, word(identity.device, DEVICE));
    bits.show(
        SUBSYSTEM_VENDOR,
        word(identity.subsystem_vendor, SUBSYSTEM_VENDOR),
    );
    bits.show(SUBSYSTEM, word(identity.subsystem, SUBSYSTEM));
    bits.show(REVISION, [identity.revision.unwrap_or(raw.byte(REVISION))]);
    let class = identity.class.unwrap_or(raw.class());
    let [interface, subclass, base, _] = class.to_le_bytes();
    bits.show(CLASS, [interface, subclass, base]);

    bits.emulate(COMMAND, [0; 2], commands(raw, bars).bits().to_le_bytes());
    bits.pass_register(STATUS, SEEN.to_le_bytes());
    bits.fix(STATUS, STATUS_CAPABILITIES.to_le_bytes()[0], 0);
    bits.emulate(CACHE_LINE, [0], [0xff]);
    bits.emulate(LATENCY, [0], [0xff]);
    let functions = if seat.multifunction {
        MULTI_FUNCTION
    } else {
        0
    };
    bits.show(HEADER_TYPE, [functions]);
    bits.emulate(LINE, [0], [0xff]);
    bits.show(PIN, [raw.byte(PIN)]);
    bits.show(MIN_GNT, raw.word(MIN_GNT).to_le_bytes());
}

/// What a guest can switch: what the device has.
fn commands(raw: Raw<'_>, bars: &Bars) -> Command {
    let mut commands = Command::BUS_MASTER | Command::from_bits_retain(TELLS_ERRORS);
    let mut kinds = bars.bars.iter().flatten().map(|bar| bar.kind.is_io());
    commands.set(Command::IO, kinds.clone().any(|is_io| is_io));
    commands.set(Command::MEMORY, bars.rom > 0 || kinds.any(|is_io| !is_io));
    commands.set(Command::INTX_DISABLE, raw.byte(PIN) != 0);
    commands
}
