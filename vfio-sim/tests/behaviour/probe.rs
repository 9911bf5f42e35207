//! A device that does what its registers are told: DMA, messages, its line.

use vfio_sim::machine::{Bar, Device, Interrupts, MakeModel, Msix};
use vfio_sim::model::{Bus, Model};

pub(crate) const NAME: &str = "0000:00:04.0";

/// An address of memory.
pub(crate) const IOVA: u64 = 0x00;
/// A number of bytes.
pub(crate) const LEN: u64 = 0x08;
/// 1 reads memory into the buffer, 2 writes it there.
pub(crate) const RUN: u64 = 0x10;
/// Whether all of the last transfer was done.
pub(crate) const DONE: u64 = 0x18;
/// 1 asserts the line, 0 no longer.
pub(crate) const LINE: u64 = 0x20;
/// Sends the message of that vector.
pub(crate) const SEND: u64 = 0x28;
/// Keeps what is written, until a reset.
pub(crate) const KEEP: u64 = 0x30;
/// Where the buffer is.
pub(crate) const BUFFER: u64 = 0x1000;
pub(crate) const BUFFER_SIZE: usize = 0x3000;
/// Where the MSI-X table is.
pub(crate) const TABLE: u64 = 0x8000;
/// Where the pending bits are, which read as zeros.
pub(crate) const PENDING: u64 = 0x9000;

pub(crate) fn device(bdf: &str) -> Device {
    Device {
        bars: [
            Some(Bar::registers(64 << 10)),
            Some(Bar::io(0x20)),
            Some(Bar::memory(64 << 10)),
            None,
            Some(Bar::registers(0x100)),
            None,
        ],
        rom: 4 << 10,
        interrupts: Interrupts {
            line: true,
            msi: 4,
            msix: Some(Msix {
                vectors: 8,
                bar: 0,
                table: 0x8000,
                pending: 0x9000,
            }),
        },
        model: MakeModel(|| Box::new(Probe::default())),
        ..Device::bare(bdf, 0x1af4, 0x10f0, 0x05_0000)
    }
}

#[derive(Debug)]
struct Probe {
    words: [u64; 7],
    buffer: Vec<u8>,
}

impl Default for Probe {
    fn default() -> Self {
        Self {
            words: [0; 7],
            buffer: vec![0; BUFFER_SIZE],
        }
    }
}

impl Model for Probe {
    fn read(&mut self, _: &mut dyn Bus, bar: u8, offset: u64, bytes: &mut [u8]) {
        bytes.fill(0);
        if let (0, Some(at)) = (bar, offset.checked_sub(BUFFER)) {
            let at = usize::try_from(at).unwrap();
            if let Some(from) = self.buffer.get(at..at + bytes.len()) {
                bytes.copy_from_slice(from);
            }
            return;
        }
        let word = self.words.get(usize::try_from(offset / 8).unwrap());
        if let (0, Some(word)) = (bar, word) {
            bytes.copy_from_slice(&word.to_le_bytes()[..bytes.len()]);
        }
    }

    fn write(&mut self, bus: &mut dyn Bus, bar: u8, offset: u64, bytes: &[u8]) {
        if bar != 0 {
            return;
        }
        if let Some(at) = offset.checked_sub(BUFFER) {
            let at = usize::try_from(at).unwrap();
            if let Some(to) = self.buffer.get_mut(at..at + bytes.len()) {
                to.copy_from_slice(bytes);
            }
            return;
        }
        let mut whole = [0; 8];
        whole[..bytes.len()].copy_from_slice(bytes);
        let value = u64::from_le_bytes(whole);
        if let Some(word) = self.words.get_mut(usize::try_from(offset / 8).unwrap()) {
            *word = value;
        }
        let [iova, len, ..] = self.words;
        let part = &mut self.buffer[..usize::try_from(len).unwrap().min(BUFFER_SIZE)];
        match (offset, value) {
            (RUN, 1) => self.words[3] = bus.read_memory(iova, part).into(),
            (RUN, 2) => self.words[3] = bus.write_memory(iova, part).into(),
            (LINE, _) => bus.set_line(value != 0),
            (SEND, _) => bus.send_message(u32::try_from(value).unwrap()),
            _ => {}
        }
    }

    fn reset(&mut self) {
        *self = Self::default();
    }
}
