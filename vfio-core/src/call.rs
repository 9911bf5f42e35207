//! Calls with their answers judged: what an ioctl returns is a failure unless it is documented.
//!
//! Four calls of VFIO fail with a *positive* return value (behaviours P1 to P4), so that `ret < 0` is the
//! wrong question. Backends issue their calls through [`zero`], and through [`value`] where the header
//! says that a number comes back.
#![allow(unsafe_code)] // Passes the kernel's contract on to its callers.

use std::os::fd::BorrowedFd;

use crate::error::Answer;
use crate::kernel::{Arg, Kernel, Opcode};

/// Issues an ioctl that returns 0 when it succeeds, and nothing else.
///
/// # Safety
/// That of [`Kernel::ioctl`].
///
/// # Errors
/// The errno, or the positive number that the kernel returned.
#[inline]
pub unsafe fn zero(
    kernel: &dyn Kernel,
    fd: BorrowedFd<'_>,
    opcode: Opcode,
    arg: Arg<'_>,
) -> Result<(), Answer> {
    // SAFETY: passed on to our caller.
    match unsafe { kernel.ioctl(fd, opcode, arg) }? {
        0 => Ok(()),
        positive => Err(Answer::Returned(positive)),
    }
}

/// Issues an ioctl whose return value is documented to carry an answer.
///
/// # Safety
/// That of [`Kernel::ioctl`].
///
/// # Errors
/// The errno.
pub unsafe fn value(
    kernel: &dyn Kernel,
    fd: BorrowedFd<'_>,
    opcode: Opcode,
    arg: Arg<'_>,
) -> Result<u32, Answer> {
    // SAFETY: passed on to our caller.
    Ok(unsafe { kernel.ioctl(fd, opcode, arg) }?)
}

/// The size of `T`, as the kernel wants it in an `argsz` field.
pub const fn argsz<T>() -> u32 {
    let size = size_of::<T>();
    assert!(size <= u32::MAX as usize);
    #[allow(clippy::cast_possible_truncation)] // checked above
    let size = size as u32;
    size
}
