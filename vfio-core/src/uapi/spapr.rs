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
/// Has the isolation units (PEs) of the groups do something: an [`EehPeOp`]. Only [`EEH_PE_GET_STATE`] answers a number.
pub const EEH_PE_OP: Opcode = vfio(21);

/// Gives a unit up ([`EehPeOp::op`]).
pub const EEH_PE_DISABLE: u32 = 0;
/// Takes a unit, and thaws it.
pub const EEH_PE_ENABLE: u32 = 1;
/// Lets loads and stores pass again.
pub const EEH_PE_UNFREEZE_IO: u32 = 2;
/// Lets DMA pass again.
pub const EEH_PE_UNFREEZE_DMA: u32 = 3;
/// Answers a state, such as [`EEH_PE_STATE_NORMAL`].
pub const EEH_PE_GET_STATE: u32 = 4;
/// Ends a reset.
pub const EEH_PE_RESET_DEACTIVATE: u32 = 5;
/// Begins a hot reset.
pub const EEH_PE_RESET_HOT: u32 = 6;
/// Begins a fundamental reset.
pub const EEH_PE_RESET_FUNDAMENTAL: u32 = 7;
/// Configures the bridges of a unit after a reset.
pub const EEH_PE_CONFIGURE: u32 = 8;
/// Makes an error: the `err` part is valid.
pub const EEH_PE_INJECT_ERR: u32 = 9;

/// A unit works.
pub const EEH_PE_STATE_NORMAL: u32 = 0;
/// A unit is in a reset.
pub const EEH_PE_STATE_RESET: u32 = 1;
/// A unit is frozen: neither loads and stores pass, nor DMA.
pub const EEH_PE_STATE_STOPPED: u32 = 2;
/// Loads and stores pass, DMA does not.
pub const EEH_PE_STATE_STOPPED_DMA: u32 = 4;
/// Nothing can be said of a unit, or done to it.
pub const EEH_PE_STATE_UNAVAIL: u32 = 5;

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

/// `struct vfio_eeh_pe_op`
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EehPeOp {
    /// Size of this struct in bytes, set by the caller; without the `err` part it is 12.
    pub argsz: u32,
    /// None is defined.
    pub flags: u32,
    /// What to do, such as [`EEH_PE_GET_STATE`].
    pub op: u32,
    /// What the header leaves to the compiler.
    pub reserved: u32,
    /// The error to make, for [`EEH_PE_INJECT_ERR`].
    pub err: EehPeErr,
}

/// `struct vfio_eeh_pe_err`
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EehPeErr {
    /// How wide the address is: 0 is 32 bits, 1 is 64.
    pub kind: u32,
    /// Which access goes wrong, and how: 0 to 19.
    pub func: u32,
    /// The address on the bus.
    pub addr: u64,
    /// Which bits of it are compared.
    pub mask: u64,
}
