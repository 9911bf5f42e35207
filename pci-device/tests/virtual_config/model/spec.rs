//! Registers of capabilities, by the PCI and PCI Express specifications.
#![allow(clippy::cast_possible_truncation)] // Registers are taken apart.

use pci_device::virtual_config::{Place, Shown};

/// A register of up to four bytes: which of its bits are the device's, which a guest can write, and what the others are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Register {
    pub(super) len: usize,
    pub(super) device: u32,
    pub(super) writable: u32,
    pub(super) value: u32,
}

/// One that has a value, whatever is written.
pub(super) fn fixed(len: usize, value: u32) -> Register {
    kept(len, 0, value)
}

/// One that has what a guest has written to these bits.
pub(super) fn kept(len: usize, writable: u32, value: u32) -> Register {
    Register {
        len,
        device: 0,
        writable,
        value,
    }
}

/// The device's, with bits that a guest can write.
fn device(len: usize, writable: u32) -> Register {
    Register {
        len,
        device: u32::MAX,
        writable,
        value: 0,
    }
}

/// Slots (4), CompactPCI (6), hot plugging (0xc), bridges (0xd), enhanced allocation (0x14), flattening portal bridges (0x15).
pub(super) const ONLY_THE_HOSTS: [u8; 6] = [0x04, 0x06, 0x0c, 0x0d, 0x14, 0x15];

/// Where capabilities are, in the list's order, up to where it makes no sense.
pub(super) fn list(raw: &[u8]) -> Vec<usize> {
    let mut list = Vec::new();
    let mut at = if raw[0x06] & 0x10 != 0 { raw[0x34] } else { 0 } & 0xfc;
    while at >= 0x40 && !list.contains(&usize::from(at)) {
        list.push(usize::from(at));
        at = raw[usize::from(at) + 1] & 0xfc;
    }
    list
}

fn word(raw: &[u8], at: usize) -> u32 {
    let byte = |at: usize| raw.get(at).copied().unwrap_or(0);
    u16::from_le_bytes([byte(at), byte(at + 1)]).into()
}

fn dword(raw: &[u8], at: usize) -> u32 {
    word(raw, at) | word(raw, at + 2) << 16
}

/// Whether the type of a PCI Express device says that it is in a root complex: as an endpoint, or as a collector of events.
fn is_inside(capabilities: u32) -> bool {
    matches!(capabilities >> 4 & 0xf, 9 | 10)
}

/// How many bytes a capability has.
pub(super) fn len(raw: &[u8], at: usize) -> usize {
    let first = word(raw, at + 2);
    match raw[at] {
        0x01 | 0x03 => 8,
        0x05 => match (first & 0x80 != 0, first & 0x100 != 0) {
            (false, false) => 10,
            (true, false) => 14,
            (false, true) => 20,
            (true, true) => 24,
        },
        0x09 => ((first & 0xff) as usize).max(3),
        0x10 if first & 0xf >= 2 => 0x3c,
        0x10 if is_inside(first) => 0x0c,
        0x10 => 0x14,
        0x11 => 12,
        0x13 => 6,
        _ => 2,
    }
}

/// What is behind the two bytes that every capability has, of those that are not all the device's.
pub(super) fn registers(raw: &[u8], at: usize, place: Place) -> Vec<Register> {
    let first = word(raw, at + 2);
    match raw[at] {
        0x01 => {
            // What it can do: nothing of PME. Its control: the state; what it was says whether it keeps its registers.
            let can = first & !(0b1_1111 << 11 | 1 << 3);
            let keeps = word(raw, at + 4) & 1 << 3;
            vec![fixed(2, can), kept(2, 0b11, keeps), fixed(2, 0)]
        }
        0x05 => msi(first),
        0x10 => express(raw, at, place),
        0x11 => vec![kept(2, 0b11 << 14, 64), fixed(4, 0x1002), fixed(4, 0x2002)],
        0x13 => vec![fixed(2, first), fixed(1, 0), device(1, 0)],
        _ => vec![],
    }
}

fn msi(control: u32) -> Vec<Register> {
    let (is_wide, has_masks) = (control & 0x80 != 0, control & 0x100 != 0);
    let most = (control >> 1 & 7).min(5); // 6 and 7 are reserved
    let mut registers = vec![
        kept(2, 0b111_0001, control & 0x180 | most << 1),
        kept(4, !0b11, 0),
    ];
    if is_wide {
        registers.push(kept(4, !0, 0));
    }
    registers.push(kept(2, 0xffff, 0));
    if has_masks {
        let vectors = ((1_u64 << (1 << most)) - 1) as u32;
        registers.extend([fixed(2, 0), kept(4, vectors, 0), fixed(4, 0)]);
    }
    registers
}

/// Capabilities, control and status: of the device, the link, the slot, the root; and all of them once more.
fn express(raw: &[u8], at: usize, place: Place) -> Vec<Register> {
    let first = word(raw, at + 2);
    let kind = match (first >> 4 & 0xf, place) {
        (10, Place::RootComplex) => 10,
        (_, Place::RootComplex) => 9,
        (9 | 10, _) => 0,
        (kind, _) => kind,
    };
    // The slot that a link leads to is the port's.
    let mut registers = vec![
        fixed(2, first & !0x1f0 | kind << 4),
        fixed(4, dword(raw, at + 4)),
        Register {
            device: 0x7fff,
            ..device(2, 0x7fff)
        },
        device(2, 0b1111),
    ];
    // One that is put behind a port has the least of links there, and has nothing to say of it.
    let has_link = place == Place::BehindPort && !is_inside(first);
    let is_new_link = place == Place::BehindPort && is_inside(first);
    let link = match (has_link, is_new_link) {
        (true, _) => vec![
            fixed(4, dword(raw, at + 0x0c)),
            device(2, 0xffff),
            device(2, 0b11 << 14),
        ],
        (_, true) => vec![fixed(4, 0x11), fixed(2, 0), fixed(2, 0x11)],
        _ => vec![fixed(4, 0), fixed(4, 0)],
    };
    let link_2 = match has_link {
        true => vec![
            fixed(4, dword(raw, at + 0x2c)),
            device(2, 0xffff),
            device(2, 1 << 15 | 1 << 5), // a message of the other end; equalization is asked for
        ],
        false => vec![fixed(4, 0), fixed(4, 0)],
    };
    if len(raw, at) > 0x0c {
        registers.extend(link);
    }
    if len(raw, at) > 0x14 {
        registers.extend([fixed(4, 0); 4]);
        registers.extend([
            fixed(4, dword(raw, at + 0x24)),
            device(2, 0xffff),
            device(2, 0),
        ]);
        registers.extend(link_2);
        registers.extend([fixed(4, 0); 2]);
    }
    registers
}

/// How a device sleeps that is in one state and told to go to another: `can` is the upper byte of what it says that it can.
pub(super) fn sleep(can: u8, is: u8, told: u8) -> u8 {
    let has_it = match told {
        1 => can & 0b10 != 0,
        2 => can & 0b100 != 0,
        _ => true,
    };
    if told == 0 || has_it && told > is {
        told
    } else {
        is
    }
}

/// Where extended capabilities are, and their headers, up to where the list makes no sense.
pub(super) fn extended_list(raw: &[u8]) -> Vec<(usize, u32)> {
    let mut list: Vec<(usize, u32)> = Vec::new();
    let mut at = 0x100;
    while at >= 0x100 && at + 4 <= raw.len() && list.iter().all(|(it, _)| *it != at) {
        let header = dword(raw, at);
        if header == 0 || header == u32::MAX {
            break;
        }
        list.push((at, header));
        at = (header >> 20 & 0xffc) as usize;
    }
    list
}

/// Whether a guest sees an extended capability whose VMM supports those.
pub(super) fn is_shown(id: u16, supported: Shown) -> bool {
    match id {
        0x0e => supported.contains(Shown::ARI),
        0x0f => supported.contains(Shown::ATS),
        0x10 => supported.contains(Shown::SR_IOV),
        0x13 => supported.contains(Shown::PRI),
        0x15 | 0x24 => supported.contains(Shown::RESIZABLE_BAR),
        0x1b => supported.contains(Shown::PASID),
        // Virtual functions of several roots, multicast, containment of a port, states of a link.
        0x11 | 0x12 | 0x1d | 0x1e => false,
        _ => true,
    }
}
