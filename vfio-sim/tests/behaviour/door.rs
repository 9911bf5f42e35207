//! The raw calls, as a program without `vfio-core` would make them.
#![allow(unsafe_code)] // Every call here goes to the simulation, which touches no memory but its argument.

use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use vfio_core::kernel::{Arg, Kernel, Opcode, Result};
use vfio_core::{CONTAINER_NODE, group_node, uapi};
use vfio_sim::SimKernel;
use zerocopy::IntoBytes;

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
