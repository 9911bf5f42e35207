//! A kernel that answers what another one did.
#![allow(unsafe_code)] // The trait's methods are unsafe; what is done here is not, but for real memory.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use vfio_core::address::HostRange;
use vfio_core::kernel::{
    Arg, Errno, Kernel, Linux, Node, Opcode, Protection, RegionMapping, RegisterFile, Result,
};
use vfio_core::uapi;

use super::call::{Call, Input, Request};
use super::objects::{Objects, kind_of_answer, kind_of_node};
use super::places::Places;
use super::trace::{BadTrace, Entry, Said, Scope, Trace, asked, fields};
use crate::names::Kind;

/// Answers the calls of a [`Recording`](super::Recording) in their order, as the kernel did that was recorded.
///
/// The fds that it gives are real, and stand for nothing, but for eventfds, which are eventfds. Memory is this host's.
/// Where a region was mapped there is memory of zeros, or registers that keep what is written to them.
///
/// The first call that is not the recorded one (see [what is compared](super::trace)), and each one after it, fails
/// with [`Replay::DEVIATED`]. So calls must come in one order: those of several threads do not.
#[derive(Debug)]
pub struct Replay {
    trace: Trace,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: usize,
    deviation: Option<Deviation>,
    objects: Objects,
    places: Places,
}

/// What was asked in place of what was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deviation {
    /// How many calls were as recorded.
    pub after: usize,
    /// What was asked, as [the text](super::trace) has it.
    pub asked: String,
    /// The line that was due; `None` if the recording was over.
    pub recorded: Option<String>,
}

impl fmt::Display for Deviation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { after, asked, .. } = self;
        write!(f, "after {after} calls `{asked}` was asked, ")?;
        match &self.recorded {
            Some(line) => write!(f, "where the recording has `{line}`"),
            None => f.write_str("where the recording is over"),
        }
    }
}

impl Replay {
    /// What a call answers that is not the recorded one. No call of VFIO answers it.
    pub const DEVIATED: Errno = Errno::BADE;

    /// A kernel that answers as that text says.
    ///
    /// # Errors
    /// The text is no trace, or of another version.
    pub fn of(text: &str) -> std::result::Result<Self, BadTrace> {
        let mut trace: Trace = text.parse()?;
        trace.entries.retain(|entry| !entry.is_close()); // no kernel is asked for that
        Ok(Self {
            trace,
            state: Mutex::default(),
        })
    }

    /// The first call that was not as recorded.
    pub fn deviation(&self) -> Option<Deviation> {
        self.state().deviation.clone()
    }

    /// Whether every call of the recording was made, and no other.
    pub fn is_finished(&self) -> bool {
        let state = self.state();
        state.next == self.trace.entries.len() && state.deviation.is_none()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The recorded call, if it is this one and answers what such a call can.
    fn next(
        &self,
        fd: Option<BorrowedFd<'_>>,
        request: Request<'_>,
        fits: fn(Said) -> bool,
    ) -> Result<&Entry> {
        let state = &mut *self.state();
        if state.deviation.is_some() {
            return Err(Self::DEVIATED);
        }
        let object = fd.and_then(|fd| state.objects.find(fd));
        let call = Call {
            fd,
            object,
            request,
        };
        let asked = asked(&call, &state.places, Scope::Everything);
        let entry = self.trace.entries.get(state.next);
        let due = entry.filter(|entry| entry.asked == asked);
        let due = due.filter(|entry| fits(entry.said) || matches!(entry.said, Said::Failed(_)));
        let Some(due) = due else {
            state.deviation = Some(Deviation {
                after: state.next,
                asked,
                recorded: entry.map(ToString::to_string),
            });
            return Err(Self::DEVIATED);
        };
        state.next += 1;
        Ok(due)
    }

    /// As [`next`](Self::next), for what answers nothing else than that it was done, or failed.
    fn done(&self, fd: Option<BorrowedFd<'_>>, request: Request<'_>) -> Result<&Entry> {
        succeeded(self.next(fd, request, |said| said == Said::Done)?)
    }

    /// A new fd for an object that was recorded.
    fn opened(&self, entry: &Entry, kind: Kind) -> Result<OwnedFd> {
        succeeded(entry)?;
        let fd = match kind {
            Kind::Eventfd => Linux.eventfd()?,
            _ => memfd_create("replayed", MemfdFlags::CLOEXEC)?,
        };
        let mut state = self.state();
        state.objects.add(fd.as_fd(), kind);
        state.places.opened(fd.as_fd());
        Ok(fd)
    }

    /// An ioctl: its recorded bytes are written also when it failed.
    fn ioctl_entry(
        &self,
        fd: BorrowedFd<'_>,
        request: Request<'_>,
        output: Option<&mut [u8]>,
        fits: fn(Said) -> bool,
    ) -> Result<&Entry> {
        let entry = self.next(Some(fd), request, fits)?;
        if let Some(bytes) = output.filter(|bytes| bytes.len() == entry.output.len()) {
            let name = entry.asked.split(' ').next().unwrap_or_default();
            let mut recorded = entry.output.clone();
            for place in fields(name, bytes)
                .iter()
                .filter_map(|field| field.place(bytes))
            {
                recorded[place.clone()].copy_from_slice(&bytes[place]);
            }
            bytes.copy_from_slice(&recorded);
        }
        succeeded(entry)
    }
}

fn succeeded(entry: &Entry) -> Result<&Entry> {
    match entry.said {
        Said::Failed(errno) => Err(errno),
        _ => Ok(entry),
    }
}

/// What an argument has to read, and where it can be written.
fn taken<'a>(arg: Arg<'a>, copy: &'a mut Vec<u8>) -> (Input<'a>, Option<&'a mut [u8]>) {
    match arg {
        Arg::None => (Input::None, None),
        Arg::Value(value) => (Input::Value(value), None),
        Arg::In(bytes) => (Input::Bytes(bytes), None),
        Arg::InOut(bytes) => {
            copy.extend_from_slice(bytes);
            (Input::Bytes(copy), Some(bytes))
        }
    }
}

fn number(entry: &Entry) -> Result<u64> {
    match entry.said {
        Said::Number(number) => Ok(number),
        Said::Failed(errno) => Err(errno),
        _ => Err(Replay::DEVIATED),
    }
}

fn is_number(said: Said) -> bool {
    matches!(said, Said::Number(_))
}

fn is_fd(said: Said) -> bool {
    matches!(said, Said::Fd(_))
}

// SAFETY: memory is mapped by Linux.
unsafe impl Kernel for Replay {
    fn open(&self, path: &Path) -> Result<OwnedFd> {
        let entry = self.next(None, Request::Open { path }, is_fd)?;
        self.opened(entry, kind_of_node(path))
    }

    unsafe fn ioctl(&self, fd: BorrowedFd<'_>, opcode: Opcode, arg: Arg<'_>) -> Result<u32> {
        let mut copy = Vec::new();
        let (input, output) = taken(arg, &mut copy);
        let request = Request::Ioctl { opcode, input };
        let entry = self.ioctl_entry(fd, request, output, is_number)?;
        let answer = u32::try_from(number(entry)?).map_err(|_| Errno::RANGE)?;
        if let (uapi::SET_IOMMU, Input::Value(iommu), 0) = (opcode, input, answer) {
            self.state().objects.set_iommu(fd, iommu);
        }
        Ok(answer)
    }

    unsafe fn ioctl_fd(&self, fd: BorrowedFd<'_>, opcode: Opcode, arg: Arg<'_>) -> Result<OwnedFd> {
        let mut copy = Vec::new();
        let (input, output) = taken(arg, &mut copy);
        let request = Request::IoctlFd { opcode, input };
        let entry = self.ioctl_entry(fd, request, output, is_fd)?;
        self.opened(entry, kind_of_answer(opcode))
    }

    fn pread(&self, fd: BorrowedFd<'_>, bytes: &mut [u8], offset: u64) -> Result<usize> {
        let len = bytes.len();
        let entry = self.next(Some(fd), Request::Pread { len, offset }, is_number)?;
        number(entry)?;
        let count = entry.output.len().min(len);
        bytes[..count].copy_from_slice(&entry.output[..count]);
        Ok(count)
    }

    fn pwrite(&self, fd: BorrowedFd<'_>, bytes: &[u8], offset: u64) -> Result<usize> {
        let entry = self.next(Some(fd), Request::Pwrite { bytes, offset }, is_number)?;
        let count = usize::try_from(number(entry)?).map_err(|_| Errno::RANGE)?;
        Ok(count.min(bytes.len()))
    }

    fn mmap(&self, len: usize) -> Result<NonNull<u8>> {
        let entry = self.next(None, Request::Mmap { len }, |said| said == Said::Pages)?;
        succeeded(entry)?;
        let addr = Linux.mmap(len)?;
        self.state().places.mapped(addr, len);
        Ok(addr)
    }

    fn map_region(
        &self,
        device: BorrowedFd<'_>,
        offset: u64,
        len: usize,
        protection: Protection,
        align: usize,
    ) -> Result<RegionMapping> {
        let request = Request::MapRegion {
            offset,
            len,
            protection,
            align,
        };
        let entry = self.next(Some(device), request, |said| {
            matches!(said, Said::Pages | Said::Registers)
        })?;
        if succeeded(entry)?.said == Said::Registers {
            return Ok(RegionMapping::Registers(Arc::new(Plain::new(len))));
        }
        let file = memfd_create("replayed region", MemfdFlags::CLOEXEC)?;
        ftruncate(&file, offset.saturating_add(len as u64))?;
        let mapping = Linux.map_region(file.as_fd(), offset, len, protection, align)?;
        if let RegionMapping::Pages(addr) = mapping {
            self.state().places.mapped(addr, len);
        }
        Ok(mapping)
    }

    unsafe fn munmap(&self, addr: NonNull<u8>, len: usize) -> Result<()> {
        self.done(None, Request::Munmap { addr, len })?;
        self.state().places.unmapped(addr);
        // SAFETY: every mapping of this kernel is one of Linux; the rest is our caller's promise.
        unsafe { Linux.munmap(addr, len) }
    }

    unsafe fn keep_from_children(&self, addr: NonNull<u8>, len: usize) -> Result<()> {
        self.done(None, Request::KeepFromChildren { addr, len })?;
        // SAFETY: every mapping of this kernel is one of Linux; the rest is our caller's promise.
        unsafe { Linux.keep_from_children(addr, len) }
    }

    // In no recording: it changes no answer, and may come from several threads.
    fn populate(&self, memory: HostRange, write: bool) -> Result<()> {
        Linux.populate(memory, write)
    }

    fn resident(&self, memory: HostRange, pages: &mut [u8]) -> Result<()> {
        Linux.resident(memory, pages)
    }

    fn eventfd(&self) -> Result<OwnedFd> {
        let entry = self.next(None, Request::Eventfd, is_fd)?;
        self.opened(entry, Kind::Eventfd)
    }

    fn memlock_limit(&self) -> Option<u64> {
        self.trace.machine.memlock
    }

    fn page_size(&self) -> usize {
        self.trace.machine.page_size
    }

    fn identity(&self) -> (String, String) {
        let machine = &self.trace.machine;
        (machine.arch.clone(), machine.release.clone())
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>> {
        let entry = self.done(None, Request::Read { path })?;
        Ok(entry.output.clone())
    }

    fn list(&self, path: &Path) -> Result<Vec<OsString>> {
        let entry = self.done(None, Request::List { path })?;
        let names = entry.output.split(|byte| *byte == 0);
        Ok(names
            .filter(|name| !name.is_empty())
            .map(|name| OsStr::from_bytes(name).to_owned())
            .collect())
    }

    fn read_link(&self, path: &Path) -> Result<PathBuf> {
        let entry = self.done(None, Request::ReadLink { path })?;
        Ok(OsStr::from_bytes(&entry.output).into())
    }

    /// No trace has whose a node is.
    fn node(&self, _: &Path) -> Result<Node> {
        Err(Errno::NOENT)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        self.done(None, Request::Write { path, bytes }).map(drop)
    }
}

/// Registers that keep what is written to them.
#[derive(Debug)]
struct Plain(Mutex<Vec<u8>>);

impl Plain {
    fn new(len: usize) -> Self {
        Self(Mutex::new(vec![0; len]))
    }

    fn with<T>(&self, offset: usize, len: usize, access: impl FnOnce(&mut [u8]) -> T) -> Result<T> {
        let mut bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let end = offset.checked_add(len);
        let place = end.and_then(|end| bytes.get_mut(offset..end));
        place.map(access).ok_or(Errno::FAULT)
    }
}

impl RegisterFile for Plain {
    fn read(&self, offset: usize, bytes: &mut [u8]) -> Result<()> {
        self.with(offset, bytes.len(), |place| bytes.copy_from_slice(place))
    }

    fn write(&self, offset: usize, bytes: &[u8]) -> Result<()> {
        self.with(offset, bytes.len(), |place| place.copy_from_slice(bytes))
    }
}
