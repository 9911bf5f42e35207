//! Real fds for simulated objects.
//!
//! An fd that is given away is one end of a pair of sockets; the other end stays here, and sees the
//! hang-up when the last duplicate has been closed. What an fd stands for is found by the inode of its
//! socket, which all duplicates share.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

use rustix::fs::{Stat, fstat, stat};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, recv, socketpair};
use vfio_core::kernel::{Errno, Result};

use crate::event::Object;

/// The objects that have an open fd.
#[derive(Debug, Default)]
pub(crate) struct Files(Vec<File>);

#[derive(Debug)]
struct File {
    inode: Inode,
    peer: OwnedFd,
    object: Object,
}

/// A file of this host, however many fds it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Inode {
    device: u64,
    number: u64,
}

impl Inode {
    /// The file behind an fd.
    pub(crate) fn of(fd: BorrowedFd<'_>) -> Result<Self> {
        fstat(fd).map(Self::from)
    }

    /// The file behind the number of an fd, which may be that of none: `EBADF`.
    pub(crate) fn of_number(fd: RawFd) -> Result<Self> {
        let file = stat(format!("/proc/self/fd/{fd}")).map_err(|_| Errno::BADF)?;
        Ok(file.into())
    }
}

impl From<Stat> for Inode {
    fn from(stat: Stat) -> Self {
        Self {
            device: stat.st_dev,
            number: stat.st_ino,
        }
    }
}

impl Files {
    /// A new fd, close-on-exec (A16), for `object`.
    pub(crate) fn open(&mut self, object: Object) -> Result<OwnedFd> {
        let (fd, peer) = socketpair(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )?;
        let inode = Inode::of(fd.as_fd())?;
        self.0.push(File {
            inode,
            peer,
            object,
        });
        Ok(fd)
    }

    /// What a file stands for; `None` if it is not one of ours.
    pub(crate) fn find(&self, inode: Inode) -> Option<&Object> {
        self.objects_with(|file| file.inode == inode).next()
    }

    /// What a file stands for is another object now.
    pub(crate) fn rename(&mut self, from: &Object, to: &Object) {
        for file in self.0.iter_mut().filter(|file| file.object == *from) {
            file.object = to.clone();
        }
    }

    /// The objects that have an open fd.
    pub(crate) fn objects(&self) -> impl Iterator<Item = &Object> {
        self.objects_with(|_| true)
    }

    fn objects_with(&self, wanted: impl Fn(&File) -> bool) -> impl Iterator<Item = &Object> {
        self.0
            .iter()
            .filter(move |file| wanted(file))
            .map(|file| &file.object)
    }

    /// Forgets the objects whose last fd has been closed, and answers them in the order of release.
    pub(crate) fn take_closed(&mut self) -> Vec<Object> {
        let (closed, open): (Vec<_>, _) = self.0.drain(..).partition(|file| hung_up(&file.peer));
        self.0 = open;
        let mut closed: Vec<_> = closed.into_iter().map(|file| file.object).collect();
        closed.sort();
        closed
    }
}

/// Nothing is ever sent, so that there is something to receive only at the end.
fn hung_up(peer: &OwnedFd) -> bool {
    matches!(recv(peer, &mut [0u8; 1], RecvFlags::DONTWAIT), Ok((0, _)))
}
