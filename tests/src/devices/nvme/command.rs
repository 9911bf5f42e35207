//! The one command that is used: *Identify*.

use crate::devices::Reachable;

/// What an Identify answers with, in bytes.
pub(super) const IDENTIFY_SIZE: usize = 4096;

/// Identify: the controller.
pub(super) const CONTROLLER: u8 = 0x01;
/// Identify: the numbers of the active namespaces.
pub(super) const ACTIVE_NAMESPACES: u8 = 0x02;

/// An Identify command, but for its id.
#[derive(Debug, Clone, Copy)]
pub(super) struct Identify {
    subject: u8,
    /// Where the data goes, and the page in which it goes on.
    pages: [u64; 2],
}

impl Identify {
    /// The controller is to say about `subject` what it has to say at `at`, a multiple of 4, of `memory`.
    pub(super) fn into(memory: &dyn Reachable, at: usize, page_size: u64, subject: u8) -> Self {
        let first = memory.iova().0 + at as u64;
        let second = match first % page_size {
            0 => 0,
            inside => first - inside + page_size,
        };
        Self {
            subject,
            pages: [first, second],
        }
    }

    /// The command as the controller reads it.
    pub(super) fn encode(self, id: u16) -> [u8; 64] {
        const OPCODE: u8 = 0x06;
        let mut entry = [0; 64];
        let mut put = |at: usize, bytes: &[u8]| {
            for (place, byte) in entry.iter_mut().skip(at).zip(bytes) {
                *place = *byte;
            }
        };
        put(0, &[OPCODE]);
        put(2, &id.to_le_bytes());
        put(24, &self.pages[0].to_le_bytes());
        put(32, &self.pages[1].to_le_bytes());
        put(40, &[self.subject]);
        entry
    }
}
