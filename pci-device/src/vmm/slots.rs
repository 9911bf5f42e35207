//! Parts of BARs that a guest reaches without the VMM.

use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

use vfio_core::Result;
use vfio_core::device::RegionMap;
use vfio_core::host::Bdf;

/// A part of a BAR that is mapped in this process, and where the guest is to see it: whole pages of the host.
#[derive(Debug, Clone)]
pub struct MappedSlice {
    /// The device, as the host names it.
    pub device: Bdf,
    /// The BAR, 0 to 5.
    pub bar: u8,
    /// The guest physical addresses, in bytes.
    pub guest: Range<u64>,
    /// The mapping, all of it: [`RegionMap::host_range`] has as many bytes as `guest`. Whoever gives its address to others
    /// keeps it as long as they have that.
    pub memory: Arc<RegionMap>,
}

/// The same mapping at the same place.
impl PartialEq for MappedSlice {
    fn eq(&self, other: &Self) -> bool {
        self.guest == other.guest && Arc::ptr_eq(&self.memory, &other.memory)
    }
}

impl Eq for MappedSlice {}

/// Who lets the guest, or its other devices, reach a mapped slice: the hypervisor's memory slots, and the sections of an
/// address space that an IOMMU follows ([`PeerSections`](super::PeerSections)).
pub trait MemorySlots: Debug + Send + Sync {
    /// From now on the slice is at its place.
    ///
    /// # Errors
    /// It could not be put there. That is no failure of the device, whose BAR stays trapped there; it is tried again with the
    /// next change.
    fn insert(&self, slice: &MappedSlice) -> Result<()>;

    /// It is no longer there. Nobody reaches the mapping there when this returns.
    ///
    /// # Errors
    /// It is still there. It is tried again with the next change; until then nothing else is put there.
    fn remove(&self, slice: &MappedSlice) -> Result<()>;
}
