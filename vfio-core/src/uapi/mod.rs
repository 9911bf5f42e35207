//! The numbers and structs of `linux/vfio.h`, and nothing else.
//!
//! Every struct is `repr(C)`, has no padding that the compiler chose, and converts to and from the
//! bytes that [`Kernel::ioctl`](crate::kernel::Kernel::ioctl) takes. The names are the kernel's own
//! without their `vfio_` prefix, so that a reader finds them in the header.
//!
//! Opcodes are computed for the target: VFIO's are all `_IO(';', 100 + n)`, which is `0x3b64 + n` on
//! x86 and arm64, and `0x20003b64 + n` on POWER, whose direction bits differ.

mod container;
mod device;
mod spapr;
mod type1;

pub use container::*;
pub use device::*;
pub use spapr::*;
pub use type1::*;

use rustix::ioctl::opcode;

use crate::kernel::Opcode;

/// VFIO's ioctl number `n`: `_IO(VFIO_TYPE, VFIO_BASE + n)`.
///
/// The kernel gives one number to calls of different interfaces (17 is `VFIO_IOMMU_DIRTY_PAGES` on
/// type1 and `VFIO_IOMMU_SPAPR_REGISTER_MEMORY` on sPAPR); which is meant depends on the fd.
pub const fn vfio(n: u8) -> Opcode {
    const VFIO_TYPE: u8 = b';';
    const VFIO_BASE: u8 = 100;
    opcode::none(VFIO_TYPE, VFIO_BASE + n)
}
