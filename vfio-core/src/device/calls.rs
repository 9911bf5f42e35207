//! The ioctls of a device, each with its struct.
#![allow(unsafe_code)] // Structs without addresses; eventfds are borrowed for the call.

use std::os::fd::{AsRawFd, BorrowedFd};

use zerocopy::{FromBytes, IntoBytes};

use crate::call::{argsz, zero};
use crate::error::{Answer, Error, ErrorKind, Result};
use crate::kernel::{Arg, Errno, Opcode};
use crate::uapi;

use super::Device;
use super::ioeventfd::Request;

const GET_REGION_INFO: &str = "VFIO_DEVICE_GET_REGION_INFO";
const SET_IRQS: &str = "VFIO_DEVICE_SET_IRQS";

/// A struct whose first field says how large it is, filled in by the kernel.
fn query<T: IntoBytes + FromBytes>(
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

/// The fixed part of what the kernel says of a region.
pub(super) fn region_info(device: &Device, index: u32) -> Result<uapi::RegionInfo> {
    query(
        device,
        GET_REGION_INFO,
        uapi::DEVICE_GET_REGION_INFO,
        uapi::RegionInfo {
            argsz: argsz::<uapi::RegionInfo>(),
            index,
            ..Default::default()
        },
    )
}

/// The whole of it, in so many bytes.
pub(super) fn region_answer(device: &Device, index: u32, room: usize) -> Result<Vec<u8>> {
    let too_large = || device.error(ErrorKind::Invalid, GET_REGION_INFO);
    let head = uapi::RegionInfo {
        argsz: u32::try_from(room).map_err(|_| too_large())?,
        index,
        ..Default::default()
    };
    let mut bytes = vec![0; room];
    head.write_to_prefix(&mut bytes).map_err(|_| too_large())?;
    // SAFETY: the call writes at most `argsz` bytes, which is what there is; it carries no address.
    unsafe {
        zero(
            &**device.kernel(),
            device.fd(),
            uapi::DEVICE_GET_REGION_INFO,
            Arg::InOut(&mut bytes),
        )
    }
    .map_err(|answer| failed(device, GET_REGION_INFO, answer))?;
    Ok(bytes)
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

/// What the kernel is to act on: so many interrupts of an index, from `start` on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Irqs {
    pub(super) index: u32,
    pub(super) action: u32,
    pub(super) start: u32,
}

/// `VFIO_DEVICE_SET_IRQS` with no data: acts on `count` interrupts.
pub(super) fn set_irqs(device: &Device, irqs: Irqs, count: u32) -> Result<()> {
    issue_set_irqs(device, irqs, uapi::IRQ_SET_DATA_NONE, count, &[])
}

/// `VFIO_DEVICE_SET_IRQS` with a bool for each interrupt: acts on those that are true.
pub(super) fn set_irqs_where(device: &Device, irqs: Irqs, wanted: &[bool]) -> Result<()> {
    let bytes: Vec<u8> = wanted.iter().copied().map(u8::from).collect();
    let count = count(device, wanted.len())?;
    issue_set_irqs(device, irqs, uapi::IRQ_SET_DATA_BOOL, count, &bytes)
}

/// `VFIO_DEVICE_SET_IRQS` with an eventfd for each interrupt; `None` takes it away.
pub(super) fn set_irq_eventfds(
    device: &Device,
    irqs: Irqs,
    eventfds: &[Option<BorrowedFd<'_>>],
) -> Result<()> {
    let fds: Vec<i32> = eventfds
        .iter()
        .map(|fd| fd.map_or(NO_FD, |fd| fd.as_raw_fd()))
        .collect();
    let count = count(device, fds.len())?;
    issue_set_irqs(
        device,
        irqs,
        uapi::IRQ_SET_DATA_EVENTFD,
        count,
        fds.as_bytes(),
    )
}

/// To the kernel, no eventfd.
const NO_FD: i32 = -1;

fn count(device: &Device, len: usize) -> Result<u32> {
    u32::try_from(len).map_err(|_| device.error(ErrorKind::Invalid, SET_IRQS))
}

/// A positive answer is how many vectors can be had, where fewer can than were asked for (P4).
fn issue_set_irqs(device: &Device, irqs: Irqs, data: u32, count: u32, bytes: &[u8]) -> Result<()> {
    let Irqs {
        index,
        action,
        start,
    } = irqs;
    let error = || device.error(ErrorKind::Invalid, SET_IRQS);
    if start.checked_add(count).is_none() {
        return Err(error().because(format!("{count} interrupts from {start} on are too many")));
    }
    let size = size_of::<uapi::IrqSet>() + bytes.len();
    let header = uapi::IrqSet {
        argsz: u32::try_from(size).map_err(|_| error())?,
        flags: data | action,
        index,
        start,
        count,
    };
    // SAFETY: the header says how long the bytes are; fds behind it are borrowed for the call, and the kernel takes
    // references of its own.
    unsafe {
        zero(
            &**device.kernel(),
            device.fd(),
            uapi::DEVICE_SET_IRQS,
            Arg::In(&[header.as_bytes(), bytes].concat()),
        )
    }
    .map_err(|answer| match answer {
        Answer::Returned(vectors) => failed(device, SET_IRQS, answer)
            .of_kind(ErrorKind::Exhausted)
            .because(format!("only {vectors} vectors can be had")),
        Answer::Errno(_) => failed(device, SET_IRQS, answer),
    })
}

/// The devices that a hot reset resets. The kernel says how many there are, if the room is too small.
pub(super) fn hot_reset_info(device: &Device) -> Result<Vec<uapi::PciDependentDevice>> {
    const OPERATION: &str = "VFIO_DEVICE_GET_PCI_HOT_RESET_INFO";
    const HEAD: usize = size_of::<uapi::PciHotResetInfo>();
    const ENTRY: usize = size_of::<uapi::PciDependentDevice>();
    /// More devices than a bus and all that is below it have.
    const MOST: usize = 1 << 16;

    let nonsense = || device.error(ErrorKind::Kernel, OPERATION);
    let mut room = 16;
    loop {
        let mut bytes = vec![0; HEAD + room * ENTRY];
        let head = uapi::PciHotResetInfo {
            argsz: u32::try_from(bytes.len()).map_err(|_| nonsense())?,
            ..Default::default()
        };
        head.write_to_prefix(&mut bytes).map_err(|_| nonsense())?;
        // SAFETY: the call writes at most `argsz` bytes, which is what there is; it carries no address.
        let done = unsafe {
            zero(
                &**device.kernel(),
                device.fd(),
                uapi::DEVICE_GET_PCI_HOT_RESET_INFO,
                Arg::InOut(&mut bytes),
            )
        };
        let (head, rest) =
            uapi::PciHotResetInfo::read_from_prefix(&bytes).map_err(|_| nonsense())?;
        let count = head.count as usize;
        match done {
            Ok(()) => {
                let entries = rest.get(..count * ENTRY).ok_or_else(nonsense)?;
                let read = |entry| uapi::PciDependentDevice::read_from_bytes(entry);
                let entries = entries.chunks_exact(ENTRY).map(read);
                return entries
                    .collect::<std::result::Result<_, _>>()
                    .map_err(|_| nonsense());
            }
            Err(Answer::Errno(Errno::NOSPC)) if count > room && count <= MOST => room = count,
            Err(answer) => return Err(failed(device, OPERATION, answer)),
        }
    }
}

/// Resets the bus; `groups` are proof that all on it is ours.
pub(super) fn hot_reset(device: &Device, groups: &[BorrowedFd<'_>]) -> Result<()> {
    const OPERATION: &str = "VFIO_DEVICE_PCI_HOT_RESET";
    let too_many = || device.error(ErrorKind::Invalid, OPERATION);
    let fds: Vec<i32> = groups.iter().map(AsRawFd::as_raw_fd).collect();
    let size = size_of::<uapi::PciHotReset>() + size_of_val(&*fds);
    let head = uapi::PciHotReset {
        argsz: u32::try_from(size).map_err(|_| too_many())?,
        flags: 0,
        count: u32::try_from(fds.len()).map_err(|_| too_many())?,
    };
    // SAFETY: the header says how long the bytes are; the fds are borrowed for the call.
    unsafe {
        zero(
            &**device.kernel(),
            device.fd(),
            uapi::DEVICE_PCI_HOT_RESET,
            Arg::In(&[head.as_bytes(), fds.as_bytes()].concat()),
        )
    }
    .map_err(|answer| failed(device, OPERATION, answer))
}

/// Sets up a write that an eventfd causes, or takes it away.
pub(super) fn ioeventfd(
    device: &Device,
    request: Request,
    eventfd: Option<BorrowedFd<'_>>,
) -> Result<()> {
    let request = uapi::DeviceIoEventFd {
        argsz: argsz::<uapi::DeviceIoEventFd>(),
        flags: request.size, // the flags are the sizes
        offset: request.place,
        data: request.data,
        fd: eventfd.map_or(NO_FD, |fd| fd.as_raw_fd()),
        reserved: 0,
    };
    // SAFETY: the call reads this struct; the eventfd is borrowed for the call. What the kernel writes later goes to
    // a register, which this process could write too.
    unsafe {
        zero(
            &**device.kernel(),
            device.fd(),
            uapi::DEVICE_IOEVENTFD,
            Arg::In(request.as_bytes()),
        )
    }
    .map_err(|answer| failed(device, "VFIO_DEVICE_IOEVENTFD", answer))
}

/// Asks whether a feature can be read or set.
pub(super) fn probe_feature(device: &Device, feature: u16, direction: u32) -> Result<()> {
    let flags = u32::from(feature) | direction | uapi::DEVICE_FEATURE_PROBE;
    issue_feature(device, flags, &[])
}

/// Sets a feature whose data carries no address.
pub(super) fn set_feature(device: &Device, feature: u16, data: &[u8; 16]) -> Result<()> {
    issue_feature(device, u32::from(feature) | uapi::DEVICE_FEATURE_SET, data)
}

fn issue_feature(device: &Device, flags: u32, data: &[u8]) -> Result<()> {
    let size = size_of::<uapi::DeviceFeature>() + data.len();
    let head = uapi::DeviceFeature {
        argsz: u32::try_from(size).unwrap_or(u32::MAX),
        flags,
    };
    let mut bytes = [head.as_bytes(), data].concat();
    // SAFETY: the header says how long the bytes are, of which the callers' carry no address.
    unsafe {
        zero(
            &**device.kernel(),
            device.fd(),
            uapi::DEVICE_FEATURE,
            Arg::InOut(&mut bytes),
        )
    }
    .map_err(|answer| failed(device, "VFIO_DEVICE_FEATURE", answer))
}
