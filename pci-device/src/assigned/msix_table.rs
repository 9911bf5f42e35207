//! The MSI-X table that a guest sees.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::vmm::{Interrupts, MsixEntry};

/// Bytes that a vector takes.
const ENTRY: usize = 16;
/// In the last four of them: the vector is held back.
const MASKED: u32 = 1 << 0;
/// Pending bits come in so many bytes at once.
const WORD: usize = 8;

/// The table, and the pending bits, of a guest: the VMM's, since the hardware's says where messages go on the host.
#[derive(Debug)]
pub(super) struct MsixTable {
    bytes: Mutex<Vec<u8>>,
    interrupts: Arc<dyn Interrupts>,
}

impl MsixTable {
    /// One of so many vectors, as it is after a reset: each is masked.
    pub(super) fn new(vectors: u16, interrupts: Arc<dyn Interrupts>) -> Self {
        Self {
            bytes: Mutex::new(after_reset(vectors.into())),
            interrupts,
        }
    }

    /// Reads bytes of the table.
    pub(super) fn read(&self, offset: usize, bytes: &mut [u8]) {
        let table = self.bytes();
        for (at, byte) in (offset..).zip(bytes) {
            *byte = table.get(at).copied().unwrap_or(0xff);
        }
    }

    /// Writes bytes of the table. Whoever delivers is told of each entry that has changed.
    pub(super) fn write(&self, offset: usize, bytes: &[u8]) {
        let mut table = self.bytes();
        let first = offset / ENTRY;
        let last = (offset + bytes.len().saturating_sub(1)) / ENTRY;
        let old: Vec<_> = (first..=last).map(|it| entry(&table, it)).collect();
        for (at, byte) in (offset..).zip(bytes) {
            if let Some(slot) = table.get_mut(at) {
                *slot = byte & writable(at % ENTRY);
            }
        }
        for (vector, old) in (first..=last).zip(old) {
            self.tell_change(vector, old, entry(&table, vector));
        }
    }

    /// Reads bytes of the pending bits.
    pub(super) fn read_pending(&self, offset: usize, bytes: &mut [u8]) {
        let mut word = (usize::MAX, [0; WORD]);
        for (at, byte) in (offset..).zip(bytes) {
            if word.0 != at / WORD {
                word = (at / WORD, self.interrupts.pending(at / WORD).to_le_bytes());
            }
            *byte = word.1.get(at % WORD).copied().unwrap_or(0);
        }
    }

    /// As after a reset.
    pub(super) fn reset(&self) {
        let mut table = self.bytes();
        let fresh = after_reset(table.len() / ENTRY);
        let old = std::mem::replace(&mut *table, fresh);
        for vector in 0..table.len() / ENTRY {
            self.tell_change(vector, entry(&old, vector), entry(&table, vector));
        }
    }

    fn tell_change(&self, vector: usize, old: Option<MsixEntry>, new: Option<MsixEntry>) {
        let number = u16::try_from(vector).ok();
        if let (true, Some(new), Some(number)) = (old != new, new, number) {
            self.interrupts.vector(number, new);
        }
    }

    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn after_reset(vectors: usize) -> Vec<u8> {
    let mut entry = [0; ENTRY];
    entry[12..].copy_from_slice(&MASKED.to_le_bytes());
    entry.repeat(vectors)
}

/// The bits of a byte of an entry that can be written: of the last four bytes, the mask alone.
fn writable(at: usize) -> u8 {
    match at {
        0 => !0b11, // messages are aligned to four bytes
        1..12 => 0xff,
        12 => 1,
        _ => 0,
    }
}

fn entry(table: &[u8], vector: usize) -> Option<MsixEntry> {
    let bytes = table.get(vector * ENTRY..)?.first_chunk::<ENTRY>()?;
    let bits = u128::from_le_bytes(*bytes);
    let low = |bits: u128| u32::try_from(bits & u128::from(u32::MAX)).unwrap_or(0);
    Some(MsixEntry {
        address: u64::from(low(bits)) | u64::from(low(bits >> 32)) << 32,
        data: low(bits >> 64),
        masked: low(bits >> 96) & MASKED != 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vmm::{Call, Recorder};

    fn table() -> (MsixTable, Arc<Recorder>) {
        let recorder = Arc::new(Recorder::default());
        (MsixTable::new(65, recorder.clone()), recorder)
    }

    #[test]
    fn an_entry_is_told_once_when_it_changes() {
        let (table, recorder) = table();
        table.write(16 * 64, &0xfee0_1003_u32.to_le_bytes());
        table.write(16 * 64 + 8, &[0x31]);
        table.write(16 * 64 + 8, &[0x31]);
        table.write(16 * 64 + 12, &[0, 0xff, 0xff, 0xff]);
        let entry = MsixEntry {
            address: 0xfee0_1000,
            data: 0x31,
            masked: false,
        };
        let told = recorder.take();
        assert_eq!(told.len(), 3);
        assert_eq!(told[2], Call::Vector(64, entry));
        let mut read = [0; 16];
        table.read(16 * 64, &mut read);
        assert_eq!(
            read,
            [0, 0x10, 0xe0, 0xfe, 0, 0, 0, 0, 0x31, 0, 0, 0, 0, 0, 0, 0]
        );
        table.reset();
        assert_eq!(recorder.take().len(), 1);
    }

    #[test]
    fn a_write_may_reach_two_entries_and_the_end() {
        let (table, recorder) = table();
        table.write(12, &[0, 0, 0, 0, 4, 0, 0, 0]);
        assert_eq!(recorder.take().len(), 2);
        table.write(65 * 16 - 4, &[0; 8]);
        table.write(usize::MAX / 2, &[0; 8]);
        assert_eq!(recorder.take().len(), 1);
        let mut read = [0; 8];
        table.read(65 * 16 - 4, &mut read);
        assert_eq!(read, [0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
        table.read_pending(4, &mut read);
        assert_eq!(read, [0; 8]);
    }
}
