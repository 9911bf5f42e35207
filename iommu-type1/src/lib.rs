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
