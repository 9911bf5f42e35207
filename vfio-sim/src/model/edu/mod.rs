//! QEMU's `edu`: registers that answer, a DMA engine, and interrupts on request.
//!
//! It has one BAR of 1 MiB. What takes QEMU's device a while (a factorial, a transfer) is done at once here.

mod byte_order;
mod dma;
#[cfg(test)]
mod tests;

use std::fmt;

use super::{Bus, Model};
pub use byte_order::ByteOrder;
use dma::Engine;

/// 0xRRrr00ed: major and minor version.
const ID: u64 = 0x00;
const ID_VALUE: u32 = 0x0100_00ed;
/// Reads back inverted.
const LIVENESS: u64 = 0x04;
/// A number is written, its factorial is read.
const FACTORIAL: u64 = 0x08;
/// Whether a factorial, when it is there, is told with an interrupt.
const STATUS: u64 = 0x20;
const STATUS_INTERRUPT: u32 = 0x80;
/// Which interrupts are asserted.
const IRQ_STATUS: u64 = 0x24;
const IRQ_RAISE: u64 = 0x60;
const IRQ_ACKNOWLEDGE: u64 = 0x64;
/// From here on, registers have 64 bits; before, 32.
const WIDE: u64 = 0x80;

/// What a factorial asserts.
const IRQ_FACTORIAL: u32 = 0x1;
/// What the end of a transfer asserts.
const IRQ_DMA: u32 = 0x100;

/// QEMU's `edu`.
#[derive(Clone)]
pub struct Edu {
    order: ByteOrder,
    liveness: u32,
    factorial: u32,
    status: u32,
    asserted: u32,
    engine: Engine,
}

impl Edu {
    /// The size of BAR 0, the only one, in bytes.
    pub const BAR_SIZE: u64 = 1 << 20;

    /// The device as it is after power came on. QEMU gives it the byte order of the machine's processor family:
    /// big on POWER, under a little-endian kernel too.
    ///
    /// It reaches every address, which QEMU's device does not unless it is told so.
    pub fn new(order: ByteOrder) -> Self {
        Self {
            order,
            liveness: 0,
            factorial: 0,
            status: 0,
            asserted: 0,
            engine: Engine::new(),
        }
    }

    /// The same, with an engine that drops all other bits of a memory address.
    #[must_use]
    pub fn dma_mask(mut self, mask: u64) -> Self {
        self.engine.mask = mask;
        self
    }

    fn register(&self, offset: u64) -> Option<u64> {
        let word = match offset {
            ID => ID_VALUE,
            LIVENESS => self.liveness,
            FACTORIAL => self.factorial,
            STATUS => self.status,
            IRQ_STATUS => self.asserted,
            _ => return self.engine.read(offset),
        };
        Some(word.into())
    }

    fn set_word(&mut self, bus: &mut dyn Bus, offset: u64, word: u32) {
        match offset {
            LIVENESS => self.liveness = !word,
            FACTORIAL => {
                self.factorial = factorial(word);
                if self.status & STATUS_INTERRUPT != 0 {
                    self.raise(bus, IRQ_FACTORIAL);
                }
            }
            STATUS => self.status = word & STATUS_INTERRUPT,
            IRQ_RAISE => self.raise(bus, word),
            IRQ_ACKNOWLEDGE => self.acknowledge(bus, word),
            _ => {}
        }
    }

    fn raise(&mut self, bus: &mut dyn Bus, interrupts: u32) {
        self.asserted |= interrupts;
        if self.asserted == 0 {
            return;
        }
        match bus.sends_messages() {
            true => bus.send_message(0),
            false => bus.set_line(true),
        }
    }

    fn acknowledge(&mut self, bus: &mut dyn Bus, interrupts: u32) {
        self.asserted &= !interrupts;
        if self.asserted == 0 {
            bus.set_line(false);
        }
    }
}

impl Model for Edu {
    fn read(&mut self, _: &mut dyn Bus, bar: u8, offset: u64, bytes: &mut [u8]) {
        if bytes.len() < 4 {
            return bytes.fill(0); // what the bus answers for a device that does not take such accesses
        }
        let value = match takes(bar, offset, bytes.len()) {
            true => self.register(offset),
            false => None,
        };
        match value {
            Some(value) => self.order.encode(value, bytes),
            None => bytes.fill(0xff),
        }
    }

    fn write(&mut self, bus: &mut dyn Bus, bar: u8, offset: u64, bytes: &[u8]) {
        if !takes(bar, offset, bytes.len()) {
            return;
        }
        let value = self.order.decode(bytes);
        if offset >= WIDE {
            if self.engine.write(bus, offset, value) {
                self.raise(bus, IRQ_DMA);
            }
        } else if let Ok(word) = u32::try_from(value) {
            self.set_word(bus, offset, word);
        }
    }

    /// QEMU's device keeps its registers, those with the asserted interrupts too: only the line goes down.
    fn reset(&mut self) {}
}

impl fmt::Debug for Edu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Edu")
            .field("order", &self.order)
            .field("asserted", &self.asserted)
            .finish_non_exhaustive()
    }
}

/// Whether the device takes an access of so many bytes there.
fn takes(bar: u8, offset: u64, len: usize) -> bool {
    bar == 0 && (len == 4 || len == 8 && offset >= WIDE)
}

/// In 32 bits. From 34 on none of them is left, so that no number takes long.
fn factorial(number: u32) -> u32 {
    let mut product: u32 = 1;
    for factor in 1..=number {
        product = product.wrapping_mul(factor);
        if product == 0 {
            break;
        }
    }
    product
}
