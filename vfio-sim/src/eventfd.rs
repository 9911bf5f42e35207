//! Eventfds of the caller: the kernel keeps references, signals them, and waits for them.
#![allow(unsafe_code)] // Duplicates an fd of the caller by its number.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::thread;

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::fs::readlink;
use vfio_core::kernel::{Errno, Result};

/// An eventfd, held by the kernel.
#[derive(Debug)]
pub(crate) struct EventFd(OwnedFd);

impl EventFd {
    /// A reference of an eventfd of the caller's: `EBADF` for the number of no fd, `EINVAL` for another file.
    pub(crate) fn of_number(fd: RawFd) -> Result<Self> {
        if fd < 0 {
            return Err(Errno::BADF);
        }
        let link = readlink(format!("/proc/self/fd/{fd}"), Vec::new()).map_err(|_| Errno::BADF)?;
        if !link.to_bytes().ends_with(b"[eventfd]") {
            return Err(Errno::INVAL);
        }
        // SAFETY: the number goes into one system call, which looks at it once and fails if it is that of no fd.
        let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
        rustix::io::fcntl_dupfd_cloexec(borrowed, 0).map(Self)
    }

    /// Adds one to it.
    pub(crate) fn signal(&self) {
        // One that is full already says that something came.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }
}

/// A wait for an eventfd: what is to be done each time that it is signalled. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Watch(Arc<OwnedFd>);

impl Watch {
    /// Calls `act` each time that `fd` is signalled, from a thread of its own.
    pub(crate) fn new(fd: EventFd, act: impl Fn() + Send + 'static) -> Result<Self> {
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let stopped = Arc::clone(&stop);
        let wait = move || {
            while is_signalled(&fd, &stopped) {
                act();
            }
        };
        thread::Builder::new()
            .name("vfio-sim".to_owned())
            .spawn(wait)
            .map_err(|_| Errno::NOMEM)?;
        Ok(Self(stop))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // The thread is not waited for: it may be about to ask for what its owner holds.
        let _ = rustix::io::write(&*self.0, &1u64.to_ne_bytes());
    }
}

/// Waits until one of both is signalled; answers whether it is the first, whose count is taken.
fn is_signalled(fd: &EventFd, stop: &OwnedFd) -> bool {
    loop {
        let mut both = [
            PollFd::from_borrowed_fd(fd.0.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(stop.as_fd(), PollFlags::IN),
        ];
        match poll(&mut both, None) {
            Err(Errno::INTR) => continue,
            Err(_) => return false,
            Ok(_) => {}
        }
        if !both[1].revents().is_empty() {
            return false;
        }
        let mut count = [0; 8];
        // Somebody else may have taken the count.
        if rustix::io::read(&fd.0, &mut count).is_ok() {
            return true;
        }
    }
}
