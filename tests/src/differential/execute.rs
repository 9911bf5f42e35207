//! Makes calls on one kernel.
#![allow(unsafe_code)] // Raw calls, right and wrong ones: of memory that is kept until everything is closed.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;

use anyhow::{Context, Result};
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};
use vfio_core::group_node;
use vfio_core::host::PciDevice;
use vfio_core::kernel::{Arg, Errno, Kernel, Protection, RegionMapping};
use vfio_core::{CONTAINER_NODE, uapi};

use super::call::{Answer, Argument, Call, Name, Slot, Word};
use super::ignored;
use super::memory::Memories;
use crate::engine;

/// One kernel, and what is open of it.
pub(super) struct Executor {
    kernel: Arc<dyn Kernel>,
    devices: Vec<PciDevice>,
    groups: Vec<u32>,
    open: BTreeMap<Slot, OwnedFd>,
    memories: Memories,
    scratch: Scratch,
    /// Open, and nothing of VFIO's.
    other: OwnedFd,
}

impl Executor {
    pub(super) fn new(kernel: Arc<dyn Kernel>) -> Result<Self> {
        let devices = super::devices(&*kernel)?;
        Ok(Self {
            kernel,
            groups: super::groups(&devices),
            devices,
            open: BTreeMap::new(),
            memories: Memories::new()?,
            scratch: Scratch::new()?,
            other: std::fs::File::open("/dev/null")?.into(),
        })
    }

    /// Closes everything; answers what is in memory.
    pub(super) fn finish(mut self) -> Vec<Vec<u8>> {
        let mut slots: Vec<_> = self.open.keys().copied().collect();
        slots.reverse(); // eventfds, devices, groups, containers
        for slot in slots {
            self.open.remove(&slot);
        }
        self.memories.contents()
    }

    pub(super) fn make(&mut self, call: &Call) -> Answer {
        let mut answer = self.issue(call);
        if let Answer::Done(_, bytes) | Answer::Failed(_, bytes) = &mut answer {
            ignored::blank(call, bytes);
        }
        answer
    }

    fn issue(&mut self, call: &Call) -> Answer {
        match call {
            Call::OpenContainer(to) => self.put(*to, self.kernel.open(CONTAINER_NODE.as_ref())),
            Call::OpenGroup(to, n) => match self.groups.get(*n) {
                Some(id) => self.put(*to, self.kernel.open(&group_node(*id))),
                None => Answer::Empty,
            },
            Call::NewSignal(to) => self.put(*to, self.kernel.eventfd()),
            Call::OpenDevice { group, name, to } => self.open_device(*group, name, *to),
            Call::Close(slot) => match self.open.remove(slot) {
                Some(_) => Answer::Done(0, Vec::new()),
                None => Answer::Empty,
            },
            Call::Ioctl {
                on,
                number,
                argument,
            } => self.ioctl(*on, *number, argument),
            Call::Read {
                device,
                region,
                offset,
                len,
            } => self.on(*device, |this, fd| {
                let mut bytes = vec![0x77; *len];
                let done = this
                    .kernel
                    .pread(fd.as_fd(), &mut bytes, place(*region, *offset))?;
                Ok((u32::try_from(done).unwrap_or(u32::MAX), bytes))
            }),
            Call::Write {
                device,
                region,
                offset,
                bytes,
            } => self.on(*device, |this, fd| {
                let done = this
                    .kernel
                    .pwrite(fd.as_fd(), bytes, place(*region, *offset))?;
                Ok((u32::try_from(done).unwrap_or(u32::MAX), Vec::new()))
            }),
            Call::MapRegion {
                device,
                region,
                offset,
                len,
                write,
            } => self.on(*device, |this, fd| {
                let place = place(*region, *offset);
                let protection = Protection {
                    read: true,
                    write: *write,
                };
                let mapped = this
                    .kernel
                    .map_region(fd.as_fd(), place, *len, protection, 1)?;
                if let RegionMapping::Pages(addr) = mapped {
                    // SAFETY: what was just mapped, and nobody knows.
                    unsafe { this.kernel.munmap(addr, *len) }?;
                }
                Ok((0, Vec::new()))
            }),
            Call::Dma { device, iova } => self.on(*device, |this, fd| {
                engine::touch(&*this.kernel, fd.as_fd(), *iova)?;
                Ok((0, Vec::new()))
            }),
            Call::Drain(slot) => self.on(*slot, |_, fd| {
                let mut count = [0; 8];
                match rustix::io::read(fd, &mut count) {
                    Ok(_) | Err(Errno::AGAIN) => Ok((0, count.to_vec())),
                    Err(errno) => Err(errno),
                }
            }),
            Call::Signal(slot) => self.on(*slot, |_, fd| {
                rustix::io::write(fd, &1u64.to_ne_bytes())?;
                Ok((0, Vec::new()))
            }),
        }
    }

    fn put(&mut self, to: Slot, opened: std::result::Result<OwnedFd, Errno>) -> Answer {
        match opened {
            Ok(fd) => {
                self.open.insert(to, fd);
                Answer::Done(0, Vec::new())
            }
            Err(errno) => Answer::Failed(errno, Vec::new()),
        }
    }

    fn on(
        &self,
        slot: Slot,
        call: impl FnOnce(&Self, &OwnedFd) -> std::result::Result<(u32, Vec<u8>), Errno>,
    ) -> Answer {
        let Some(fd) = self.open.get(&slot) else {
            return Answer::Empty;
        };
        match call(self, fd) {
            Ok((value, bytes)) => Answer::Done(value, bytes),
            Err(errno) => Answer::Failed(errno, Vec::new()),
        }
    }

    fn open_device(&mut self, group: Slot, name: &Name, to: Slot) -> Answer {
        let Some(group) = self.open.get(&group) else {
            return Answer::Empty;
        };
        let text = match name {
            Name::Of(n) => match self.devices.get(*n) {
                Some(device) => device.bdf.to_string(),
                None => return Answer::Empty,
            },
            Name::Text(text) => text.clone(),
        };
        let Ok(text) = CString::new(text) else {
            return Answer::Empty;
        };
        let arg = Arg::In(text.as_bytes_with_nul());
        // SAFETY: the call reads a name and returns a new fd.
        let opened = unsafe {
            self.kernel
                .ioctl_fd(group.as_fd(), uapi::GROUP_GET_DEVICE_FD, arg)
        };
        self.put(to, opened)
    }

    fn ioctl(&mut self, on: Slot, number: u8, argument: &Argument) -> Answer {
        let opcode = uapi::vfio(number);
        let Some(fd) = self.open.get(&on) else {
            return Answer::Empty;
        };
        let (answer, bytes) = match argument {
            // SAFETY: VFIO's calls that take no struct; `GET_DEVICE_FD` is never among them.
            Argument::None => (
                unsafe { self.kernel.ioctl(fd.as_fd(), opcode, Arg::None) },
                Vec::new(),
            ),
            Argument::Value(value) => {
                // SAFETY: as above.
                let answer = unsafe { self.kernel.ioctl(fd.as_fd(), opcode, Arg::Value(*value)) };
                (answer, Vec::new())
            }
            Argument::Struct(words) => {
                let before: Vec<u8> = words.iter().flat_map(|word| self.encode(word)).collect();
                let mut after = Vec::new();
                let answer = self.scratch.with(&before, &mut after, |bytes| {
                    // SAFETY: behind these bytes nothing is mapped, so that a call that wants more fails. The
                    // addresses among them are those of memory that is kept until everything is closed, or of
                    // nothing.
                    unsafe { self.kernel.ioctl(fd.as_fd(), opcode, Arg::InOut(bytes)) }
                });
                self.hide(words, &before, &mut after);
                (answer, after)
            }
        };
        match answer {
            Ok(value) => Answer::Done(value, bytes),
            Err(errno) => Answer::Failed(errno, bytes),
        }
    }

    fn encode(&self, word: &Word) -> Vec<u8> {
        let number =
            |fd: Option<&OwnedFd>| fd.map_or(-1, AsRawFd::as_raw_fd).to_ne_bytes().to_vec();
        match word {
            Word::U32(value) => value.to_ne_bytes().to_vec(),
            Word::U64(value) => value.to_ne_bytes().to_vec(),
            Word::At(place) => {
                let at = self.memories.at(place.memory).wrapping_add(place.offset);
                at.to_ne_bytes().to_vec()
            }
            Word::Fd(slot) => number(self.open.get(slot)),
            Word::OtherFd => number(Some(&self.other)),
            Word::Bytes(bytes) => bytes.clone(),
        }
    }

    /// Addresses and fds have other numbers on each side: as long as a call leaves them alone, they do not count.
    fn hide(&self, words: &[Word], before: &[u8], after: &mut [u8]) {
        let mut at = 0;
        for word in words {
            let len = self.encode(word).len();
            let range = at..at + len;
            at += len;
            let is_own = matches!(word, Word::At(_) | Word::Fd(_) | Word::OtherFd);
            if is_own && before.get(range.clone()) == after.get(range.clone()) {
                if let Some(bytes) = after.get_mut(range) {
                    bytes.fill(0);
                }
            }
        }
    }
}

fn place(region: u32, offset: u64) -> u64 {
    (u64::from(region) << 40).wrapping_add(offset)
}

/// Room for arguments, behind which nothing is mapped.
struct Scratch {
    start: NonNull<u8>,
    size: usize,
}

impl Scratch {
    fn new() -> Result<Self> {
        let page = rustix::param::page_size();
        let size = 3 * page;
        // SAFETY: no address is asked for, and the last page is of what was just mapped.
        let start = unsafe {
            let rights = ProtFlags::READ | ProtFlags::WRITE;
            let start = mmap_anonymous(std::ptr::null_mut(), size, rights, MapFlags::PRIVATE)?;
            mprotect(start.add(2 * page), page, MprotectFlags::empty())?;
            start
        };
        Ok(Self {
            start: NonNull::new(start.cast()).context("mmap")?,
            size,
        })
    }

    /// Lends a copy of `before` that ends where nothing is mapped; what it is afterwards is `after`.
    fn with<T>(&self, before: &[u8], after: &mut Vec<u8>, call: impl FnOnce(&mut [u8]) -> T) -> T {
        let room = self.size / 3 * 2;
        let len = before.len().min(room);
        // SAFETY: inside of what is mapped, which nobody else uses while this is borrowed by the one call that there
        // is at a time.
        let bytes =
            unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr().add(room - len), len) };
        bytes.copy_from_slice(&before[..len]);
        let answer = call(bytes);
        after.extend_from_slice(bytes);
        answer
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // SAFETY: what was mapped by `new`; no reference to it is left.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.size) };
    }
}
