//! Type1, the IOMMU interface of Linux VFIO on x86 and arm64, as a backend of [`vfio_core`].
//!
//! Name it once in the crate of `main`, and it can be chosen:
//!
//! ```
//! use iommu_type1 as _;
//! ```
//!
//! The kernel counts every page of every mapping against `RLIMIT_MEMLOCK` (B25, B27), unless the process has
//! `CAP_IPC_LOCK`.
//!
//! Version 2 is preferred; the versions differ in what an unmap may cut, which `vfio-core` hides by
//! unmapping whole mappings only, and version 1 tracks no [dirty pages](vfio_core::iommu::DirtyPages) (B34).
//! With both, mappings can outlive the program that made them
//! ([live update](vfio_core::iommu::Domain::forget_addresses), B32), unless a mediated device is in the container. What
//! the kernel does is in `drivers/vfio/vfio_iommu_type1.c`.
//!
//! # Guest memory
//!
//! A VMM describes it in an [`AddressSpace`](vfio_core::guest::AddressSpace), which keeps the mappings in step
//! ([all of it](vfio_core::guest)). What of that is type1's:
//!
//! - **When mappings are joined.** An unmap takes whole mappings (B28), so each section has its own, and can go alone.
//!   Sections that the VMM says [leave together](vfio_core::guest::Section::leaving_with), that come in one edit and follow
//!   each other in guest and host with the same rights, are one: one ioctl instead of many, and one of the 65,535 mappings
//!   that a context has (B23). Mappings that go and follow each other go by one ioctl, also if they were made apart.
//! - **What is interrupted.** Type1 can neither cut a mapping nor change its rights or its memory: where only a part of one
//!   goes or changes, devices do not reach the rest for a moment, and the commit says so.
//! - **What is rolled back.** A call that fails undoes those before it, in every container: then nothing has changed. What
//!   cannot be undone is [torn](vfio_core::guest::AddressSpace::torn), never freed, and repaired before anything else.
//! - **What is refused before the kernel is asked.** Addresses that it cannot map (39 bits, the hole of MSIs), overlaps,
//!   more mappings than are left, more locked memory than `RLIMIT_MEMLOCK` allows: each with the number that would do.
//! - **What a VMM must promise.** That the memory of a [`Block`](vfio_core::guest::Block) stays what it is until its owner
//!   is dropped (the one `unsafe` promise); that sections of a unit leave together; that a BAR's section is removed before
//!   the BAR moves; that nothing is discarded while a device has it.

mod calls;
mod dirty;
mod info;
mod live_update;

use vfio_core::address::{Access, HostRange, IovaRange};
use vfio_core::iommu::{
    Capabilities, DirtyTracking, IommuBackend, LiveUpdate, Reach, Registration,
};
use vfio_core::{Container, Result, inventory, uapi};

/// Type1 version 2.
pub const TYPE1_V2: Registration = Registration {
    name: "type1v2",
    preference: 100,
    reach: Reach::Container {
        extension: uapi::TYPE1V2_IOMMU,
        attach: attach_v2,
    },
};

/// Type1 version 1, for kernels before 3.18.
pub const TYPE1: Registration = Registration {
    name: "type1",
    preference: 200,
    reach: Reach::Container {
        extension: uapi::TYPE1_IOMMU,
        attach: attach_v1,
    },
};

inventory::submit!(TYPE1_V2);
inventory::submit!(TYPE1);

fn attach_v2(container: Container) -> Result<Box<dyn IommuBackend>> {
    Ok(Box::new(Type1 {
        container,
        is_v2: true,
    }))
}

fn attach_v1(container: Container) -> Result<Box<dyn IommuBackend>> {
    Ok(Box::new(Type1 {
        container,
        is_v2: false,
    }))
}

/// A container that has a type1 IOMMU.
#[derive(Debug)]
struct Type1 {
    container: Container,
    is_v2: bool,
}

#[allow(unsafe_code)] // the trait's promise
// SAFETY: `unmap` answers what the kernel says that it unmapped; a `VFIO_IOMMU_MAP_DMA` that fails maps
// nothing (`vfio_dma_do_map` undoes what it did).
unsafe impl IommuBackend for Type1 {
    fn capabilities(&self) -> Result<Capabilities> {
        info::capabilities(&calls::get_info(&self.container)?)
    }

    fn dirty_tracking(&self) -> Option<&dyn DirtyTracking> {
        self.is_v2.then_some(self) // B34
    }

    fn live_update(&self) -> Option<&dyn LiveUpdate> {
        Some(self)
    }

    fn locks_what_is_mapped(&self) -> bool {
        true
    }

    #[allow(unsafe_code)] // the trait's contract, passed on
    unsafe fn map(&self, iova: IovaRange, memory: HostRange, access: Access) -> Result<()> {
        // SAFETY: our caller keeps the memory allocated and unborrowed until it is unmapped.
        unsafe { calls::map(&self.container, iova, memory, access) }
    }

    fn unmap(&self, iova: IovaRange) -> Result<u64> {
        calls::unmap(&self.container, iova)
    }

    /// B28; B29 says the same of ranges that begin with a mapping and end with one.
    fn unmaps_many(&self) -> bool {
        true
    }
}
