//! sPAPR TCE: the IOMMU interface of POWER.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::vfio;
use crate::kernel::Opcode;

/// Extension and IOMMU type number of sPAPR TCE.
pub const SPAPR_TCE_IOMMU: u32 = 2;
/// Extension and IOMMU type number of sPAPR TCE version 2.
pub const SPAPR_TCE_V2_IOMMU: u32 = 7;
/// Extension: errors of a device are isolated (EEH).
pub const EEH: u32 = 5;

/// Fills in a [`SpaprTceInfo`].
pub const SPAPR_TCE_GET_INFO: Opcode = vfio(12);
/// Version 1: allows mapping, and accounts the whole 32-bit window as locked memory.
pub const SPAPR_ENABLE: Opcode = vfio(15);
/// Version 1: undoes [`SPAPR_ENABLE`].
pub const SPAPR_DISABLE: Opcode = vfio(16);
/// Version 2: pins memory so that it can be mapped: a [`SpaprRegisterMemory`].
pub const SPAPR_REGISTER_MEMORY: Opcode = vfio(17);
/// Version 2: undoes [`SPAPR_REGISTER_MEMORY`] for the very same range.
pub const SPAPR_UNREGISTER_MEMORY: Opcode = vfio(18);
/// Version 2: creates a DMA window: a [`SpaprTceCreate`].
pub const SPAPR_TCE_CREATE: Opcode = vfio(19);
/// Version 2: removes a DMA window: a [`SpaprTceRemove`].
pub const SPAPR_TCE_REMOVE: Opcode = vfio(20);

/// The `ddw` part is valid ([`SpaprTceInfo::flags`]).
pub const SPAPR_INFO_DDW: u32 = 0x1;

/// `struct vfio_iommu_spapr_tce_info`
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SpaprTceInfo {
    /// Size of this struct in bytes, set by the caller.
    pub argsz: u32,
    /// [`SPAPR_INFO_DDW`].
    pub flags: u32,
    /// Where the default window starts, in bytes of bus address.
    pub dma32_window_start: u32,
    /// Size of the default window in bytes.
    pub dma32_window_size: u32,
    /// What dynamic windows there can be.
    pub ddw: SpaprTceDdwInfo,
}

/// `struct vfio_iommu_spapr_tce_ddw_info`
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SpaprTceDdwInfo {
    /// One bit for each page size, in bytes, that a window can have.
    pub pgsizes: u64,
    /// How many windows there can be, the default one included.
    pub max_dynamic_windows_supported: u32,
    /// How many levels a table can have.
    pub levels: u32,
}

/// `struct vfio_iommu_spapr_register_memory`
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SpaprRegisterMemory {
    /// Size of this struct in bytes, set by the caller.
    pub argsz: u32,
    /// None is defined.
    pub flags: u32,
    /// Address of the memory in the calling process.
    pub vaddr: u64,
    /// Size in bytes.
    pub size: u64,
}

/// `struct vfio_iommu_spapr_tce_create`
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SpaprTceCreate {
    /// Size of this struct in bytes, set by the caller.
    pub argsz: u32,
    /// None is defined.
    pub flags: u32,
    /// Base 2 logarithm of the page size.
    pub page_shift: u32,
    /// Reserved.
    pub resv1: u32,
    /// Size in bytes.
    pub window_size: u64,
    /// Levels of the table.
    pub levels: u32,
    /// Reserved.
    pub resv2: u32,
    /// The kernel answers where the window starts.
    pub start_addr: u64,
}

/// `struct vfio_iommu_spapr_tce_remove`
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SpaprTceRemove {
    /// Size of this struct in bytes, set by the caller.
    pub argsz: u32,
    /// None is defined.
    pub flags: u32,
    /// Where the window starts.
    pub start_addr: u64,
}
