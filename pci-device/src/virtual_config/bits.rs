//! What becomes of each bit of config space.

use std::ops::Range;

/// A byte of config space. A bit of it is *passed* (read from the device), or *emulated* (what is in `value`); one that is
/// emulated, 0 and not writable is *hidden*.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Byte {
    /// Bits that are the device's.
    passed: u8,
    /// Bits that the guest can write: those of the device, or those in `value`.
    writable: u8,
    /// What is emulated.
    value: u8,
    /// The same after a reset.
    initial: u8,
}

/// All bytes of a config space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bits(Vec<Byte>);

/// What a read finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Read {
    /// The bits that are known.
    pub value: u32,
    /// The bits that the device has to be asked for, in one read of these bytes; 0 for none.
    pub device: u32,
}

/// A write of the device's config space, for the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceWrite {
    /// Where, in bytes.
    pub offset: u16,
    /// How many bytes: 1 to 4.
    pub len: u8,
    /// What the guest has written.
    pub value: u32,
    /// The bits of it that are written. The others are written as 0: ones would clear them, or set something off.
    pub bits: u32,
}

impl Bits {
    /// All of them hidden.
    pub(super) fn hidden(len: u16) -> Self {
        Self(vec![Byte::default(); len.into()])
    }

    /// How many bytes.
    pub(super) fn len(&self) -> u16 {
        u16::try_from(self.0.len()).unwrap_or(u16::MAX)
    }

    fn slice(&mut self, range: Range<u16>) -> &mut [Byte] {
        let range = usize::from(range.start)..usize::from(range.end);
        self.0.get_mut(range).unwrap_or_default()
    }

    /// These bytes are the device's, to read and to write.
    pub(super) fn pass(&mut self, range: Range<u16>) {
        self.slice(range).fill(Byte {
            passed: 0xff,
            writable: 0xff,
            ..Byte::default()
        });
    }

    /// Nobody sees these bytes.
    pub(super) fn hide(&mut self, range: Range<u16>) {
        self.slice(range).fill(Byte::default());
    }

    /// A register is the device's to read. The guest writes the `writable` bits of it.
    pub(super) fn pass_register<const N: usize>(&mut self, at: u16, writable: [u8; N]) {
        for (byte, writable) in self.from(at).zip(writable) {
            *byte = Byte {
                passed: 0xff,
                writable,
                ..Byte::default()
            };
        }
    }

    /// A register has this value. The guest writes the `writable` bits of it.
    pub(super) fn emulate<const N: usize>(&mut self, at: u16, value: [u8; N], writable: [u8; N]) {
        for (byte, (value, writable)) in self.from(at).zip(value.into_iter().zip(writable)) {
            *byte = Byte {
                writable,
                value,
                initial: value,
                ..Byte::default()
            };
        }
    }

    /// A register has this value, whatever the guest writes.
    pub(super) fn show<const N: usize>(&mut self, at: u16, value: [u8; N]) {
        self.emulate(at, value, [0; N]);
    }

    /// These bits of a byte are emulated, with this value, and cannot be written; the others stay what they are.
    pub(super) fn fix(&mut self, at: u16, mask: u8, value: u8) {
        for byte in self.from(at).take(1) {
            byte.passed &= !mask;
            byte.writable &= !mask;
            byte.value = byte.value & !mask | value & mask;
            byte.initial = byte.value;
        }
    }

    fn from(&mut self, at: u16) -> impl Iterator<Item = &mut Byte> {
        self.0.iter_mut().skip(at.into())
    }

    /// What is emulated of so many bytes, little-endian; what is not there is 0.
    pub(super) fn value(&self, at: u16, len: u16) -> u32 {
        let bytes = self.0.iter().skip(at.into()).take(len.into());
        let shifts = (0..u32::BITS).step_by(8);
        bytes.zip(shifts).fold(0, |value, (byte, shift)| {
            value | u32::from(byte.value) << shift
        })
    }

    /// Sets what is emulated of a register.
    pub(super) fn set<const N: usize>(&mut self, at: u16, value: [u8; N]) {
        for (byte, value) in self.from(at).zip(value) {
            byte.value = value;
        }
    }

    /// As after a reset.
    pub(super) fn reset(&mut self) {
        for byte in &mut self.0 {
            byte.value = byte.initial;
        }
    }

    /// Reads up to four bytes. Behind the end there are ones.
    pub(super) fn read(&self, offset: u16, len: usize) -> Read {
        let mut read = Read {
            value: 0,
            device: 0,
        };
        for (at, shift) in lanes(offset, len) {
            let (value, device) = match self.0.get(at) {
                Some(byte) => (byte.value, byte.passed),
                None => (0xff, 0),
            };
            read.value |= u32::from(value) << shift;
            read.device |= u32::from(device) << shift;
        }
        read
    }

    /// Writes up to four bytes: what is emulated here. Answers what is left for the device.
    pub(super) fn write(&mut self, offset: u16, len: usize, value: u32) -> Vec<DeviceWrite> {
        let mut writes: Vec<DeviceWrite> = Vec::new();
        for (at, shift) in lanes(offset, len) {
            let Some(byte) = self.0.get_mut(at) else {
                break;
            };
            let [new, ..] = (value >> shift).to_le_bytes();
            let emulated = byte.writable & !byte.passed;
            byte.value = byte.value & !emulated | new & emulated;
            let bits = byte.writable & byte.passed;
            let Some(at) = u16::try_from(at).ok().filter(|_| bits != 0) else {
                continue;
            };
            match writes.last_mut().filter(|last| last.end() == at) {
                Some(last) => last.push(new, bits),
                None => writes.push(DeviceWrite::byte(at, new, bits)),
            }
        }
        writes
    }
}

impl DeviceWrite {
    fn byte(offset: u16, value: u8, bits: u8) -> Self {
        Self {
            offset,
            len: 1,
            value: value.into(),
            bits: bits.into(),
        }
    }

    fn end(&self) -> u16 {
        self.offset.saturating_add(self.len.into())
    }

    fn push(&mut self, value: u8, bits: u8) {
        let shift = 8 * u32::from(self.len);
        self.value |= u32::from(value) << shift;
        self.bits |= u32::from(bits) << shift;
        self.len += 1;
    }
}

/// Up to four bytes from an offset on: where each is, and how far its bits are shifted.
fn lanes(offset: u16, len: usize) -> impl Iterator<Item = (usize, u32)> {
    let shifts = (0..u32::BITS).step_by(8);
    (usize::from(offset)..).take(len).zip(shifts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_device_must_not_see_parts_a_write() {
        let mut bits = Bits::hidden(16);
        bits.pass(0..4);
        bits.show(2, [7]);
        let writes = bits.write(0, 4, 0x4433_2211);
        let shown: Vec<_> = writes
            .iter()
            .map(|it| (it.offset, it.len, it.value))
            .collect();
        assert_eq!(shown, [(0, 2, 0x2211), (3, 1, 0x44)]);
        assert_eq!(
            bits.read(0, 4),
            Read {
                value: 7 << 16,
                device: 0xff00_ffff
            }
        );
    }

    #[test]
    fn bits_beside_the_guests_are_not_written() {
        let mut bits = Bits::hidden(4);
        bits.pass(0..1);
        bits.fix(0, 0x80, 0); // sets something off
        bits.pass_register(1, [0x0f]); // ones clear
        let [write] = bits.write(0, 2, 0xffff)[..] else {
            panic!("one write");
        };
        assert_eq!(write.bits, 0x0f7f);
        assert_eq!(bits.read(3, 4).value, 0xffff_ff00);
    }
}
