//! Device: regions and interrupts.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::vfio;
use crate::kernel::Opcode;

/// Fills in a [`DeviceInfo`].
pub const DEVICE_GET_INFO: Opcode = vfio(7);
/// Fills in a [`RegionInfo`] for its `index`.
pub const DEVICE_GET_REGION_INFO: Opcode = vfio(8);
/// Fills in an [`IrqInfo`] for its `index`.
pub const DEVICE_GET_IRQ_INFO: Opcode = vfio(9);
/// Sets up, masks or fires interrupts: an [`IrqSet`] with its data behind it.
pub const DEVICE_SET_IRQS: Opcode = vfio(10);
/// Resets the device, if [`DEVICE_FLAGS_RESET`] says that it can be.
pub const DEVICE_RESET: Opcode = vfio(11);

/// The device can be reset ([`DeviceInfo::flags`]).
pub const DEVICE_FLAGS_RESET: u32 = 0x1;
/// It is a PCI device ([`DeviceInfo::flags`]).
pub const DEVICE_FLAGS_PCI: u32 = 0x2;

/// The region can be read with `pread` ([`RegionInfo::flags`]).
pub const REGION_FLAG_READ: u32 = 0x1;
/// The region can be written with `pwrite` ([`RegionInfo::flags`]).
pub const REGION_FLAG_WRITE: u32 = 0x2;
/// The region can be mapped ([`RegionInfo::flags`]).
pub const REGION_FLAG_MMAP: u32 = 0x4;

/// Index of a PCI device's first BAR region; the other five follow.
pub const PCI_BAR0_REGION_INDEX: u32 = 0;
/// Index of a PCI device's expansion ROM.
pub const PCI_ROM_REGION_INDEX: u32 = 6;
/// Index of a PCI device's config space.
pub const PCI_CONFIG_REGION_INDEX: u32 = 7;

/// Index of a PCI device's INTx interrupt.
pub const PCI_INTX_IRQ_INDEX: u32 = 0;
/// Index of a PCI device's MSI vectors.
pub const PCI_MSI_IRQ_INDEX: u32 = 1;
/// Index of a PCI device's MSI-X vectors.
pub const PCI_MSIX_IRQ_INDEX: u32 = 2;

/// Interrupts of the index can be delivered to eventfds ([`IrqInfo::flags`]).
pub const IRQ_INFO_EVENTFD: u32 = 0x1;
/// Interrupts of the index can be masked and unmasked ([`IrqInfo::flags`]).
pub const IRQ_INFO_MASKABLE: u32 = 0x2;
/// The kernel masks the interrupt when it fires ([`IrqInfo::flags`]).
pub const IRQ_INFO_AUTOMASKED: u32 = 0x4;
/// Vectors cannot be added without disabling the index first ([`IrqInfo::flags`]).
pub const IRQ_INFO_NORESIZE: u32 = 0x8;

/// No data follows ([`IrqSet::flags`]).
pub const IRQ_SET_DATA_NONE: u32 = 0x1;
/// One `u8` an interrupt follows ([`IrqSet::flags`]).
pub const IRQ_SET_DATA_BOOL: u32 = 0x2;
/// One eventfd, an `i32`, an interrupt follows; -1 takes it away ([`IrqSet::flags`]).
pub const IRQ_SET_DATA_EVENTFD: u32 = 0x4;
/// Masks ([`IrqSet::flags`]).
pub const IRQ_SET_ACTION_MASK: u32 = 0x8;
/// Unmasks ([`IrqSet::flags`]).
pub const IRQ_SET_ACTION_UNMASK: u32 = 0x10;
/// Fires, or says what fires it ([`IrqSet::flags`]).
pub const IRQ_SET_ACTION_TRIGGER: u32 = 0x20;

/// `struct vfio_device_info`
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DeviceInfo {
    /// Size of this struct in bytes, set by the caller.
    pub argsz: u32,
    /// [`DEVICE_FLAGS_RESET`], [`DEVICE_FLAGS_PCI`] and others.
    pub flags: u32,
    /// One more than the highest region index.
    pub num_regions: u32,
    /// One more than the highest interrupt index.
    pub num_irqs: u32,
    /// Where the first capability starts, 0 for none.
    pub cap_offset: u32,
    /// Padding.
    pub pad: u32,
}

/// `struct vfio_region_info`
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RegionInfo {
    /// Size of this struct in bytes, set by the caller; the kernel answers what it would need.
    pub argsz: u32,
    /// [`REGION_FLAG_READ`], [`REGION_FLAG_WRITE`], [`REGION_FLAG_MMAP`] and others.
    pub flags: u32,
    /// Which region, set by the caller.
    pub index: u32,
    /// Where the first capability starts, 0 for none.
    pub cap_offset: u32,
    /// Size of the region in bytes, 0 for a BAR that the device does not have.
    pub size: u64,
    /// Where the region starts in the device's fd.
    pub offset: u64,
}

/// `struct vfio_irq_info`
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct IrqInfo {
    /// Size of this struct in bytes, set by the caller.
    pub argsz: u32,
    /// [`IRQ_INFO_EVENTFD`] and the flags after it.
    pub flags: u32,
    /// Which index, set by the caller.
    pub index: u32,
    /// How many interrupts (vectors) the index has.
    pub count: u32,
}

/// `struct vfio_irq_set`, without the data behind it
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct IrqSet {
    /// Size of this struct and the data behind it in bytes, set by the caller.
    pub argsz: u32,
    /// One of the `IRQ_SET_DATA` flags and one of the `IRQ_SET_ACTION` flags.
    pub flags: u32,
    /// Which index.
    pub index: u32,
    /// First interrupt of the index.
    pub start: u32,
    /// How many interrupts.
    pub count: u32,
}
