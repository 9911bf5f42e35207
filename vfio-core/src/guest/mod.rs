//! Guest memory: what a guest sees at its addresses, and devices with it.
//!
//! A virtual machine monitor describes it in an [`AddressSpace`], of [`Section`]s, and changes it by [`Edit`]s. Every
//! [`Domain`](crate::iommu::Domain) that follows the space maps what devices are to reach: RAM, ROM so that it is only
//! read, other devices' memory where the kernel can. Whoever has a memory model of their own needs none of this:
//! [`Domain::map`](crate::iommu::Domain::map) is complete.
//!
//! ```
//! use vfio_core::guest::{AddressSpace, Block, Section};
//! use vfio_core::{Device, Result, address::{Iova, IovaRange}};
//!
//! fn give(space: &AddressSpace, device: &Device, ram: &Block) -> Result<()> {
//!     let size = ram.range().len() as u64;
//!     let everywhere = IovaRange::inclusive(Iova(0), Iova(u64::MAX)).unwrap();
//!     let _ = space.follow(device.domain())?;
//!     let place = space.place(size, 1 << 21, everywhere)?;
//!     let committed = space.edit().insert(Section::ram(place, ram, 0)?).commit()?;
//!     assert!(committed.interrupted.is_empty());
//!     Ok(())
//! }
//! ```
//!
//! # When sections are one mapping
//!
//! A section has mappings of its own, so that it can go alone: an unmap may not cut a mapping. Sections that the caller
//! says [leave together](Section::leaving_with), that come in one edit and follow each other both in the guest and in the
//! host, with the same rights, are one mapping. A section that grows gets another mapping for what is new.
//!
//! # What devices see of a change
//!
//! Nothing is asked of the kernel before the [commit](Edit::commit), and not before everything that can be checked was
//! checked, for every domain. What comes is mapped first, what goes is unmapped last, and what is in both states stays
//! mapped. There is one exception, of IOMMUs that cannot cut mappings or change their rights: where a part of a mapping
//! goes, or changes its rights or its memory, the mapping is unmapped as a whole, and what stays of it is mapped again.
//! [`Committed::interrupted`] names what was not reached for that moment.
//!
//! # What is undone
//!
//! A call that fails undoes those before it, in every domain: the error then says that nothing has changed. Where undoing
//! fails too, its kind is [`Torn`](crate::ErrorKind::Torn): [`AddressSpace::torn`] names what is missing and what may be
//! left, whose memory is not freed, and no other change is made before [`AddressSpace::repair`] has succeeded.
//!
//! # What is done before memory is mapped
//!
//! The kernel pins what it maps page by page. Memory that is not there yet is made present first, by several threads, and
//! what is there already is left alone: [`Population`] says how, and tells the caller how far it is. A kernel that cannot
//! do it maps as fast as it can.
//!
//! What would be locked is compared with `RLIMIT_MEMLOCK`, together with what this process has locked: a change that would
//! go beyond is refused before it is begun, and the error names the limit that is enough. If it is not certain that the
//! kernel counts the memory (that of a device, or memory that is only read), the kernel is asked.
//!
//! # A guest's own IOMMU, and memory that comes and goes
//!
//! Devices behind an IOMMU of the guest reach what the guest maps there: a [`GuestIommu`] follows the same memory, and is
//! told by whoever emulates it. Of a [`SparseRam`] only some blocks are there. While any device may reach guest memory, none
//! of it is given back to the host: a balloon asks [`AddressSpace::discard`].
//!
//! # What a monitor must promise
//!
//! That the memory of a [`Block`] stays what it is until its owner is dropped, which is the one unsafe promise; that
//! sections of a unit leave together, or it puts up with an interruption; that a BAR's section is removed before the BAR
//! moves.

mod block;
mod carry_out;
mod change;
mod edit;
mod follower;
mod handed;
mod iommu;
mod limit;
mod piece;
mod plan;
mod populate;
mod registered;
mod resume;
mod retranslate;
mod section;
mod sections;
mod space;
mod sparse;
mod translation;

pub use block::Block;
pub use carry_out::{Tear, Torn};
pub use edit::Edit;
pub use iommu::{GuestIommu, Unmade};
pub use populate::{Population, Progress};
pub use section::Section;
pub use space::{AddressSpace, Committed};
pub use sparse::SparseRam;
pub use translation::{Request, Translation};
