//! The raw calls, as a program without `vfio-core` would make them.
#![allow(unsafe_code)] // Every call here goes to the simulation, which touches no memory but its argument.

use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use vfio_core::kernel::{Arg, Kernel, Opcode, Result};
use vfio_core::uapi::{self, DmaMap, DmaUnmap};
use vfio_core::{CONTAINER_NODE, group_node};
use vfio_sim::SimKernel;
use zerocopy::{FromBytes, Immutable, IntoBytes};

pub(crate) fn ioctl(sim: &SimKernel, fd: &impl AsFd, opcode: Opcode, arg: Arg<'_>) -> Result<u32> {
    // SAFETY: the simulation.
    unsafe { sim.ioctl(fd.as_fd(), opcode, arg) }
}

pub(crate) fn open_container(sim: &SimKernel) -> OwnedFd {
    sim.open(CONTAINER_NODE.as_ref()).unwrap()
}

pub(crate) fn open_group(sim: &SimKernel, id: u32) -> Result<OwnedFd> {
    sim.open(&group_node(id))
}

pub(crate) fn extension(sim: &SimKernel, container: &OwnedFd, number: u32) -> u32 {
    ioctl(
        sim,
        container,
        uapi::CHECK_EXTENSION,
        Arg::Value(number as usize),
    )
    .unwrap()
}

pub(crate) fn set_iommu(sim: &SimKernel, container: &OwnedFd, number: u32) -> Result<u32> {
    ioctl(sim, container, uapi::SET_IOMMU, Arg::Value(number as usize))
}

/// The status flags of a group.
pub(crate) fn status(sim: &SimKernel, group: &OwnedFd) -> Result<u32> {
    let mut status = uapi::GroupStatus { argsz: 8, flags: 0 };
    ioctl(
        sim,
        group,
        uapi::GROUP_GET_STATUS,
        Arg::InOut(status.as_mut_bytes()),
    )?;
    Ok(status.flags)
}

pub(crate) fn join(sim: &SimKernel, group: &OwnedFd, container: &OwnedFd) -> Result<u32> {
    join_number(sim, group, container.as_raw_fd())
}

pub(crate) fn join_number(sim: &SimKernel, group: &OwnedFd, container: RawFd) -> Result<u32> {
    ioctl(
        sim,
        group,
        uapi::GROUP_SET_CONTAINER,
        Arg::In(container.as_bytes()),
    )
}

pub(crate) fn leave(sim: &SimKernel, group: &OwnedFd) -> Result<u32> {
    ioctl(sim, group, uapi::GROUP_UNSET_CONTAINER, Arg::None)
}

pub(crate) fn open_device(
    sim: &SimKernel,
    group: &OwnedFd,
    name: &std::ffi::CStr,
) -> Result<OwnedFd> {
    let name = Arg::In(name.to_bytes_with_nul());
    // SAFETY: the simulation.
    unsafe { sim.ioctl_fd(group.as_fd(), uapi::GROUP_GET_DEVICE_FD, name) }
}

/// Group 0 of a machine in a new container, without an IOMMU.
pub(crate) fn joined(sim: &SimKernel) -> (OwnedFd, OwnedFd) {
    let container = open_container(sim);
    let group = open_group(sim, 0).unwrap();
    join(sim, &group, &container).unwrap();
    (container, group)
}

/// A call with a struct that is read and written.
pub(crate) fn call<T: FromBytes + IntoBytes + Immutable>(
    sim: &SimKernel,
    fd: &impl AsFd,
    opcode: Opcode,
    value: &mut T,
) -> Result<u32> {
    ioctl(sim, fd, opcode, Arg::InOut(value.as_mut_bytes()))
}

pub(crate) const READ: u32 = uapi::DMA_MAP_FLAG_READ;
pub(crate) const WRITE: u32 = uapi::DMA_MAP_FLAG_WRITE;
pub(crate) const BOTH: u32 = READ | WRITE;

pub(crate) fn map(
    sim: &SimKernel,
    container: &OwnedFd,
    (iova, vaddr, size): (u64, u64, u64),
    flags: u32,
) -> Result<u32> {
    let mut map = DmaMap {
        argsz: 32,
        flags,
        vaddr,
        iova,
        size,
    };
    call(sim, container, uapi::IOMMU_MAP_DMA, &mut map)
}

/// What is answered, and what is in `size` then.
pub(crate) fn unmap(
    sim: &SimKernel,
    container: &OwnedFd,
    (iova, size): (u64, u64),
    flags: u32,
) -> (Result<u32>, u64) {
    let mut unmap = DmaUnmap {
        argsz: 24,
        flags,
        iova,
        size,
    };
    let answer = call(sim, container, uapi::IOMMU_UNMAP_DMA, &mut unmap);
    (answer, unmap.size)
}

/// Sets interrupts: the flags, start and count, and the data.
pub(crate) fn set_irqs(
    sim: &SimKernel,
    device: &OwnedFd,
    index: u32,
    flags: u32,
    (start, count): (u32, u32),
    data: &[u8],
) -> Result<u32> {
    let head = uapi::IrqSet {
        argsz: 20 + u32::try_from(data.len()).unwrap(),
        flags,
        index,
        start,
        count,
    };
    let mut bytes = head.as_bytes().to_vec();
    bytes.extend(data);
    ioctl(sim, device, uapi::DEVICE_SET_IRQS, Arg::In(&bytes))
}

/// A group in that container.
pub(crate) fn joined_group(sim: &SimKernel, container: &OwnedFd, id: u32) -> OwnedFd {
    let group = open_group(sim, id).unwrap();
    join(sim, &group, container).unwrap();
    group
}
