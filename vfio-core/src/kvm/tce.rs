//! An entry of a TCE table.

use crate::address::{Access, IovaRange};

/// An entry of a guest's table, as the guest wrote it: a guest address in whole pages, and rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tce(pub u64);

impl Tce {
    /// The device may read.
    const READ: u64 = 1;
    /// The device may write.
    const WRITE: u64 = 2;

    /// One that leads nowhere.
    pub const NONE: Self = Self(0);

    /// One that leads to a page of the guest's, by its address in bytes.
    pub const fn new(guest: u64, access: Access) -> Self {
        let read = if access.reads() { Self::READ } else { 0 };
        let write = if access.writes() { Self::WRITE } else { 0 };
        Self(guest & !(Self::READ | Self::WRITE) | read | write)
    }

    /// What the device may do; `None`: this leads nowhere, whatever its address.
    pub const fn access(self) -> Option<Access> {
        match (self.0 & Self::READ != 0, self.0 & Self::WRITE != 0) {
            (true, true) => Some(Access::ReadWrite),
            (true, false) => Some(Access::Read),
            (false, true) => Some(Access::Write),
            (false, false) => None,
        }
    }

    /// Where it leads: a guest address in bytes.
    pub const fn guest(self) -> u64 {
        self.0 & !(Self::READ | Self::WRITE)
    }

    /// The page of so many bytes that it leads to; `None`: to none.
    pub(super) fn page(self, size: u64) -> Option<IovaRange> {
        self.access()?;
        let first = self.guest();
        let last = first.saturating_add(size.saturating_sub(1));
        IovaRange::inclusive(crate::address::Iova(first), crate::address::Iova(last))
    }
}
