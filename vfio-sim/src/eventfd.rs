//! Eventfds of the caller: the kernel keeps references and signals them.
#![allow(unsafe_code)] // Duplicates an fd of the caller by its number.

use std::collections::BTreeSet;
use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::readlink;
use rustix::io::{ReadWriteFlags, preadv2};
use vfio_core::kernel::{Errno, Result};

/// An eventfd, held by the kernel. Whoever made it chose whether it blocks; the kernel never waits for it.
#[derive(Debug, Clone)]
pub(crate) struct EventFd(Arc<Held>);

/// An fd of the kernel's.
#[derive(Debug)]
struct Held(OwnedFd);

/// The fds that simulated kernels of this process hold: a real one has none.
static HELD: Mutex<BTreeSet<RawFd>> = Mutex::new(BTreeSet::new());

fn held() -> MutexGuard<'static, BTreeSet<RawFd>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Which eventfd an fd is of.
fn id(fd: RawFd) -> Option<u64> {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok()?;
    let mut ids = info
        .lines()
        .filter_map(|line| line.strip_prefix("eventfd-id:"));
    ids.next()?.trim().parse().ok()
}

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
        let fd = rustix::io::fcntl_dupfd_cloexec(borrowed, 0)?;
        held().insert(fd.as_raw_fd());
        Ok(Self(Arc::new(Held(fd))))
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let ours = id(self.as_fd().as_raw_fd());
        ours.is_some() && ours == id(other.as_fd().as_raw_fd())
    }

    /// Whether its owner has closed it: this process has no fd of it but those of the kernel.
    pub(crate) fn is_abandoned(&self) -> bool {
        let (Some(own), Ok(fds)) = (
            id(self.as_fd().as_raw_fd()),
            std::fs::read_dir("/proc/self/fd"),
        ) else {
            return false;
        };
        let held = held();
        let mut others = fds
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter(|fd| !held.contains(fd));
        !others.any(|fd| id(fd) == Some(own))
    }

    /// Adds one to it. One that is full already says that something came: there a write would block.
    pub(crate) fn signal(&self) {
        let mut room = [PollFd::new(self, PollFlags::OUT)];
        // Linux writes to no eventfd with `RWF_NOWAIT`, and its flags are the caller's too.
        if poll(&mut room, Some(&Timespec::default())) == Ok(1) {
            let _ = rustix::io::write(self, &1u64.to_ne_bytes());
        }
    }

    /// Takes what it counts; answers whether that was anything. Somebody else may have been faster.
    pub(crate) fn take(&self) -> bool {
        const NO_OFFSET: u64 = u64::MAX;
        let mut count = [0; 8];
        let mut buffer = [IoSliceMut::new(&mut count)];
        preadv2(self, &mut buffer, NO_OFFSET, ReadWriteFlags::NOWAIT).is_ok()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        held().remove(&self.0.as_raw_fd());
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{EventfdFlags, eventfd};
    use std::sync::mpsc;
    use std::time::Duration;

    /// What `act` answers, if it does not hang.
    fn in_time<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, answer) = mpsc::channel();
        std::thread::spawn(move || done.send(act()));
        answer.recv_timeout(Duration::from_secs(20)).unwrap()
    }

    /// One that blocks, of the caller and of the kernel.
    fn blocking() -> (OwnedFd, EventFd) {
        let own = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
        let held = EventFd::of_number(own.as_raw_fd()).unwrap();
        (own, held)
    }

    #[test]
    fn one_that_is_full_blocks_nobody() {
        let (own, held) = blocking();
        let full = u64::MAX - 1;
        rustix::io::write(&own, &full.to_ne_bytes()).unwrap();
        in_time(move || held.signal());
        let mut count = [0; 8];
        rustix::io::read(&own, &mut count).unwrap();
        assert_eq!(u64::from_ne_bytes(count), full);
    }

    #[test]
    fn one_that_is_empty_blocks_nobody() {
        let (_own, held) = blocking();
        let answers = in_time(move || {
            let empty = held.take();
            held.signal();
            (empty, held.take(), held.take())
        });
        assert_eq!(answers, (false, true, false));
    }
}
