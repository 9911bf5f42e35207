//! KVM's ioctls, each with its struct.
#![allow(unsafe_code)] // Structs that carry fds which are open, and addresses of locals; fds that come back.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use zerocopy::{Immutable, IntoBytes};

use crate::call::{value, zero};
use crate::error::{Answer, Error, ErrorKind, Result};
use crate::kernel::{Arg, Errno, Kernel};

use super::uapi;

/// The node of KVM.
pub const KVM_NODE: &str = "/dev/kvm";

/// What another process's VM answers to every call.
const OF_ANOTHER: &str = "the VM belongs to another process";

/// A new VM without memory or processors, for tests and tools; a VMM has one of its own. It ends with its last fd, and
/// with whatever else of it is open.
///
/// # Errors
/// [`ErrorKind::Unsupported`]: this host has no KVM. [`ErrorKind::NotPermitted`]: this user may not open its node.
/// Otherwise what the kernel answered.
pub fn create_vm(kernel: &Arc<dyn Kernel>) -> Result<OwnedFd> {
    let kvm = kernel.open(Path::new(KVM_NODE)).map_err(|errno| {
        let error = Error::kernel("open", KVM_NODE, errno);
        match errno {
            Errno::NOENT | Errno::NODEV | Errno::NXIO => error
                .of_kind(ErrorKind::Unsupported)
                .because("this host has no KVM, or its module is not loaded"),
            Errno::ACCESS => error.because("this user may not open the node"),
            _ => error,
        }
    })?;
    // SAFETY: the call takes a number, the type that every architecture has, and returns a new fd.
    unsafe { kernel.ioctl_fd(kvm.as_fd(), uapi::CREATE_VM, Arg::Value(0)) }
        .map_err(|errno| Error::kernel("KVM_CREATE_VM", KVM_NODE, errno))
}

/// Whether a VM, or KVM itself, has a capability: one of the numbers in [`uapi`], or another of `linux/kvm.h`.
///
/// # Errors
/// What the kernel answered; `ENOTTY` among others: the fd is neither of a VM nor of KVM.
pub fn has_capability(
    kernel: &Arc<dyn Kernel>,
    vm: BorrowedFd<'_>,
    capability: u32,
) -> Result<bool> {
    Ok(extent(kernel, vm, capability)? > 0)
}

/// How much a VM has of a capability; 0: it does not have it.
pub(super) fn extent(kernel: &Arc<dyn Kernel>, vm: BorrowedFd<'_>, capability: u32) -> Result<u32> {
    let number = Arg::Value(capability as usize);
    // SAFETY: the call takes a number, and returns one.
    let answer = unsafe { value(&**kernel, vm, uapi::CHECK_EXTENSION, number) };
    answer.map_err(|answer| of_vm("KVM_CHECK_EXTENSION", answer))
}

/// Puts memory into a slot, or takes it away.
///
/// # Safety
/// As long as the slot has the memory, a guest may write there at any time, and reaches whatever of this process is at
/// those addresses: only what was meant for it may be there.
pub(super) unsafe fn set_user_memory_region(
    kernel: &Arc<dyn Kernel>,
    vm: BorrowedFd<'_>,
    region: &uapi::UserspaceMemoryRegion,
) -> std::result::Result<(), Answer> {
    let arg = Arg::In(region.as_bytes());
    // SAFETY: the call reads this struct; what becomes of the memory that it names is our caller's promise.
    unsafe { zero(&**kernel, vm, uapi::SET_USER_MEMORY_REGION, arg) }
}

/// An error of a call on a VM.
fn of_vm(operation: &'static str, answer: Answer) -> Error {
    of_part(operation, "a VM", answer)
}

/// An error of a call on a VM, about something that the VM has.
pub(super) fn of_part(operation: &'static str, part: impl Into<String>, answer: Answer) -> Error {
    let error = Error::kernel(operation, part, answer);
    match answer {
        Answer::Errno(Errno::IO) => error.because(OF_ANOTHER),
        Answer::Errno(Errno::NOTTY) => error
            .of_kind(ErrorKind::Invalid)
            .because("the fd is none of a VM"),
        _ => error,
    }
}

/// Creates the VFIO device of a VM.
pub(super) fn create_vfio_device(kernel: &Arc<dyn Kernel>, vm: BorrowedFd<'_>) -> Result<OwnedFd> {
    const OPERATION: &str = "KVM_CREATE_DEVICE";
    let mut create = uapi::CreateDevice {
        kind: uapi::DEV_TYPE_VFIO,
        fd: -1,
        flags: 0,
    };
    // SAFETY: the call reads and writes this struct, which carries no address.
    let answer = unsafe {
        zero(
            &**kernel,
            vm,
            uapi::CREATE_DEVICE,
            Arg::InOut(create.as_mut_bytes()),
        )
    };
    // A call that failed with an errno has made nothing.
    let made = !matches!(answer, Err(Answer::Errno(_))) && create.fd >= 0;
    // SAFETY: the kernel has put a new fd there, which was -1 before; nobody else has seen it.
    let fd = made.then(|| unsafe { OwnedFd::from_raw_fd(create.fd) });
    answer.map_err(|answer| {
        let error = of_vm(OPERATION, answer);
        match answer {
            Answer::Errno(Errno::BUSY) => error
                .because("the VM has a VFIO device already, and can have but one: adopt its fd"),
            Answer::Errno(Errno::NODEV) => error
                .of_kind(ErrorKind::Unsupported)
                .because("this kernel's KVM was built without VFIO"),
            _ => error,
        }
    })?;
    fd.ok_or_else(|| {
        Error::new(ErrorKind::Kernel, OPERATION, "a VM").because("the kernel answered no fd")
    })
}

/// Whether a device of KVM's has an attribute of VFIO's.
pub(super) fn has_attribute(
    kernel: &Arc<dyn Kernel>,
    device: BorrowedFd<'_>,
    attribute: u64,
) -> std::result::Result<(), Answer> {
    let attr = uapi::DeviceAttr {
        flags: 0,
        group: uapi::DEV_VFIO_FILE,
        attr: attribute,
        addr: 0,
    };
    // SAFETY: the call reads this struct, whose address it does not look at.
    unsafe {
        zero(
            &**kernel,
            device,
            uapi::HAS_DEVICE_ATTR,
            Arg::In(attr.as_bytes()),
        )
    }
}

/// Adds or takes away a file.
pub(super) fn set_file(
    kernel: &Arc<dyn Kernel>,
    device: BorrowedFd<'_>,
    attribute: u64,
    file: BorrowedFd<'_>,
) -> std::result::Result<(), Answer> {
    // SAFETY: both of these attributes are the number of an fd, which is open; the kernel takes hold of its file.
    unsafe { set_attribute(kernel, device, attribute, &file.as_raw_fd()) }
}

/// Has the kernel look at a group that was added, as it does before it attaches a table: here it finds that there is no
/// such table, and says so. It counts on having looked when it takes the group away (H11).
pub(super) fn show_group(
    kernel: &Arc<dyn Kernel>,
    device: BorrowedFd<'_>,
    group: BorrowedFd<'_>,
) -> std::result::Result<(), Answer> {
    let param = uapi::VfioSpaprTce {
        groupfd: group.as_raw_fd(),
        tablefd: -1,
    };
    let attribute = uapi::DEV_VFIO_GROUP_SET_SPAPR_TCE;
    // SAFETY: this struct belongs to the attribute; there is no table with that fd, so that nothing is attached.
    match unsafe { set_attribute(kernel, device, attribute, &param) } {
        Err(Answer::Errno(Errno::BADF)) => Ok(()),
        Err(answer) => Err(answer),
        Ok(()) => Err(Answer::Returned(0)),
    }
}

/// Attaches a group to a table.
///
/// # Safety
/// From now on the guest maps memory for the group's devices: see [`TceTable::attach`](super::TceTable::attach).
pub(super) unsafe fn set_spapr_tce(
    kernel: &Arc<dyn Kernel>,
    device: BorrowedFd<'_>,
    group: BorrowedFd<'_>,
    table: BorrowedFd<'_>,
) -> std::result::Result<(), Answer> {
    let param = uapi::VfioSpaprTce {
        groupfd: group.as_raw_fd(),
        tablefd: table.as_raw_fd(),
    };
    let attribute = uapi::DEV_VFIO_GROUP_SET_SPAPR_TCE;
    // SAFETY: this struct belongs to the attribute, and its fds are open; the rest is our caller's promise.
    unsafe { set_attribute(kernel, device, attribute, &param) }
}

/// Sets an attribute of VFIO's.
///
/// # Safety
/// `value` must be what belongs to the attribute; what the kernel does with it is the caller's to answer for.
unsafe fn set_attribute<T: IntoBytes + Immutable>(
    kernel: &Arc<dyn Kernel>,
    device: BorrowedFd<'_>,
    attribute: u64,
    value: &T,
) -> std::result::Result<(), Answer> {
    let attr = uapi::DeviceAttr {
        flags: 0,
        group: uapi::DEV_VFIO_FILE,
        attr: attribute,
        addr: (&raw const *value).expose_provenance() as u64,
    };
    // SAFETY: the call reads this struct and, at its address, the value that our caller promised belongs there, and
    // that is borrowed until the call returns.
    unsafe {
        zero(
            &**kernel,
            device,
            uapi::SET_DEVICE_ATTR,
            Arg::In(attr.as_bytes()),
        )
    }
}

/// Creates a TCE table.
pub(super) fn create_table(
    kernel: &Arc<dyn Kernel>,
    vm: BorrowedFd<'_>,
    create: &uapi::CreateSpaprTce64,
) -> Result<OwnedFd> {
    // SAFETY: the call reads this struct, which carries no address, and returns a new fd.
    let made =
        unsafe { kernel.ioctl_fd(vm, uapi::CREATE_SPAPR_TCE_64, Arg::In(create.as_bytes())) };
    made.map_err(|errno| {
        let error = of_vm("KVM_CREATE_SPAPR_TCE_64", Answer::Errno(errno));
        match errno {
            Errno::BUSY => error.because(format!(
                "the VM has a table that the guest calls {:#x}",
                create.liobn
            )),
            Errno::NOMEM => error.because(
                "the kernel has no memory for the table, or this process may not lock so much: the whole table counts",
            ),
            _ => error,
        }
    })
}
