//! What a device reads and writes: through the IOMMU, into the memory of this process.

use crate::world::World;

/// The IOMMU, or the memory behind it, stopped an access of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault;

impl World {
    /// A device of that group reads `bytes` at `iova`.
    pub(crate) fn dma_read(&self, group: u32, iova: u64, bytes: &mut [u8]) -> Result<(), Fault> {
        let _ = (group, iova, bytes);
        Err(Fault)
    }

    /// A device of that group writes `bytes` at `iova`.
    pub(crate) fn dma_write(&self, group: u32, iova: u64, bytes: &[u8]) -> Result<(), Fault> {
        let _ = (group, iova, bytes);
        Err(Fault)
    }
}
