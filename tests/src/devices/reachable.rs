//! Memory that a device is told to reach.

use vfio_core::Result;
use vfio_core::address::Iova;
use vfio_core::iommu::DmaBuffer;

/// Memory of this process, and where a device finds it.
#[allow(clippy::len_without_is_empty)] // it is never empty
pub trait Reachable {
    /// Where the device finds it.
    fn iova(&self) -> Iova;

    /// Its size in bytes.
    fn len(&self) -> usize;

    /// Copies bytes out, from `offset` on.
    ///
    /// # Errors
    /// They are not inside.
    fn copy_to(&self, offset: usize, bytes: &mut [u8]) -> Result<()>;

    /// Copies bytes in, from `offset` on.
    ///
    /// # Errors
    /// They are not inside.
    fn copy_from(&self, offset: usize, bytes: &[u8]) -> Result<()>;
}

impl Reachable for DmaBuffer {
    fn iova(&self) -> Iova {
        self.iova()
    }

    fn len(&self) -> usize {
        self.len()
    }

    fn copy_to(&self, offset: usize, bytes: &mut [u8]) -> Result<()> {
        self.copy_to(offset, bytes)
    }

    fn copy_from(&self, offset: usize, bytes: &[u8]) -> Result<()> {
        self.copy_from(offset, bytes)
    }
}
