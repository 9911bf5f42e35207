//! Makes the calls of the programme, right ones and wrong ones: what they answer is in the recording.
#![allow(unsafe_code)] // Raw calls, of memory that is kept until everything is closed.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::ptr::NonNull;
use std::sync::Arc;

use anyhow::Result;
use vfio_core::kernel::{Arg, Errno, Kernel, Opcode};
use vfio_core::uapi;
use vfio_sim::wrap::{Recording, Watched};

/// The memory that is mapped for devices has so many pages.
pub(super) const PAGES: u64 = 16;

/// Who makes the calls, and the memory that they are about.
pub(super) struct Caller {
    kernel: Watched<Recording>,
    recording: Arc<Recording>,
    /// One page more than is used: the pages of a simulated machine can be larger than those of its memory.
    memory: NonNull<u8>,
}

impl Caller {
    pub(super) fn new(kernel: Watched<Recording>, recording: Arc<Recording>) -> Result<Self> {
        let memory = kernel.mmap(size(kernel.page_size())?)?;
        Ok(Self {
            kernel,
            recording,
            memory,
        })
    }

    /// The size of a page, in bytes.
    pub(super) fn page(&self) -> u64 {
        self.kernel.page_size() as u64
    }

    /// The address of the memory.
    pub(super) fn memory(&self) -> u64 {
        (self.memory.addr().get() as u64).next_multiple_of(self.page())
    }

    pub(super) fn open(&self, path: &Path) -> Result<OwnedFd, Errno> {
        self.kernel.open(path)
    }

    pub(super) fn close(&self, fd: OwnedFd) {
        self.recording.close(fd);
    }

    /// A call without an argument.
    pub(super) fn plain(&self, fd: &OwnedFd, opcode: Opcode) {
        let _ = self.ioctl(fd, opcode, Arg::None);
    }

    /// A call that takes a number.
    pub(super) fn value(&self, fd: &OwnedFd, opcode: Opcode, value: u32) -> Result<u32, Errno> {
        self.ioctl(fd, opcode, Arg::Value(value as usize))
    }

    /// A call that reads bytes.
    pub(super) fn give(&self, fd: &OwnedFd, opcode: Opcode, bytes: &[u8]) -> Result<u32, Errno> {
        self.ioctl(fd, opcode, Arg::In(bytes))
    }

    /// A call that reads and writes bytes; answers them if it succeeded.
    pub(super) fn fill(&self, fd: &OwnedFd, opcode: Opcode, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut bytes = bytes.to_vec();
        let answer = self.ioctl(fd, opcode, Arg::InOut(&mut bytes));
        (answer == Ok(0)).then_some(bytes)
    }

    /// The same for a struct with room behind it, whose first field says how large it is: what it says, and as many
    /// bytes as there are.
    pub(super) fn ask(
        &self,
        fd: &OwnedFd,
        opcode: Opcode,
        argsz: u32,
        rest: &[u8],
        room: usize,
    ) -> Option<Vec<u8>> {
        let mut bytes = [&argsz.to_ne_bytes(), rest].concat();
        bytes.resize(room.max(bytes.len()), 0);
        self.fill(fd, opcode, &bytes)
    }

    /// Opens a device of a group.
    pub(super) fn open_device(&self, group: &OwnedFd, name: &str) -> Result<OwnedFd, Errno> {
        let name = [name.as_bytes(), &[0]].concat();
        let opcode = uapi::GROUP_GET_DEVICE_FD;
        // SAFETY: the call reads the name, which ends with its zero, and returns a new fd.
        unsafe { self.kernel.ioctl_fd(group.as_fd(), opcode, Arg::In(&name)) }
    }

    /// Reads config space, which answers at every device.
    pub(super) fn read_config(&self, device: &OwnedFd, len: usize, offset: u64) {
        let config = u64::from(uapi::PCI_CONFIG_REGION_INDEX) << 40;
        let mut bytes = vec![0; len];
        let _ = self
            .kernel
            .pread(device.as_fd(), &mut bytes, config + offset);
    }

    fn ioctl(&self, fd: &OwnedFd, opcode: Opcode, arg: Arg<'_>) -> Result<u32, Errno> {
        // SAFETY: no call of the programme is told of more bytes than it is given; the addresses in them are those of
        // `memory`, which outlives every fd, or of nothing, and no device is made to use them.
        unsafe { self.kernel.ioctl(fd.as_fd(), opcode, arg) }
    }
}

fn size(page: usize) -> Result<usize> {
    Ok(usize::try_from(PAGES + 1)? * page)
}

impl Drop for Caller {
    fn drop(&mut self) {
        if let Ok(size) = size(self.kernel.page_size()) {
            // SAFETY: what `new` has mapped; no fd is left through which a device could reach it.
            let _ = unsafe { self.kernel.munmap(self.memory, size) };
        }
    }
}
