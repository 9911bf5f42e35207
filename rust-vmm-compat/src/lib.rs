//! `vfio-core` for programs that are made of the crates of rust-vmm.
//!
//! [`GuestRam`] keeps what devices reach in step with the guest memory of `vm-memory` (0.18). Hand in what the guest
//! has from now on: what came is mapped, what went is unmapped, what stayed is not touched.
//!
//! ```
//! use std::sync::Arc;
//!
//! use rust_vmm_compat::GuestRam;
//! use vfio_core::{Device, Result, guest::AddressSpace};
//! use vm_memory::{GuestMemoryMmap, GuestRegionMmap};
//!
//! /// A device that reaches all of the memory.
//! fn assign(device: &Device, memory: &GuestMemoryMmap) -> Result<GuestRam> {
//!     let space = Arc::new(AddressSpace::new());
//!     let _ = space.follow(device.domain())?;
//!     let mut ram = GuestRam::new(space);
//!     let _ = ram.update(memory)?;
//!     Ok(ram)
//! }
//!
//! /// More memory, which devices reach before the guest knows of it.
//! fn plug(
//!     ram: &mut GuestRam,
//!     memory: &mut GuestMemoryMmap,
//!     dimm: Arc<GuestRegionMmap>,
//! ) -> std::result::Result<(), Box<dyn std::error::Error>> {
//!     let larger = memory.insert_region(dimm)?;
//!     let _ = ram.update(&larger)?; // if this fails, devices reach what `memory` has
//!     *memory = larger;
//!     Ok(())
//! }
//! ```
//!
//! # What is kept
//!
//! Each region is a [`Section`](vfio_core::guest::Section) of its own, so that it can go alone. Its memory stays mapped
//! in this process until no device can reach it, whoever has dropped the region by then. All else that
//! [`vfio_core::guest`] promises of a change holds for an update, which is one.
//!
//! # What it does not do
//!
//! It has no other dependency on rust-vmm by default. The feature `vfio-ioctls` adds `DomainOps`, through which code
//! that maps by `vfio_ioctls::VfioOps` (0.10) maps for a [`Domain`](vfio_core::iommu::Domain) of any backend. Such code
//! cannot open a `vfio_ioctls::VfioDevice` over it: that one takes a container of its own crate alone. Open a
//! [`Device`](vfio_core::Device) instead.
//!
//! What devices write is not marked in the dirty bitmap of a region. Memory is not populated before it is mapped, nor
//! kept out of child processes. Memory of Xen that is mapped only while it is accessed is refused.

#[cfg(feature = "vfio-ioctls")]
mod domain_ops;
mod guest_ram;

#[cfg(feature = "vfio-ioctls")]
pub use domain_ops::DomainOps;
pub use guest_ram::GuestRam;
