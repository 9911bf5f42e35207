//! Where the registers are: of the header, and of what the lists lead to.
#![allow(clippy::cast_possible_truncation)] // Registers are taken apart.

use pci_device::virtual_config::{Place, Seat, Shown};

use super::spec::{self, Register};
use super::{BARS, Byte, Model, ROM};

impl Model {
    pub(super) fn hide(&mut self, from: usize, to: usize) {
        self.bytes[from..to].fill(Byte::default());
    }

    /// Registers one after the other.
    fn put(&mut self, mut at: usize, registers: &[Register]) {
        for register in registers {
            let [device, writable, value] =
                [register.device, register.writable, register.value].map(u32::to_le_bytes);
            let lanes = device.into_iter().zip(writable).zip(value);
            for ((device, writable), value) in lanes.take(register.len) {
                self.bytes[at] = Byte {
                    device,
                    writable,
                    value,
                };
                at += 1;
            }
        }
    }

    pub(super) fn header(&mut self, raw: &[u8], seat: &Seat) {
        let word = |at: usize| u32::from(u16::from_le_bytes([raw[at], raw[at + 1]]));
        let told = |told: Option<u16>, at| told.map_or_else(|| word(at), u32::from);
        let it = seat.identity;
        let class = word(0x0a) << 8 | u32::from(raw[0x09]);
        let revision = it.revision.unwrap_or(raw[0x08]);
        let line = if raw[0x3d] == 0 { 0 } else { 1 << 10 };
        self.put(
            0,
            &[
                spec::fixed(2, told(it.vendor, 0)),
                spec::fixed(2, told(it.device, 2)),
                spec::kept(2, 0b1_0100_0111 | line, 0),
                Register {
                    len: 2,
                    device: 0xffff & !(1 << 4),
                    writable: 0b1111_1001 << 8,
                    value: 0,
                },
                spec::fixed(1, revision.into()),
                spec::fixed(3, it.class.unwrap_or(class)),
                spec::kept(1, 0xff, 0), // cache line
                spec::kept(1, 0xff, 0), // latency
                spec::fixed(2, if seat.multifunction { 0x80 } else { 0 }),
            ],
        );
        self.hide(0x10, 0x40);
        for (register, address, kind) in BARS {
            let [low, high] = [address, address >> 32].map(|half| half as u32);
            let at = usize::from(0x10 + 4 * register);
            self.put(at, &[spec::kept(4, low, kind)]);
            if high != 0 {
                self.put(at + 4, &[spec::kept(4, high, 0)]);
            }
        }
        self.put(
            0x2c,
            &[
                spec::fixed(2, told(it.subsystem_vendor, 0x2c)),
                spec::fixed(2, told(it.subsystem, 0x2e)),
                spec::kept(4, ROM as u32 | 1, 0),
            ],
        );
        self.put(
            0x3c,
            &[
                spec::kept(1, 0xff, 0), // which line firmware has chosen
                spec::fixed(1, raw[0x3d].into()),
                spec::fixed(2, word(0x3e)),
            ],
        );
    }

    /// The first in the list has what two of them claim. Answers whether the device is one of PCI Express to the guest.
    pub(super) fn standard(&mut self, raw: &[u8], has_msix: bool, seat: &Seat) -> bool {
        let list = spec::list(raw);
        let mut claimed = vec![false; 0x100];
        let mut shown: Vec<usize> = Vec::new();
        let mut seen: Vec<u8> = Vec::new();
        for &at in &list {
            let id = raw[at];
            let end = at + spec::len(raw, at);
            if end > 0x100 || claimed[at..end].contains(&true) {
                for (place, _) in claimed.iter().enumerate().filter(|(_, is)| !**is) {
                    if (at..end).contains(&place) {
                        self.bytes[place] = Byte::default();
                    }
                }
                continue;
            }
            claimed[at..end].fill(true);
            let is_second = matches!(id, 0x01 | 0x05 | 0x10 | 0x11) && seen.contains(&id);
            let is_hidden = is_second
                || spec::ONLY_THE_HOSTS.contains(&id)
                || seat.hidden.iter().any(|it| it.0 == id)
                || id == 0x10 && seat.place == Place::Conventional
                || id == 0x11 && !has_msix;
            if is_hidden {
                let next = list.iter().filter(|it| **it > at).min();
                self.hide(at, end.max(*next.unwrap_or(&0x100)));
                continue;
            }
            seen.push(id);
            shown.push(at);
            self.put(at + 2, &spec::registers(raw, at, seat.place));
            match id {
                0x01 => self.power = Some(at),
                0x05 => self.msi = Some(at),
                0x11 => self.msix = Some(at),
                0x10 if raw[at + 7] & 0x10 != 0 => self.resets.push((at + 9, 0x80)),
                0x13 if raw[at + 3] & 0b10 != 0 => self.resets.push((at + 4, 0x01)),
                _ => {}
            }
        }
        let next = shown.iter().skip(1).chain([&0]);
        for (at, next) in shown.iter().zip(next) {
            self.put(
                *at,
                &[
                    spec::fixed(1, raw[*at].into()),
                    spec::fixed(1, *next as u32),
                ],
            );
        }
        if let Some(first) = shown.first() {
            self.bytes[0x34].value = *first as u8;
            self.bytes[0x06].value = 1 << 4;
        }
        seen.contains(&0x10)
    }

    pub(super) fn extended(&mut self, raw: &[u8], supported: Shown) {
        let list = spec::extended_list(raw);
        let mut shown: Vec<(usize, u32)> = Vec::new();
        for &(at, header) in &list {
            if spec::is_shown(header as u16, supported) {
                shown.push((at, header));
                continue;
            }
            let next = list.iter().map(|(at, _)| *at).filter(|it| *it > at).min();
            self.hide(at, next.unwrap_or(self.bytes.len()));
        }
        if self.bytes.len() == 0x100 {
            return;
        }
        let first = shown.first().map_or(0, |(at, _)| *at as u32);
        self.put(0x100, &[spec::fixed(4, first << 20)]);
        let next = shown.iter().skip(1).map(|(at, _)| *at as u32).chain([0]);
        for ((at, header), next) in shown.iter().zip(next) {
            self.put(*at, &[spec::fixed(4, header & 0xf_ffff | next << 20)]);
        }
    }
}
