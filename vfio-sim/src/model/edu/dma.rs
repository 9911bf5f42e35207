//! The DMA engine: it moves bytes between memory and a buffer in the device.

use crate::model::Bus;

/// Where the buffer is, among the addresses of the DMA registers; no BAR has it.
pub(super) const BUFFER: u64 = 0x4_0000;
/// The buffer in bytes.
pub(super) const BUFFER_SIZE: usize = 4096;

pub(super) const SOURCE: u64 = 0x80;
pub(super) const DESTINATION: u64 = 0x88;
pub(super) const COUNT: u64 = 0x90;
pub(super) const COMMAND: u64 = 0x98;

pub(super) const RUN: u64 = 1 << 0;
pub(super) const TO_MEMORY: u64 = 1 << 1;
pub(super) const INTERRUPT: u64 = 1 << 2;

/// The engine and its registers.
#[derive(Clone)]
pub(super) struct Engine {
    source: u64,
    destination: u64,
    count: u64,
    command: u64,
    /// The bits of a memory address that the engine has; it drops the others.
    pub(super) mask: u64,
    buffer: Vec<u8>,
}

impl Engine {
    pub(super) fn new() -> Self {
        Self {
            source: 0,
            destination: 0,
            count: 0,
            command: 0,
            mask: u64::MAX,
            buffer: vec![0; BUFFER_SIZE],
        }
    }

    /// A register.
    pub(super) fn read(&self, register: u64) -> Option<u64> {
        Some(match register {
            SOURCE => self.source,
            DESTINATION => self.destination,
            COUNT => self.count,
            COMMAND => self.command,
            _ => return None,
        })
    }

    /// Sets a register; answers whether that ended a transfer which is to be told with an interrupt.
    pub(super) fn write(&mut self, bus: &mut dyn Bus, register: u64, value: u64) -> bool {
        match register {
            SOURCE => self.source = value,
            DESTINATION => self.destination = value,
            COUNT => self.count = value,
            COMMAND if value & RUN != 0 => {
                self.transfer(bus, value & TO_MEMORY != 0);
                self.command = value & !RUN;
                return value & INTERRUPT != 0;
            }
            _ => {}
        }
        false
    }

    /// Moves the bytes. What is not inside the buffer is not moved at all: QEMU would go on outside of it.
    fn transfer(&mut self, bus: &mut dyn Bus, to_memory: bool) {
        let (memory, own) = match to_memory {
            true => (self.destination, self.source),
            false => (self.source, self.destination),
        };
        let memory = memory & self.mask;
        let Some(bytes) = part(&mut self.buffer, own, self.count) else {
            return;
        };
        // Whether it could be done nobody learns: this device has no word for it.
        match to_memory {
            true => bus.write_memory(memory, bytes),
            false => bus.read_memory(memory, bytes),
        };
    }
}

fn part(buffer: &mut [u8], address: u64, count: u64) -> Option<&mut [u8]> {
    let from = usize::try_from(address.checked_sub(BUFFER)?).ok()?;
    let to = from.checked_add(usize::try_from(count).ok()?)?;
    buffer.get_mut(from..to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_inside_the_buffer() {
        let mut buffer = [0; BUFFER_SIZE];
        let mut len = |address, count| part(&mut buffer, address, count).map(|part| part.len());
        assert_eq!(len(BUFFER, 4096), Some(4096));
        assert_eq!(len(BUFFER + 4095, 1), Some(1));
        assert_eq!(len(BUFFER + 4096, 0), Some(0));
        assert_eq!(len(BUFFER, 4097), None);
        assert_eq!(len(BUFFER + 4095, 2), None);
        assert_eq!(len(BUFFER - 1, 1), None);
        assert_eq!(len(BUFFER + 1, u64::MAX), None);
        assert_eq!(len(u64::MAX, u64::MAX), None);
    }
}
