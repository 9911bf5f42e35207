//! DMA that did not arrive.

use std::fmt;

/// An access of a device that did not reach memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The device.
    pub bdf: String,
    /// The first address that could not be reached.
    pub iova: u64,
    /// Whether it was to write.
    pub write: bool,
    /// Why.
    pub why: Why,
}

/// Why an access of a device did not reach memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The device is no bus master.
    NotMaster,
    /// Nothing is mapped there, or not with that right.
    Blocked,
    /// The device's isolation unit is frozen, or in a reset.
    Frozen,
    /// Something is mapped there, and the process has unmapped the memory below it: on a real kernel the device
    /// would have reached pages that nobody sees any more. This is a bug of whoever mapped it.
    Stale,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.write { "write" } else { "read" };
        let why = match self.why {
            Why::NotMaster => "it is no bus master",
            Why::Blocked => "the IOMMU does not map it so",
            Why::Frozen => "its isolation unit is frozen",
            Why::Stale => "the memory has gone, and is mapped still",
        };
        write!(f, "{} could not {what} {:#x}: {why}", self.bdf, self.iova)
    }
}
