//! The kernel's events: something about a device has changed.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::netlink::{KOBJECT_UEVENT, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};

/// A socket on which they arrive; none where the system has no such thing.
pub(super) struct Uevents(Option<OwnedFd>);

impl Uevents {
    pub(super) fn open() -> Self {
        Self(open().ok())
    }

    /// Waits until something has happened, and no longer than that. What it was is not asked: it is looked at anew.
    pub(super) fn wait(&self, most: Duration) {
        let Some(socket) = &self.0 else {
            std::thread::sleep(most);
            return;
        };
        let timeout = Timespec::try_from(most).ok();
        // Whatever it answers, it is looked afterwards.
        let _ = poll(&mut [PollFd::new(socket, PollFlags::IN)], timeout.as_ref());
        let mut event = [0_u8; 4096];
        while recv(socket, &mut event, RecvFlags::DONTWAIT).is_ok() {}
    }
}

fn open() -> rustix::io::Result<OwnedFd> {
    /// What the kernel itself sends, before any daemon has.
    const KERNEL: u32 = 1;
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(KOBJECT_UEVENT),
    )?;
    bind(&socket, &SocketAddrNetlink::new(0, KERNEL))?;
    Ok(socket)
}
