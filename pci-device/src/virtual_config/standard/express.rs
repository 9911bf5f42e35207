//! PCI Express.

use super::Found;
use crate::virtual_config::bits::Bits;
use crate::virtual_config::seat::Place;

const CAPABILITIES: u16 = 0x02;
const DEVICE_CAPABILITIES: u16 = 0x04;
const DEVICE_CONTROL: u16 = 0x08;
const DEVICE_STATUS: u16 = 0x0a;
const LINK: u16 = 0x0c;
const SLOT: u16 = 0x14;
const DEVICE_2: u16 = 0x24;
const LINK_2: u16 = 0x2c;
const SLOT_2: u16 = 0x34;
const END: u16 = 0x3c;

const VERSION: u16 = 0xf;
/// What the device is; 0 and 1 are endpoints, 9 and 10 parts of the root complex.
const TYPE: u16 = 0xf << 4;
const ENDPOINT: u16 = 0 << 4;
const ROOT_COMPLEX_ENDPOINT: u16 = 9 << 4;
const ROOT_COMPLEX_COLLECTOR: u16 = 10 << 4;
/// The link leads to a slot.
const SLOT_IMPLEMENTED: u16 = 1 << 8;

/// The device has a function level reset.
const HAS_RESET: u32 = 1 << 28;
/// The highest bit of device control sets it off.
const RESET: u8 = 1 << 7;
/// Errors that were seen, which ones clear.
const SEEN: u16 = 0xf;
/// The same of a link: its width or speed has changed.
const LINK_SEEN: u16 = 0b11 << 14;
/// In its second status register: equalization was asked for, and a message has come that the other end is ready.
const LINK_2_SEEN: u16 = 1 << 5 | 1 << 15;

/// The slowest link of one lane, which every port has.
const SLOWEST: u32 = 1 << 4 | 1;

/// How many bytes it has, by its first register. Before version 2 there was not more than there is: endpoints have up to the
/// link, parts of a root complex less.
pub(super) fn len(capabilities: u16) -> u16 {
    match (capabilities & VERSION, capabilities & TYPE) {
        (2.., _) => END,
        (_, ROOT_COMPLEX_ENDPOINT | ROOT_COMPLEX_COLLECTOR) => LINK,
        _ => SLOT,
    }
}

/// Answers which bit sets a function level reset off.
pub(super) fn lay_out(bits: &mut Bits, found: &Found<'_>) -> Option<(u16, u8)> {
    let (raw, at) = (found.raw, found.at);
    let capabilities = raw.word(at + CAPABILITIES);
    let end = len(capabilities);
    let was_inside = matches!(
        capabilities & TYPE,
        ROOT_COMPLEX_ENDPOINT | ROOT_COMPLEX_COLLECTOR
    );
    let (kind, has_link) = match found.place {
        Place::RootComplex if was_inside => (capabilities & TYPE, false),
        Place::RootComplex => (ROOT_COMPLEX_ENDPOINT, false),
        _ if was_inside => (ENDPOINT, true),
        _ => (capabilities & TYPE, true),
    };
    let shown = capabilities & !(TYPE | SLOT_IMPLEMENTED) | kind;
    bits.show(at + CAPABILITIES, shown.to_le_bytes());
    bits.show(
        at + DEVICE_CAPABILITIES,
        raw.dword(at + DEVICE_CAPABILITIES).to_le_bytes(),
    );
    bits.pass_register(at + DEVICE_CONTROL, [0xff, !RESET]);
    bits.fix(at + DEVICE_CONTROL + 1, RESET, 0);
    bits.pass_register(at + DEVICE_STATUS, SEEN.to_le_bytes());

    // The registers of each kind come in a row: capabilities, control, status.
    let within = |from: u16, to: u16| at + from.min(end)..at + to.min(end);
    bits.hide(within(SLOT, DEVICE_2));
    bits.hide(within(SLOT_2, END));
    if end > DEVICE_2 {
        bits.show(at + DEVICE_2, raw.dword(at + DEVICE_2).to_le_bytes());
        bits.pass_register(at + DEVICE_2 + 4, [0xff, 0xff, 0, 0]);
    }
    for (link, beside, seen) in [(LINK, SLOT, LINK_SEEN), (LINK_2, SLOT_2, LINK_2_SEEN)] {
        let [low, high] = seen.to_le_bytes();
        match (has_link, was_inside) {
            (true, false) if link < end => {
                bits.show(at + link, raw.dword(at + link).to_le_bytes());
                bits.pass_register(at + link + 4, [0xff, 0xff, low, high]);
            }
            _ => bits.hide(within(link, beside)),
        }
    }
    if has_link && was_inside && end > LINK {
        let [speed, width, ..] = SLOWEST.to_le_bytes();
        bits.show(at + LINK, SLOWEST.to_le_bytes());
        bits.show(at + LINK + 6, [speed, width]);
    }
    has_function_reset(found).then_some((at + DEVICE_CONTROL + 1, RESET))
}

pub(super) fn has_function_reset(found: &Found<'_>) -> bool {
    found.raw.dword(found.at + DEVICE_CAPABILITIES) & HAS_RESET != 0
}

/// What the control registers have that a guest writes: of the device, and of its link.
pub(super) fn before_use(bits: &Bits, found: &Found<'_>) -> Vec<(u16, u16)> {
    let controls = [DEVICE_CONTROL, LINK + 4, DEVICE_2 + 4, LINK_2 + 4];
    let there = controls
        .into_iter()
        .filter(|control| *control < len(found.raw.word(found.at + CAPABILITIES)));
    let passed = there.filter(|control| bits.read(found.at + control, 1).device != 0);
    let value = |control: u16| {
        let value = found.raw.word(found.at + control);
        let sets_off = if control == DEVICE_CONTROL {
            u16::from(RESET) << 8
        } else {
            0
        };
        (found.at + control, value & !sets_off)
    };
    passed.map(value).collect()
}
