//! The numbers and structs of `linux/kvm.h` that this door needs, and nothing else.
//!
//! As in [`vfio_core::uapi`](crate::uapi), every struct is `repr(C)`, and opcodes are computed for the target: their
//! direction bits differ on POWER. The names are the kernel's own without their `kvm_` prefix.

use rustix::ioctl::opcode;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::kernel::Opcode;

/// The type of KVM's ioctls.
const KVMIO: u8 = 0xae;

/// A new VM's fd, of [`KVM_NODE`](super::KVM_NODE): takes the VM's type by value.
pub const CREATE_VM: Opcode = opcode::none(KVMIO, 0x01);
/// Whether KVM, or a VM, has a capability: takes its number by value, answers 0 for no.
pub const CHECK_EXTENSION: Opcode = opcode::none(KVMIO, 0x03);
/// Puts memory of this process into a VM, moves it or takes it away: a [`UserspaceMemoryRegion`].
pub const SET_USER_MEMORY_REGION: Opcode = opcode::write::<UserspaceMemoryRegion>(KVMIO, 0x46);
/// A new in-kernel TCE table's fd, of a VM: a [`CreateSpaprTce64`].
pub const CREATE_SPAPR_TCE_64: Opcode = opcode::write::<CreateSpaprTce64>(KVMIO, 0xa8);
/// A new device of a VM: a [`CreateDevice`], in which the fd comes back.
pub const CREATE_DEVICE: Opcode = opcode::read_write::<CreateDevice>(KVMIO, 0xe0);
/// Sets an attribute of a device: a [`DeviceAttr`].
pub const SET_DEVICE_ATTR: Opcode = opcode::write::<DeviceAttr>(KVMIO, 0xe1);
/// Whether a device has an attribute: a [`DeviceAttr`] without address.
pub const HAS_DEVICE_ATTR: Opcode = opcode::write::<DeviceAttr>(KVMIO, 0xe3);

/// Capability: [`SET_USER_MEMORY_REGION`].
pub const CAP_USER_MEMORY: u32 = 3;
/// Capability: how many memory slots a VM can have.
pub const CAP_NR_MEMSLOTS: u32 = 10;
/// Capability: [`MEM_READONLY`].
pub const CAP_READONLY_MEM: u32 = 81;
/// Capability: devices can be created.
pub const CAP_DEVICE_CTRL: u32 = 89;
/// Capability: [`CREATE_SPAPR_TCE_64`].
pub const CAP_SPAPR_TCE_64: u32 = 125;
/// Capability: what a guest puts into an in-kernel table reaches the tables of devices that are assigned to it.
pub const CAP_SPAPR_TCE_VFIO: u32 = 142;

/// The guest reads the memory; what it writes there comes to user space ([`UserspaceMemoryRegion::flags`]).
pub const MEM_READONLY: u32 = 1 << 1;

/// The type of the device that knows what VFIO has assigned to a VM.
pub const DEV_TYPE_VFIO: u32 = 4;
/// Its group of attributes: files of VFIO. It was called `KVM_DEV_VFIO_GROUP` before Linux 6.6.
pub const DEV_VFIO_FILE: u32 = 1;
/// Adds a file: the address of an `i32`, the fd of a group, or of a device.
pub const DEV_VFIO_FILE_ADD: u64 = 1;
/// Takes a file away: the address of an `i32`, the fd.
pub const DEV_VFIO_FILE_DEL: u64 = 2;
/// Attaches a group that was added to an in-kernel table: the address of a [`VfioSpaprTce`].
pub const DEV_VFIO_GROUP_SET_SPAPR_TCE: u64 = 3;

/// Only whether a device of that type could be created ([`CreateDevice::flags`]).
pub const CREATE_DEVICE_TEST: u32 = 1;

/// `struct kvm_userspace_memory_region`
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct UserspaceMemoryRegion {
    /// The slot's number; in the upper half, on x86, one of its address spaces.
    pub slot: u32,
    /// [`MEM_READONLY`]; others are defined.
    pub flags: u32,
    /// Where the guest sees it.
    pub guest_phys_addr: u64,
    /// Its size in bytes; 0 takes away what is in the slot.
    pub memory_size: u64,
    /// Where it is in this process.
    pub userspace_addr: u64,
}

/// `struct kvm_create_device`
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CreateDevice {
    /// The type: [`DEV_TYPE_VFIO`].
    pub kind: u32,
    /// The kernel answers the new fd, which is the caller's.
    pub fd: i32,
    /// [`CREATE_DEVICE_TEST`].
    pub flags: u32,
}

/// `struct kvm_device_attr`
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DeviceAttr {
    /// None is defined.
    pub flags: u32,
    /// The group of attributes: [`DEV_VFIO_FILE`].
    pub group: u32,
    /// Which attribute of the group.
    pub attr: u64,
    /// Where its value is, in this process.
    pub addr: u64,
}

/// `struct kvm_vfio_spapr_tce`
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct VfioSpaprTce {
    /// The fd of a group.
    pub groupfd: i32,
    /// The fd of a table.
    pub tablefd: i32,
}

/// `struct kvm_create_spapr_tce_64`
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CreateSpaprTce64 {
    /// The number by which the guest names the table.
    pub liobn: u64,
    /// Base 2 logarithm of the page size.
    pub page_shift: u32,
    /// None is defined.
    pub flags: u32,
    /// Where the window starts, in pages.
    pub offset: u64,
    /// How many pages it has.
    pub size: u64,
}
