//! The raw calls, as a program without `vfio-core` makes them.
#![allow(unsafe_code)] // Calls of every kind, right and wrong ones. What they name is memory of this crate's `Memory`.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;

use vfio_core::kernel::{Arg, Errno, Kernel, Opcode, Result};
use vfio_core::uapi::{self, DmaMap, DmaUnmap};
use zerocopy::{FromBytes, Immutable, IntoBytes};

pub(super) const READ: u32 = uapi::DMA_MAP_FLAG_READ;
pub(super) const WRITE: u32 = uapi::DMA_MAP_FLAG_WRITE;
pub(super) const BOTH: u32 = READ | WRITE;

pub(crate) fn ioctl(
    kernel: &dyn Kernel,
    fd: &impl AsFd,
    opcode: Opcode,
    arg: Arg<'_>,
) -> Result<u32> {
    // SAFETY: the argument is as large as the call's struct says, or wrong in a way that the kernel looks for; what is
    // mapped for a device is memory that is unmapped before it is freed, or freed with the container.
    unsafe { kernel.ioctl(fd.as_fd(), opcode, arg) }
}

/// A call with a struct that is read and written.
pub(crate) fn call<T: FromBytes + IntoBytes + Immutable>(
    kernel: &dyn Kernel,
    fd: &impl AsFd,
    opcode: Opcode,
    value: &mut T,
) -> Result<u32> {
    ioctl(kernel, fd, opcode, Arg::InOut(value.as_mut_bytes()))
}

pub(crate) fn extension(kernel: &dyn Kernel, container: &OwnedFd, number: u32) -> u32 {
    let number = Arg::Value(number as usize);
    ioctl(kernel, container, uapi::CHECK_EXTENSION, number).unwrap()
}

pub(crate) fn set_iommu(kernel: &dyn Kernel, container: &OwnedFd, number: u32) -> Result<u32> {
    let number = Arg::Value(number as usize);
    ioctl(kernel, container, uapi::SET_IOMMU, number)
}

/// The status flags of a group.
pub(crate) fn status(kernel: &dyn Kernel, group: &OwnedFd) -> Result<u32> {
    let mut status = uapi::GroupStatus { argsz: 8, flags: 0 };
    call(kernel, group, uapi::GROUP_GET_STATUS, &mut status)?;
    Ok(status.flags)
}

pub(crate) fn join(kernel: &dyn Kernel, group: &OwnedFd, container: &OwnedFd) -> Result<u32> {
    join_number(kernel, group, container.as_raw_fd())
}

pub(super) fn join_number(kernel: &dyn Kernel, group: &OwnedFd, container: RawFd) -> Result<u32> {
    let number = Arg::In(container.as_bytes());
    ioctl(kernel, group, uapi::GROUP_SET_CONTAINER, number)
}

pub(super) fn leave(kernel: &dyn Kernel, group: &OwnedFd) -> Result<u32> {
    ioctl(kernel, group, uapi::GROUP_UNSET_CONTAINER, Arg::None)
}

pub(super) fn open_device(kernel: &dyn Kernel, group: &OwnedFd, name: &CStr) -> Result<OwnedFd> {
    let name = Arg::In(name.to_bytes_with_nul());
    // SAFETY: a name that ends; the call answers an fd.
    unsafe { kernel.ioctl_fd(group.as_fd(), uapi::GROUP_GET_DEVICE_FD, name) }
}

/// Maps IOVA, address, size.
pub(super) fn map(
    kernel: &dyn Kernel,
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
    call(kernel, container, uapi::IOMMU_MAP_DMA, &mut map)
}

/// What is answered, and what is in `size` then.
pub(crate) fn unmap(
    kernel: &dyn Kernel,
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
    let answer = call(kernel, container, uapi::IOMMU_UNMAP_DMA, &mut unmap);
    (answer, unmap.size)
}

/// Sets interrupts: the flags, start and count, and the data.
pub(super) fn set_irqs(
    kernel: &dyn Kernel,
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
    ioctl(kernel, device, uapi::DEVICE_SET_IRQS, Arg::In(&bytes))
}

/// A call with a null pointer by another process, which ends then.
pub(super) fn ioctl_elsewhere(
    kernel: &Arc<dyn Kernel>,
    fd: &OwnedFd,
    opcode: Opcode,
) -> Result<()> {
    let (kernel, fd) = (Arc::clone(kernel), fd.try_clone().unwrap());
    let ask = move || match ioctl(&*kernel, &fd, opcode, Arg::None) {
        Ok(_) => Ok(()),
        Err(errno) => Err(errno.into()),
    };
    let mut child = Command::new("true");
    // SAFETY: all that is done between fork and exec is that call; it takes no lock and no memory.
    unsafe { child.pre_exec(ask) };
    match child.spawn() {
        Ok(mut child) => {
            child.wait().unwrap();
            Ok(())
        }
        Err(error) => Err(Errno::from_io_error(&error).unwrap()),
    }
}
