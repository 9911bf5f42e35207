//! What a VMM gives to the devices that it assigns: small traits, one for each thing, and what comes with the crate to
//! implement them.
//!
//! Everything here is called from the thread of the vCPU whose access it is about, most of it while the device's config space
//! is locked: what an implementation does is done before the guest's write returns. It must not call the device that calls
//! it; and who calls a device must not hold a lock that an implementation takes: a bus finds whom an address belongs to, gives
//! its lock back, and then calls the device.

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
