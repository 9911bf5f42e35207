//! A page of a guest's memory, for a device that is to read or write it.

use vfio_core::Result;
use vfio_core::address::Iova;

use crate::devices::Reachable;
use crate::guest::Ram;

/// A page of memory, and where a device is told to look for it.
pub(in crate::suites) struct View<'a> {
    pub(in crate::suites) ram: &'a Ram,
    /// Where it is in the memory, in bytes.
    pub(in crate::suites) offset: usize,
    pub(in crate::suites) len: usize,
    pub(in crate::suites) iova: Iova,
}

impl Reachable for View<'_> {
    fn iova(&self) -> Iova {
        self.iova
    }

    fn len(&self) -> usize {
        self.len
    }

    fn copy_to(&self, offset: usize, bytes: &mut [u8]) -> Result<()> {
        self.ram.read(self.offset + offset, bytes)
    }

    fn copy_from(&self, offset: usize, bytes: &[u8]) -> Result<()> {
        self.ram.write(self.offset + offset, bytes)
    }
}
