//! Device: regions and interrupts.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{InfoCapHeader, vfio};
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
/// Fills in a [`PciHotResetInfo`] and the [`PciDependentDevice`]s behind it.
pub const DEVICE_GET_PCI_HOT_RESET_INFO: Opcode = vfio(12);
/// Resets a bus or slot with every device on it: a [`PciHotReset`] with the fds of their groups behind it.
pub const DEVICE_PCI_HOT_RESET: Opcode = vfio(13);
/// Has the kernel write to a BAR when an eventfd is signalled: a [`DeviceIoEventFd`].
pub const DEVICE_IOEVENTFD: Opcode = vfio(16);
/// Asks for, reads or sets a feature: a [`DeviceFeature`] with the feature's own data behind it.
pub const DEVICE_FEATURE: Opcode = vfio(17);

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
/// The region has capabilities ([`RegionInfo::flags`]).
pub const REGION_FLAG_CAPS: u32 = 0x8;

/// Id of [`RegionInfoCapSparseMmap`].
pub const REGION_INFO_CAP_SPARSE_MMAP: u16 = 1;
/// Id of [`RegionInfoCapType`].
pub const REGION_INFO_CAP_TYPE: u16 = 2;
/// Id of a capability without data: the region can be mapped although the MSI-X table is in it.
pub const REGION_INFO_CAP_MSIX_MAPPABLE: u16 = 3;

/// Index of a PCI device's first BAR region; the other five follow.
pub const PCI_BAR0_REGION_INDEX: u32 = 0;
/// Index of a PCI device's expansion ROM.
pub const PCI_ROM_REGION_INDEX: u32 = 6;
/// Index of a PCI device's config space.
pub const PCI_CONFIG_REGION_INDEX: u32 = 7;
/// Index of the legacy VGA ranges.
pub const PCI_VGA_REGION_INDEX: u32 = 8;

/// Index of a PCI device's INTx interrupt.
pub const PCI_INTX_IRQ_INDEX: u32 = 0;
/// Index of a PCI device's MSI vectors.
pub const PCI_MSI_IRQ_INDEX: u32 = 1;
/// Index of a PCI device's MSI-X vectors.
pub const PCI_MSIX_IRQ_INDEX: u32 = 2;
/// Index of the interrupt that says that a PCI Express device has reported an error.
pub const PCI_ERR_IRQ_INDEX: u32 = 3;
/// Index of the interrupt that says that the kernel wants the device back.
pub const PCI_REQ_IRQ_INDEX: u32 = 4;

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

/// The write has 8 bits ([`DeviceIoEventFd::flags`]).
pub const DEVICE_IOEVENTFD_8: u32 = 0x1;
/// The write has 16 bits ([`DeviceIoEventFd::flags`]).
pub const DEVICE_IOEVENTFD_16: u32 = 0x2;
/// The write has 32 bits ([`DeviceIoEventFd::flags`]).
pub const DEVICE_IOEVENTFD_32: u32 = 0x4;
/// The write has 64 bits ([`DeviceIoEventFd::flags`]).
pub const DEVICE_IOEVENTFD_64: u32 = 0x8;

/// The part of [`DeviceFeature::flags`] that is the feature's number.
pub const DEVICE_FEATURE_MASK: u32 = 0xffff;
/// Reads the feature's data ([`DeviceFeature::flags`]).
pub const DEVICE_FEATURE_GET: u32 = 0x1_0000;
/// Sets the feature's data ([`DeviceFeature::flags`]).
pub const DEVICE_FEATURE_SET: u32 = 0x2_0000;
/// Only asks whether that would work ([`DeviceFeature::flags`]).
pub const DEVICE_FEATURE_PROBE: u32 = 0x4_0000;
/// Feature: the token that the virtual functions of this physical one are opened with, 16 bytes.
pub const DEVICE_FEATURE_PCI_VF_TOKEN: u32 = 0;
/// Feature: how the device can be migrated.
pub const DEVICE_FEATURE_MIGRATION: u32 = 1;
/// Feature: the device may sleep.
pub const DEVICE_FEATURE_LOW_POWER_ENTRY: u32 = 3;
/// Feature: the device may sleep, and an eventfd says when it woke up.
pub const DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP: u32 = 4;
/// Feature: the device is to be awake.
pub const DEVICE_FEATURE_LOW_POWER_EXIT: u32 = 5;

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

/// `struct vfio_region_info_cap_sparse_mmap`, without the areas behind it
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RegionInfoCapSparseMmap {
    /// Its id is [`REGION_INFO_CAP_SPARSE_MMAP`].
    pub header: InfoCapHeader,
    /// How many [`RegionSparseMmapArea`]s follow.
    pub nr_areas: u32,
    /// Reserved.
    pub reserved: u32,
}

/// `struct vfio_region_sparse_mmap_area`
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RegionSparseMmapArea {
    /// Where it starts, in bytes from the start of the region.
    pub offset: u64,
    /// Size in bytes.
    pub size: u64,
}

/// `struct vfio_region_info_cap_type`
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RegionInfoCapType {
    /// Its id is [`REGION_INFO_CAP_TYPE`].
    pub header: InfoCapHeader,
    /// What kind of region; with the highest bit, the lower 16 are a vendor's PCI id.
    pub kind: u32,
    /// Which of that kind.
    pub subtype: u32,
}

/// `struct vfio_pci_hot_reset_info`, without the devices behind it
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PciHotResetInfo {
    /// Size of this struct and the room behind it in bytes, set by the caller.
    pub argsz: u32,
    /// None is set for a device that was opened through its group.
    pub flags: u32,
    /// How many [`PciDependentDevice`]s there are.
    pub count: u32,
}

/// `struct vfio_pci_dependent_device`
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PciDependentDevice {
    /// Its group.
    pub group_id: u32,
    /// Its PCI domain.
    pub segment: u16,
    /// Its bus.
    pub bus: u8,
    /// Its device and function: five and three bits.
    pub devfn: u8,
}

/// `struct vfio_pci_hot_reset`, without the fds behind it
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PciHotReset {
    /// Size of this struct and the fds behind it in bytes, set by the caller.
    pub argsz: u32,
    /// None is defined.
    pub flags: u32,
    /// How many group fds follow, each an `i32`.
    pub count: u32,
}

/// `struct vfio_device_ioeventfd`
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DeviceIoEventFd {
    /// Size of this struct in bytes, set by the caller.
    pub argsz: u32,
    /// One of the `DEVICE_IOEVENTFD` sizes.
    pub flags: u32,
    /// Where in the device's fd is written.
    pub offset: u64,
    /// What is written.
    pub data: u64,
    /// The eventfd; -1 takes away what was set up.
    pub fd: i32,
    /// Reserved.
    pub reserved: u32,
}

/// `struct vfio_device_feature`, without the data behind it
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DeviceFeature {
    /// Size of this struct and the data behind it in bytes, set by the caller.
    pub argsz: u32,
    /// The feature's number and what to do.
    pub flags: u32,
}
