//! The registers that say where the BARs are, as a guest probes and programs them.

use super::{BARS, BarKind, Bars};
use crate::config::Command;

/// Where the first BAR's register is in config space, in bytes.
const FIRST: u16 = 0x10;
/// Where the ROM's register is.
const ROM: u16 = 0x30;

/// In the ROM's register: it answers.
const ROM_ENABLE: u32 = 1 << 0;

/// A register that says where something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BarRegister {
    /// A BAR's, 0 to 5. Of a BAR of 64 bits, the next one has the upper half.
    Bar(u8),
    /// The expansion ROM's.
    Rom,
}

impl BarRegister {
    /// All of them: those of the BARs by their numbers, and the ROM's behind them.
    pub fn all() -> impl Iterator<Item = Self> {
        let bars = (0_u8..).take(BARS).map(Self::Bar);
        bars.chain([Self::Rom])
    }

    /// Where it is in the config space of a device, in bytes.
    pub fn offset(self) -> u16 {
        match self {
            Self::Bar(number) => FIRST + 4 * u16::from(number),
            Self::Rom => ROM,
        }
    }

    /// The one at an offset in the config space of a device, in bytes; each has four.
    pub fn at(offset: u16) -> Option<Self> {
        let number = |at: u16| u8::try_from(at / 4).ok();
        match offset {
            ROM..0x34 => Some(Self::Rom),
            FIRST..0x28 => number(offset - FIRST).map(Self::Bar),
            _ => None,
        }
    }
}

/// A BAR, or the ROM, has gone to another place.
///
/// These are the places that the registers say. Whether the device answers there is said by the command register:
/// [`BarRegisters::places`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// What has gone: of a BAR of 64 bits, the register of its lower half.
    pub what: BarRegister,
    /// Where it was, in bytes of its address space; `None` for nowhere.
    pub from: Option<u64>,
    /// Where it is now.
    pub to: Option<u64>,
}

/// The seven registers of a device: a state machine without a device behind it.
///
/// An address is always a multiple of the size. The highest one that a register can say is no place: guests write all ones
/// to learn a BAR's size, and what would be there ends where addresses do. Address 0 is a place like any other, since PCI
/// does not exclude it and guests put ports there; on a platform where a BAR at 0 is one that nobody has placed yet, the
/// VMM says so.
///
/// ```
/// use pci_device::Command;
/// use pci_device::bar::{BarRegister, BarRegisters, Bars, Described};
///
/// let mut described: [Described; 6] = Default::default();
/// (described[0].size, described[0].register) = (0x4000, 0b100); // 16 KiB, 64 bits
/// let mut registers = BarRegisters::new(&Bars::new(&described, 0, None)?);
///
/// // A guest asks for the size.
/// let (low, high) = (BarRegister::Bar(0), BarRegister::Bar(1));
/// registers.write(low, !0, !0);
/// registers.write(high, !0, !0);
/// assert_eq!(registers.read(low), 0xffff_c004);
///
/// // It chooses a place: each half that changes it is a change.
/// assert!(registers.write(high, 0x80, !0).is_some());
/// let change = registers.write(low, 0x1234_5678, !0).unwrap();
/// assert_eq!(change.to, Some(0x80_1234_4000));
/// assert_eq!(registers.write(low, 0x1234_4000, !0), None);
///
/// // The device answers there while it decodes memory.
/// assert_eq!(registers.places(Command::MEMORY)[0], Some(0x80_1234_4000));
/// assert_eq!(registers.places(Command::IO)[0], None);
/// # Ok::<(), vfio_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BarRegisters {
    bars: [Register; BARS],
    rom: Register,
    /// What the BARs are.
    kinds: [Option<BarKind>; BARS],
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Register {
    /// What it reads.
    value: u32,
    /// The bits that a write changes.
    writable: u32,
}

impl BarRegisters {
    /// The registers of these BARs, and of the ROM, as they are after a reset: every address is 0. What is not there reads as
    /// 0, whatever is written.
    pub fn new(bars: &Bars) -> Self {
        let mut registers = Self {
            bars: [Register::default(); BARS],
            rom: Register::default(),
            kinds: bars.bars.each_ref().map(|bar| Some(bar.as_ref()?.kind)),
        };
        for (number, bar) in bars.bars.iter().enumerate() {
            let Some(bar) = bar else { continue };
            let (low, high) = halves(bar.kind.address_bits(bar.shape.size));
            let halves = registers.bars.iter_mut().skip(number);
            let values = [(bar.kind.type_bits(), low), (0, high)];
            for (register, (value, writable)) in halves.zip(values) {
                // A BAR of 32 bits has no upper half, and the next register stays another one's.
                if value | writable != 0 {
                    *register = Register { value, writable };
                }
            }
        }
        if bars.rom > 0 {
            let (low, _) = halves(!(bars.rom_size() - 1));
            registers.rom.writable = low | ROM_ENABLE;
        }
        registers
    }

    /// What a register reads.
    pub fn read(&self, register: BarRegister) -> u32 {
        self.register(register).value
    }

    /// Writes those `bits` of a register: all of them for four bytes, `0xff00` for the second byte alone. Answers what has
    /// gone where, if that changed anything.
    pub fn write(&mut self, register: BarRegister, value: u32, bits: u32) -> Option<Change> {
        let what = self.owner(register);
        let from = self.place(what);
        let slot = match register {
            BarRegister::Bar(number) => self.bars.get_mut(usize::from(number))?,
            BarRegister::Rom => &mut self.rom,
        };
        let bits = bits & slot.writable;
        slot.value = slot.value & !bits | value & bits;
        let to = self.place(what);
        (from != to).then_some(Change { what, from, to })
    }

    /// Where everything is that answers while the command register says so: the BARs by their numbers, and the ROM behind
    /// them; in bytes of its address space.
    pub fn places(&self, command: Command) -> [Option<u64>; BARS + 1] {
        let mut places = [None; BARS + 1];
        for (number, (place, kind)) in (0_u8..).zip(places.iter_mut().zip(self.kinds)) {
            let decoded = match kind.is_some_and(BarKind::is_io) {
                true => Command::IO,
                false => Command::MEMORY,
            };
            let answers = command.contains(decoded);
            *place = self.place(BarRegister::Bar(number)).filter(|_| answers);
        }
        let answers = command.contains(Command::MEMORY);
        places[BARS] = self.place(BarRegister::Rom).filter(|_| answers);
        places
    }

    /// What a register belongs to: that of an upper half to the BAR before.
    fn owner(&self, register: BarRegister) -> BarRegister {
        let BarRegister::Bar(number) = register else {
            return register;
        };
        let below = number.checked_sub(1);
        let is_wide = |below: &u8| self.kind(*below).is_some_and(BarKind::has_two_registers);
        below.filter(is_wide).map_or(register, BarRegister::Bar)
    }

    fn kind(&self, number: u8) -> Option<BarKind> {
        self.kinds.get(usize::from(number)).copied().flatten()
    }

    /// One that there is not is all zeros.
    fn register(&self, register: BarRegister) -> Register {
        match register {
            BarRegister::Bar(number) => self.bars.get(usize::from(number)).copied(),
            BarRegister::Rom => Some(self.rom),
        }
        .unwrap_or_default()
    }

    /// Where the registers say that something is.
    fn place(&self, what: BarRegister) -> Option<u64> {
        let low = self.register(what);
        let (value, bits) = match what {
            BarRegister::Rom if low.value & ROM_ENABLE == 0 => return None,
            BarRegister::Rom => (low.value.into(), u64::from(low.writable & !ROM_ENABLE)),
            BarRegister::Bar(number) => {
                let high = match self.kind(number)?.has_two_registers() {
                    true => self.register(BarRegister::Bar(number.saturating_add(1))),
                    false => Register::default(),
                };
                (
                    both(low.value, high.value),
                    both(low.writable, high.writable),
                )
            }
        };
        Some(value & bits).filter(|address| *address != bits)
    }
}

fn both(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

fn halves(value: u64) -> (u32, u32) {
    let low = u32::try_from(value & u64::from(u32::MAX)).unwrap_or(0);
    (low, u32::try_from(value >> 32).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_have_their_offsets() {
        assert_eq!(BarRegister::at(0x10), Some(BarRegister::Bar(0)));
        assert_eq!(BarRegister::at(0x27), Some(BarRegister::Bar(5)));
        assert_eq!(BarRegister::at(0x33), Some(BarRegister::Rom));
        for none in [0x0f, 0x28, 0x2f, 0x34] {
            assert_eq!(BarRegister::at(none), None);
        }
    }
}
