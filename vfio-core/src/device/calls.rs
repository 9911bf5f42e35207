//! The ioctls of a device, each with its struct.
#![allow(unsafe_code)] // Structs without addresses; eventfds are borrowed for the call.

use std::os::fd::{AsRawFd, BorrowedFd};

use zerocopy::IntoBytes;

use crate::call::{argsz, zero};
use crate::error::{Answer, Error, ErrorKind, Result};
use crate::kernel::{Arg, Opcode};
use crate::uapi;

use super::Device;

/// A struct whose first field says how large it is, filled in by the kernel.
fn query<T: IntoBytes + zerocopy::FromBytes>(
    device: &Device,
    operation: &'static str,
    opcode: Opcode,
    mut answer: T,
) -> Result<T> {
    // SAFETY: each caller passes the struct that belongs to the opcode, with its own size in `argsz`; it
    // carries no address.
    unsafe {
        zero(
            &**device.kernel(),
            device.fd(),
            opcode,
            Arg::InOut(answer.as_mut_bytes()),
        )
    }
    .map_err(|answer| failed(device, operation, answer))?;
    Ok(answer)
}

fn failed(device: &Device, operation: &'static str, answer: Answer) -> Error {
    Error::kernel(operation, device.bdf().to_string(), answer).of_device(device.bdf())
}

pub(super) fn device_info(device: &Device) -> Result<uapi::DeviceInfo> {
    query(
        device,
        "VFIO_DEVICE_GET_INFO",
        uapi::DEVICE_GET_INFO,
        uapi::DeviceInfo {
            argsz: argsz::<uapi::DeviceInfo>(),
            ..Default::default()
        },
    )
}

pub(super) fn region_info(device: &Device, index: u32) -> Result<uapi::RegionInfo> {
    query(
        device,
        "VFIO_DEVICE_GET_REGION_INFO",
        uapi::DEVICE_GET_REGION_INFO,
        uapi::RegionInfo {
            argsz: argsz::<uapi::RegionInfo>(),
            index,
            ..Default::default()
        },
    )
}

pub(super) fn irq_info(device: &Device, index: u32) -> Result<uapi::IrqInfo> {
    query(
        device,
        "VFIO_DEVICE_GET_IRQ_INFO",
        uapi::DEVICE_GET_IRQ_INFO,
        uapi::IrqInfo {
            argsz: argsz::<uapi::IrqInfo>(),
            index,
            ..Default::default()
        },
    )
}

pub(super) fn reset(device: &Device) -> Result<()> {
    // SAFETY: the call takes no argument.
    unsafe {
        zero(
            &**device.kernel(),
            device.fd(),
            uapi::DEVICE_RESET,
            Arg::None,
        )
    }
    .map_err(|answer| failed(device, "VFIO_DEVICE_RESET", answer))
}

/// `VFIO_DEVICE_SET_IRQS` with no data: acts on `count` interrupts from `start` on.
pub(super) fn set_irqs(
    device: &Device,
    index: u32,
    action: u32,
    start: u32,
    count: u32,
) -> Result<()> {
    let header = uapi::IrqSet {
        argsz: argsz::<uapi::IrqSet>(),
        flags: uapi::IRQ_SET_DATA_NONE | action,
        index,
        start,
        count,
    };
    issue_set_irqs(device, header.as_bytes())
}

/// `VFIO_DEVICE_SET_IRQS` with an eventfd for each interrupt from `start` on.
pub(super) fn set_irq_eventfds(
    device: &Device,
    index: u32,
    action: u32,
    start: u32,
    eventfds: &[BorrowedFd<'_>],
) -> Result<()> {
    let too_many = || device.error(ErrorKind::Invalid, "VFIO_DEVICE_SET_IRQS");
    let fds: Vec<i32> = eventfds.iter().map(AsRawFd::as_raw_fd).collect();
    let size = size_of::<uapi::IrqSet>() + size_of_val(&*fds);
    let header = uapi::IrqSet {
        argsz: u32::try_from(size).map_err(|_| too_many())?,
        flags: uapi::IRQ_SET_DATA_EVENTFD | action,
        index,
        start,
        count: u32::try_from(fds.len()).map_err(|_| too_many())?,
    };
    issue_set_irqs(device, &[header.as_bytes(), fds.as_bytes()].concat())
}

/// A positive answer is how many vectors can be had, where fewer can than were asked for (P4).
fn issue_set_irqs(device: &Device, bytes: &[u8]) -> Result<()> {
    // SAFETY: the header says how long the bytes are; the fds behind it are borrowed for the call, and the
    // kernel takes references of its own.
    unsafe {
        zero(
            &**device.kernel(),
            device.fd(),
            uapi::DEVICE_SET_IRQS,
            Arg::In(bytes),
        )
    }
    .map_err(|answer| match answer {
        Answer::Returned(vectors) => failed(device, "VFIO_DEVICE_SET_IRQS", answer)
            .of_kind(ErrorKind::Exhausted)
            .because(format!("only {vectors} vectors can be had")),
        Answer::Errno(_) => failed(device, "VFIO_DEVICE_SET_IRQS", answer),
    })
}
