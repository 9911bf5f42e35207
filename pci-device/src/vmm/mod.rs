//! What a VMM gives to the devices that it assigns: small traits, one for each thing, and what comes with the crate to
//! implement them.
//!
//! What is here is called by the thread that calls the device: of the vCPU whose access it is about, or of the VMM that resets
//! or drops the device. What an implementation does is done before the guest's write returns.
//!
//! | what | is called while |
//! |---|---|
//! | [`Traps`], [`MemorySlots`], [`Interrupts`] but for entries | the device's config space is locked |
//! | [`Interrupts::vector`], [`Interrupts::pending`] | an access is in the BAR with the table: who moves that BAR waits |
//! | [`Observer`] | any of these, or nothing |
//!
//! So an implementation must call nothing of the device that calls it; of others, only
//! [`address_space_changed`](crate::AssignedDevice::address_space_changed). And who calls a device, or drops its last handle,
//! must not hold a lock that an implementation takes: a bus finds whom an address belongs to, gives its lock back, and then calls
//! the device.

mod interrupts;
mod io_space;
mod kvm;
mod observer;
mod peers;
mod recorder;
mod slots;
mod traps;

pub use interrupts::{Interrupts, MsixEntry, Undelivered};
pub use io_space::IoSpace;
pub use kvm::KvmSlots;
pub use observer::{Event, Log, Observer};
pub use peers::PeerSections;
pub use recorder::{Call, Recorder};
pub use slots::{MappedSlice, MemorySlots};
pub use traps::{Space, Trap, Traps};
