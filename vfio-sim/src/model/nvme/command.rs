//! A command, and what became of it, as they are in memory.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// An entry of the admin submission queue.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Command {
    pub(super) opcode: u8,
    pub(super) flags: u8,
    pub(super) id: U16,
    pub(super) namespace: U32,
    reserved: [u8; 8],
    metadata: U64,
    /// Where the data goes, and the page in which it goes on.
    pub(super) pages: [U64; 2],
    /// For Identify: about what.
    pub(super) subject: u8,
    arguments: [u8; 23],
}

impl Command {
    /// The opcode of Identify.
    pub(super) const IDENTIFY: u8 = 0x06;
    /// The opcode of Delete I/O Submission Queue.
    pub(super) const DELETE_QUEUE: u8 = 0x00;

    /// Whether it is one of two that are fused, or has a scatter gather list: neither is for administrators.
    pub(super) fn is_special(&self) -> bool {
        self.flags & 0b1100_0011 != 0
    }
}

/// An entry of the admin completion queue.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Completion {
    result: [U32; 2],
    /// How far the submission queue was read.
    submission_head: U16,
    submission_queue: U16,
    pub(super) id: U16,
    /// The phase in bit 0, the status above.
    pub(super) status: U16,
}

impl Completion {
    pub(super) fn new(id: U16, status: Status, submission_head: u32, phase: bool) -> Self {
        let [a, b, ..] = submission_head.to_le_bytes(); // at most 4095
        Self {
            result: [U32::ZERO; 2],
            submission_head: U16::from_bytes([a, b]),
            submission_queue: U16::ZERO,
            id,
            status: U16::new(status.0 << 1 | u16::from(phase)),
        }
    }
}

/// What became of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Status(pub(super) u16);

impl Status {
    /// It would fail again.
    const DO_NOT_RETRY: u16 = 1 << 14;

    pub(super) const SUCCESS: Self = Self(0);
    pub(super) const INVALID_OPCODE: Self = Self(0x01 | Self::DO_NOT_RETRY);
    pub(super) const INVALID_FIELD: Self = Self(0x02 | Self::DO_NOT_RETRY);
    /// There is no such queue.
    pub(super) const INVALID_QUEUE: Self = Self(0x101 | Self::DO_NOT_RETRY);
    pub(super) const INVALID_NAMESPACE: Self = Self(0x0b | Self::DO_NOT_RETRY);
    /// The second page does not begin where a page begins.
    pub(super) const INVALID_OFFSET: Self = Self(0x13 | Self::DO_NOT_RETRY);
}

const _: () = assert!(size_of::<Command>() == 64 && size_of::<Completion>() == 16);
