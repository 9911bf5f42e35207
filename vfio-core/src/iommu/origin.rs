//! Why something is mapped: what a guest has said to its own IOMMU.

use crate::address::{Access, Iova, IovaRange};

/// Where the memory of a mapping is in the guest, and what the guest lets devices do there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) guest: Iova,
    pub(crate) access: Access,
}

impl Origin {
    /// The guest's addresses of a mapping of that size.
    pub(crate) fn range(&self, size: u64) -> Option<IovaRange> {
        IovaRange::new(self.guest, size)
    }

    /// That of a part of a mapping.
    pub(crate) fn of_part(self, mapping: IovaRange, part: IovaRange) -> Self {
        let before = part.first().0.saturating_sub(mapping.first().0);
        Self {
            guest: Iova(self.guest.0.saturating_add(before)),
            ..self
        }
    }
}
