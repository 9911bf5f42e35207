//! Config space as VFIO shows it: bytes that are not trusted.

use crate::config::REVISION;

/// The bytes. What is behind their end reads as 0.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Raw<'a>(pub(crate) &'a [u8]);

impl Raw<'_> {
    /// How many there are.
    pub(super) fn len(self) -> usize {
        self.0.len()
    }

    pub(super) fn byte(self, at: u16) -> u8 {
        self.0.get(usize::from(at)).copied().unwrap_or(0)
    }

    pub(crate) fn word(self, at: u16) -> u16 {
        u16::from_le_bytes([self.byte(at), self.byte(at.saturating_add(1))])
    }

    /// Base class, subclass and programming interface, in 24 bits.
    pub(crate) fn class(self) -> u32 {
        self.dword(REVISION) >> 8
    }

    pub(super) fn dword(self, at: u16) -> u32 {
        u32::from(self.word(at)) | u32::from(self.word(at.saturating_add(2))) << 16
    }
}
