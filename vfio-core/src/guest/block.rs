//! Memory of this process that guests have.
#![allow(unsafe_code)] // The one promise about memory on which everything above it is safe.

use std::any::Any;
use std::fmt;

use crate::address::HostRange;
use crate::device::RegionMap;
use crate::sync::Arc;

/// A block of RAM: memory of this process that is allocated, and freed, as one. Sections are parts of it.
///
/// It is a handle: clones are of one block, which is freed with the last of them. An address space holds one as long as a
/// device may reach the memory; if that cannot be ended, it is never freed.
#[derive(Clone)]
pub struct Block(Arc<Inner>);

struct Inner {
    range: HostRange,
    _owner: Box<dyn Any + Send + Sync>,
}

impl Block {
    /// The memory `range`, which `owner` keeps: it is dropped when no device can reach the memory any more.
    ///
    /// # Safety
    /// As long as `owner` has not been dropped, the memory stays mapped in this process, at these addresses, and no reference
    /// to it exists that a device that reads or writes at any time would invalidate. As long as a device may reach it, it is
    /// of the same pages ([`AddressSpace::discard`](super::AddressSpace::discard)).
    pub unsafe fn new(range: HostRange, owner: impl Any + Send + Sync) -> Self {
        Self(Arc::new(Inner {
            range,
            _owner: Box::new(owner),
        }))
    }

    /// A mapped part of a device, whole pages of it, which it keeps mapped: for [`Section::peer`](super::Section::peer).
    /// `None` for registers of a simulated device, which are nowhere.
    pub fn of_device(map: &std::sync::Arc<RegionMap>) -> Option<Self> {
        let range = map.host_range()?;
        // SAFETY: the pages are mapped as long as the owner holds the mapping, always of the same registers, and nobody makes
        // references of them.
        Some(unsafe { Self::new(range, std::sync::Arc::clone(map)) })
    }

    /// Where it is in this process.
    pub fn range(&self) -> HostRange {
        self.0.range
    }
}

/// The same block.
impl PartialEq for Block {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Block {}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Block").field(&self.0.range).finish()
    }
}
