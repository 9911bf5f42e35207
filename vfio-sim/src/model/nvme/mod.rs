//! An NVMe controller that knows its admin queue and *Identify*: enough to see it do DMA and raise interrupts.
//! Nothing is on its disk.
//!
//! It has one BAR of 16 KiB. What QEMU's controller answers, it answers, but for what it says of itself.

mod admin;
mod command;
mod identify;
mod queues;
mod registers;
mod ring;
#[cfg(test)]
mod tests;

use super::{Bus, Model};
use queues::Queues;
use registers::Registers;

/// An NVMe controller.
#[derive(Debug, Clone)]
pub struct Nvme {
    serial: String,
    registers: Registers,
    /// The admin queue, while the controller is enabled.
    queues: Option<Queues>,
    /// It gave up: only disabling helps.
    fatal: bool,
}

impl Nvme {
    /// The size of BAR 0, the only one, in bytes.
    pub const BAR_SIZE: u64 = 16 << 10;
    /// Where BAR 0 has the table of MSI-X, which the model never sees an access to.
    pub const MSIX_TABLE: u64 = 0x2000;
    /// Where BAR 0 has the pending bits of MSI-X, likewise.
    pub const MSIX_PENDING: u64 = 0x3000;
    /// How many vectors MSI-X has. The controller sends the first.
    pub const MSIX_VECTORS: u16 = 65;

    /// A controller that is not enabled. The first 20 bytes of `serial` are in what Identify answers.
    pub fn new(serial: &str) -> Self {
        Self {
            serial: serial.into(),
            registers: Registers::default(),
            queues: None,
            fatal: false,
        }
    }

    /// The same, as QEMU had it before version 10: it can be enabled for its administrator alone.
    #[must_use]
    pub fn for_administrators(mut self) -> Self {
        self.registers.administrator = true;
        self
    }

    fn status(&self) -> u32 {
        const READY: u32 = 1 << 0;
        const FATAL: u32 = 1 << 1;
        const SHUT_DOWN: u32 = 2 << 2;

        let state = match (self.fatal, &self.queues) {
            (true, _) => FATAL,
            (false, Some(_)) => READY,
            (false, None) => 0,
        };
        match self.registers.is_shut_down() {
            true => state | SHUT_DOWN,
            false => state,
        }
    }

    fn read_word(&self, offset: u64) -> u32 {
        match offset {
            registers::STATUS => self.status(),
            _ => self.registers.read(offset),
        }
    }

    fn write_word(&mut self, bus: &mut dyn Bus, offset: u64, word: u32) {
        match offset {
            registers::CONFIGURATION => self.configure(bus, word),
            registers::SUBMITTED => {
                if let Some(queues) = &mut self.queues {
                    queues.submitted(word & 0xffff);
                }
                self.run(bus);
            }
            registers::TAKEN => {
                if let Some(queues) = &mut self.queues {
                    queues.taken(word & 0xffff);
                }
                self.run(bus);
            }
            _ => self.registers.write(offset, word),
        }
        self.drive_line(bus);
    }

    fn configure(&mut self, bus: &mut dyn Bus, word: u32) {
        let was_enabled = self.registers.is_enabled();
        self.registers.configuration = word;
        match (was_enabled, self.registers.is_enabled()) {
            (false, true) => {
                self.queues = Queues::new(&self.registers, bus.sends_messages());
                self.fatal = self.queues.is_none();
            }
            (true, false) => {
                self.registers.disable();
                self.queues = None;
                self.fatal = false;
            }
            _ => {}
        }
    }

    fn run(&mut self, bus: &mut dyn Bus) {
        if self.fatal {
            return;
        }
        if let Some(queues) = &mut self.queues {
            self.fatal = queues.run(bus, &self.serial).is_err();
        }
    }

    fn drive_line(&self, bus: &mut dyn Bus) {
        let asserts = self.queues.as_ref().is_some_and(Queues::asserts);
        let masked = self.registers.masked & 1 != 0;
        let asserted = asserts && !masked && !bus.sends_messages();
        bus.set_line(asserted);
    }
}

impl Model for Nvme {
    /// Registers can be read by any part; where there are none, they are zero.
    fn read(&mut self, _: &mut dyn Bus, bar: u8, offset: u64, bytes: &mut [u8]) {
        if bar != 0 {
            bytes.fill(0xff);
            return;
        }
        for (place, byte) in bytes.iter_mut().enumerate() {
            let offset = offset.wrapping_add(place as u64);
            let word = self.read_word(offset & !3);
            *byte = (word >> (8 * (offset & 3))).to_le_bytes()[0];
        }
    }

    /// Registers are written by 32 bits, or several times as many; other writes are dropped.
    fn write(&mut self, bus: &mut dyn Bus, bar: u8, offset: u64, bytes: &[u8]) {
        if bar != 0 || offset % 4 != 0 || bytes.len() % 4 != 0 {
            return;
        }
        let mut offset = offset;
        for word in bytes.chunks_exact(4) {
            let word = word
                .iter()
                .rev()
                .fold(0, |word, byte| word << 8 | u32::from(*byte));
            self.write_word(bus, offset, word);
            offset = offset.wrapping_add(4);
        }
    }

    fn reset(&mut self) {
        self.registers.disable();
        self.queues = None;
        self.fatal = false;
    }
}
