//! Counts the ioctls of this program, whoever makes them: this `ioctl` takes the place of libc's.

use std::ffi::{c_int, c_ulong, c_void};
use std::sync::atomic::{AtomicU64, Ordering};

static MADE: AtomicU64 = AtomicU64::new(0);

/// # Safety
/// That of `ioctl(2)`.
#[unsafe(no_mangle)]
unsafe extern "C" fn ioctl(fd: c_int, request: c_ulong, arg: *mut c_void) -> c_int {
    MADE.fetch_add(1, Ordering::Relaxed);
    // SAFETY: passed on to our caller. Every call that is made here has at most one argument.
    let answer = unsafe { libc::syscall(libc::SYS_ioctl, fd, request, arg) };
    c_int::try_from(answer).unwrap_or(-1)
}

/// How many ioctls `work` makes, and what it answers.
pub fn ioctls<T>(work: impl FnOnce() -> T) -> (u64, T) {
    let before = MADE.load(Ordering::Relaxed);
    let answer = work();
    (MADE.load(Ordering::Relaxed) - before, answer)
}
