//! What a guest on POWER sees of DMA: the windows of its host bridge, their TCEs, and the calls that change them.
//!
//! An emulator has a [`Bridge`] for each host bridge (PHB) that it shows. The guest's hypercalls go to
//! [`put`](Bridge::put), [`put_list`](Bridge::put_list), [`stuff`](Bridge::stuff) and [`get`](Bridge::get), its calls of
//! the firmware about windows to [`query`](Bridge::query), [`create`](Bridge::create), [`remove`](Bridge::remove) and
//! [`reset`](Bridge::reset). Devices whose [`Domain`](vfio_core::iommu::Domain) [follows](Bridge::follow) reach what the
//! guest's TCEs lead to; there may be several of those, or none.
//!
//! The semantics are those of the platform's specification (LoPAR, "TCE hcalls" and "Dynamic DMA Windows"), and where
//! that leaves something open those of Linux's KVM (`arch/powerpc/kvm/book3s_64_vio.c`), so that a guest sees no
//! difference whether the kernel answers it or the emulator.

mod bridge;
pub mod eeh;
mod hcalls;
mod kvm;
mod refused;
mod table;
mod windows;

pub use bridge::{Bridge, DefaultWindow, DynamicWindows};
pub use refused::Refused;
pub use windows::{Available, Created};
