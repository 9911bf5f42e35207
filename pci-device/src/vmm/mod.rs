//! What a VMM gives to the devices that it assigns: small traits, one for each thing, and what comes with the crate to
//! implement them.
//!
//! Everything here is called while the device's config space is locked, from the thread of the vCPU that wrote it: what
//! an implementation does is done before the guest's write returns. It must not call the device that calls it.

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
