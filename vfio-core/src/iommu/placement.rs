//! Where a buffer's addresses are wanted.

use crate::address::{DmaMask, Iova};

/// At which addresses a device is to find a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// Anywhere that a device with this mask can reach. It may create a window.
    Anywhere(DmaMask),
    /// From this very address on, which the caller knows the device to reach. It creates no window.
    At(Iova),
    /// Where the memory is in this process, so that device and program use the same addresses, if a device with
    /// this mask can reach those and the IOMMU can map them; otherwise [anywhere](Self::Anywhere).
    /// [`DmaBuffer::iova`](super::DmaBuffer::iova) tells which it was.
    SameAsMemory(DmaMask),
}

impl From<DmaMask> for Placement {
    fn from(mask: DmaMask) -> Self {
        Self::Anywhere(mask)
    }
}

impl From<Iova> for Placement {
    fn from(start: Iova) -> Self {
        Self::At(start)
    }
}
