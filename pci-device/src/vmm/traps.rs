//! Where a guest's accesses come to the VMM.

use std::fmt::Debug;
use std::ops::Range;

use vfio_core::Result;
use vfio_core::host::Bdf;

use crate::bar::BarRegister;

/// Which addresses a range is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Space {
    /// Guest physical addresses.
    Memory,
    /// The I/O ports of x86.
    Ports,
}

/// A BAR, or the ROM, that the guest has placed: accesses to these addresses are the device's.
///
/// All of it is trapped, also what [`MemorySlots`](super::MemorySlots) maps over it: an access that comes all the same
/// (emulated instructions, a hypervisor that refused the mapping) finds the device.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Trap {
    /// The device, as the host names it.
    pub device: Bdf,
    /// What of it: what [`AssignedDevice::read`](crate::AssignedDevice::read) wants to be told, with the offset from the start
    /// of `range`.
    pub bar: BarRegister,
    /// Which addresses.
    pub space: Space,
    /// The addresses, in bytes; for ports their numbers.
    pub range: Range<u64>,
}

/// The VMM's bus: it gives accesses to a range of addresses to whom they belong.
pub trait Traps: Debug + Send + Sync {
    /// From now on these addresses are the device's.
    ///
    /// # Errors
    /// Something else is there, or no such address is. The BAR is then at no place, and is tried again with the next change
    /// and after [`AssignedDevice::address_space_changed`](crate::AssignedDevice::address_space_changed).
    fn add(&self, trap: &Trap) -> Result<()>;

    /// They are no longer. An access that found them before may still come to the device: it is answered as if it had come in
    /// time, or reads ones.
    fn remove(&self, trap: &Trap);

    /// Whether nothing of the guest is at these addresses of memory: no RAM, no device, this one or another. Only where the
    /// answer is yes a BAR that is smaller than a page of the host is mapped, and the rest of its page with it.
    ///
    /// A VMM that says yes calls
    /// [`AssignedDevice::address_space_changed`](crate::AssignedDevice::address_space_changed) when something comes there.
    /// One that does not want to keep count never says so, as it does unless it is implemented.
    fn is_free(&self, range: &Range<u64>) -> bool {
        let _ = range;
        false
    }
}
