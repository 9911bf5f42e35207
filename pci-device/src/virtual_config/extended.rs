//! The list of extended capabilities, behind the first 256 bytes.

use super::bits::Bits;
use super::next_place;
use super::raw::Raw;
use super::seat::Shown;
use crate::capability::Walked;

/// The list starts here.
const START: u16 = 0x100;
/// The first dword of a capability: its id, its version, and where the next one is.
const NEXT: u32 = 20;
const ID: u32 = 0xffff;
/// The lowest two bits of a place are reserved.
const PLACE: u32 = 0xffc;

/// What a guest sees only with this.
fn condition(id: u16) -> Option<Shown> {
    Some(match id {
        0x0e => Shown::ARI,
        0x0f => Shown::ATS,
        0x10 => Shown::SR_IOV,
        0x13 => Shown::PRI,
        0x15 | 0x24 => Shown::RESIZABLE_BAR,
        0x1b => Shown::PASID,
        _ => return None,
    })
}

/// What a guest never sees: virtual functions of several hosts (0x11), what ports alone have (multicast 0x12, downstream port
/// containment 0x1d), and states of a link that both of its ends must agree on (0x1e).
const ONLY_THE_HOSTS: [u16; 4] = [0x11, 0x12, 0x1d, 0x1e];

/// A capability, and its first dword.
#[derive(Debug, Clone, Copy)]
struct Extended {
    at: u16,
    header: u32,
}

impl Extended {
    fn id(self) -> u16 {
        u16::try_from(self.header & ID).unwrap_or(0)
    }
}

/// Lays the list out.
pub(super) fn lay_out(bits: &mut Bits, raw: Raw<'_>, shown: Shown, faults: &mut Vec<String>) {
    let Walked { found, fault } = walk(raw);
    faults.extend(fault.map(|why| format!("the list of extended capabilities: {why}")));
    let len = bits.len();
    let places = found.iter().map(|it| it.at);
    let is_shown = |it: &&Extended| {
        !ONLY_THE_HOSTS.contains(&it.id())
            && condition(it.id()).is_none_or(|needed| shown.contains(needed))
    };
    for hidden in found.iter().filter(|it| !is_shown(it)) {
        bits.hide(hidden.at..next_place(places.clone(), hidden.at, len));
    }
    let linked: Vec<Extended> = found.iter().filter(is_shown).copied().collect();
    let places = linked.iter().map(|it| u32::from(it.at));
    let next = places.clone().skip(1).chain([0]);
    // The list starts where it starts: one that is not shown there is nothing, with a place behind it.
    bits.show(
        START,
        (places.clone().next().unwrap_or(0) << NEXT).to_le_bytes(),
    );
    for (one, next) in linked.iter().zip(next) {
        let header = one.header & ((1 << NEXT) - 1) | next << NEXT;
        bits.show(one.at, header.to_le_bytes());
    }
}

/// Follows the list to its end, or to where it makes no sense any more.
fn walk(raw: Raw<'_>) -> Walked<Extended> {
    let mut found: Vec<Extended> = Vec::new();
    let mut at = START;
    let fault = loop {
        if found.iter().any(|it| it.at == at) {
            break Some(format!("it leads back to {at:#x}: it is a circle"));
        }
        if usize::from(at) + 4 > raw.len() {
            break (!found.is_empty()).then(|| format!("it leads to {at:#x}, behind the end"));
        }
        let header = raw.dword(at);
        // None at all, also where the hardware does not answer.
        if header == 0 || header == u32::MAX {
            break (at != START).then(|| format!("there is none at {at:#x}"));
        }
        found.push(Extended { at, header });
        match u16::try_from(header >> NEXT & PLACE).unwrap_or(0) {
            0 => break None,
            next @ 1..START => {
                break Some(format!("it leads to {next:#x}, among the standard ones"));
            }
            next => at = next,
        }
    };
    Walked { found, fault }
}
