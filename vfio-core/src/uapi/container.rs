//! Container and group: the calls that belong to no IOMMU.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::vfio;
use crate::kernel::Opcode;

/// The only version of the interface that Linux ever had.
pub const API_VERSION: u32 = 0;

/// Asks a container for the version of the interface; answers [`API_VERSION`].
pub const GET_API_VERSION: Opcode = vfio(0);
/// Asks a container whether it knows an extension, whose number is the argument's value; positive is yes.
pub const CHECK_EXTENSION: Opcode = vfio(1);
/// Gives a container that has a group its IOMMU; the type's extension number is the argument's value.
pub const SET_IOMMU: Opcode = vfio(2);
/// Fills in a [`GroupStatus`].
pub const GROUP_GET_STATUS: Opcode = vfio(3);
/// Puts a group into a container; the argument points to the container's fd, an `i32`.
pub const GROUP_SET_CONTAINER: Opcode = vfio(4);
/// Takes a group out of its container.
pub const GROUP_UNSET_CONTAINER: Opcode = vfio(5);
/// Opens a device of the group; the argument is its name, a C string; returns an fd.
pub const GROUP_GET_DEVICE_FD: Opcode = vfio(6);

/// Every device of the group is free for user space ([`GroupStatus::flags`]).
pub const GROUP_FLAGS_VIABLE: u32 = 0x1;
/// The group is in a container ([`GroupStatus::flags`]).
pub const GROUP_FLAGS_CONTAINER_SET: u32 = 0x2;

/// `struct vfio_group_status`
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct GroupStatus {
    /// Size of this struct in bytes, set by the caller.
    pub argsz: u32,
    /// [`GROUP_FLAGS_VIABLE`], [`GROUP_FLAGS_CONTAINER_SET`].
    pub flags: u32,
}

/// `struct vfio_info_cap_header`: starts every capability that follows an info struct.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct InfoCapHeader {
    /// Which capability it is; the numbers belong to the struct that it follows.
    pub id: u16,
    /// Version of the capability's layout.
    pub version: u16,
    /// Where the next one starts, in bytes from the start of the info struct; 0 ends the chain.
    pub next: u32,
}
