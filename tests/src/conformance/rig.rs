//! A group in a container, and a device that is open.

use std::cell::Cell;
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use vfio_core::kernel::{Kernel, Result};
use vfio_core::uapi::{self, PCI_CONFIG_REGION_INDEX as CONFIG};
use vfio_core::{CONTAINER_NODE, group_node};
use zerocopy::IntoBytes;

use super::memory::Memory;
use super::raw::{BOTH, join, map, open_device, set_iommu, set_irqs, unmap};
use crate::engine::edu;

/// Where the command register is.
pub(super) const COMMAND: u64 = 0x04;
const MASTER: u16 = 1 << 2;

/// A group in a container with an IOMMU. What is open of it is closed from the device to the container.
#[derive(Debug)]
pub(super) struct Rig {
    pub(super) group: OwnedFd,
    pub(super) container: OwnedFd,
    kernel: Arc<dyn Kernel>,
}

impl Rig {
    pub(super) fn new(kernel: &Arc<dyn Kernel>, group: u32, iommu: u32) -> Self {
        let container = kernel.open(CONTAINER_NODE.as_ref()).unwrap();
        let group = kernel.open(&group_node(group)).unwrap();
        join(&**kernel, &group, &container).unwrap();
        set_iommu(&**kernel, &container, iommu).unwrap();
        Self::from(kernel, group, container)
    }

    /// A group that is in that container already.
    pub(super) fn from(kernel: &Arc<dyn Kernel>, group: OwnedFd, container: OwnedFd) -> Self {
        Self {
            group,
            container,
            kernel: Arc::clone(kernel),
        }
    }

    /// A device of the group.
    pub(super) fn open(&self, bdf: &str) -> Open {
        let name = CString::new(bdf).unwrap();
        let device = open_device(&*self.kernel, &self.group, &name).unwrap();
        Open::of(&self.kernel, device)
    }

    pub(super) fn kernel(&self) -> &dyn Kernel {
        &*self.kernel
    }

    /// Maps all of it, to be read and written.
    pub(super) fn map(&self, iova: u64, memory: &Memory) -> Result<u32> {
        let range = (iova, memory.at(), memory.len());
        map(self.kernel(), &self.container, range, BOTH)
    }

    /// What is answered, and what is in `size` then.
    pub(super) fn unmap(&self, iova: u64, size: u64) -> (Result<u32>, u64) {
        unmap(self.kernel(), &self.container, (iova, size), 0)
    }
}

/// An open device.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) device: OwnedFd,
    kernel: Arc<dyn Kernel>,
}

impl Open {
    pub(super) fn of(kernel: &Arc<dyn Kernel>, device: OwnedFd) -> Self {
        let kernel = Arc::clone(kernel);
        Self { device, kernel }
    }

    pub(super) fn kernel(&self) -> &dyn Kernel {
        &*self.kernel
    }

    pub(super) fn pread(&self, region: u32, offset: u64, len: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0x77; len];
        let place = (u64::from(region) << 40) + offset;
        let done = self.kernel.pread(self.device.as_fd(), &mut bytes, place)?;
        bytes.truncate(done);
        Ok(bytes)
    }

    pub(super) fn pwrite(&self, region: u32, offset: u64, bytes: &[u8]) -> Result<usize> {
        let place = (u64::from(region) << 40) + offset;
        self.kernel.pwrite(self.device.as_fd(), bytes, place)
    }

    pub(super) fn config(&self, at: u64) -> u16 {
        let bytes = self.pread(CONFIG, at, 2).unwrap();
        u16::from_le_bytes(bytes.try_into().unwrap())
    }

    pub(super) fn set_config(&self, at: u64, value: u16) {
        let done = self.pwrite(CONFIG, at, &value.to_le_bytes());
        assert_eq!(done, Ok(2));
    }

    /// Where a capability is.
    pub(super) fn capability(&self, id: u8) -> u64 {
        let mut at = self.config(0x34) & 0xff;
        while at != 0 {
            let [found, next] = self.config(at.into()).to_le_bytes();
            if found == id {
                return at.into();
            }
            at = next.into();
        }
        panic!("no capability {id:#x}")
    }

    pub(super) fn master(&self, on: bool) {
        let rest = self.config(COMMAND) & !MASTER;
        self.set_config(COMMAND, if on { rest | MASTER } else { rest });
    }

    /// DMA of an [engine](super::clause::Trait::Engine) from memory to memory: whatever cannot be reached is left out.
    pub(super) fn copy(&self, from: u64, to: u64, len: u64) {
        edu::copy(self.kernel(), self.device.as_fd(), from, to, len).unwrap();
    }

    /// Sets interrupts by eventfds; -1 stands for none.
    pub(super) fn trigger(&self, index: u32, start: u32, fds: &[i32]) -> Result<u32> {
        let flags = uapi::IRQ_SET_DATA_EVENTFD | uapi::IRQ_SET_ACTION_TRIGGER;
        let count = u32::try_from(fds.len()).unwrap();
        self.irqs(index, flags, (start, count), fds.as_bytes())
    }

    pub(super) fn irqs(
        &self,
        index: u32,
        flags: u32,
        range: (u32, u32),
        data: &[u8],
    ) -> Result<u32> {
        set_irqs(self.kernel(), &self.device, index, flags, range, data)
    }
}

/// An eventfd of the clause's.
#[derive(Debug)]
pub(super) struct Signal(OwnedFd);

thread_local! {
    /// How many seconds this thread waits for a signal.
    static PATIENCE: Cell<i64> = const { Cell::new(60) };
}

/// From now on this thread waits for signals this long: a simulated kernel that lies never sends some.
pub(super) fn wait_at_most(seconds: i64) {
    PATIENCE.set(seconds);
}

impl Signal {
    pub(super) fn new(kernel: &dyn Kernel) -> Self {
        Self(kernel.eventfd().unwrap())
    }

    pub(super) fn number(&self) -> i32 {
        self.0.as_raw_fd()
    }

    pub(super) fn send(&self) {
        rustix::io::write(&self.0, 1u64.as_bytes()).unwrap();
    }

    /// How often it was signalled since the last time that this was asked.
    pub(super) fn count(&self) -> u64 {
        let mut count = [0; 8];
        match rustix::io::read(&self.0, &mut count) {
            Ok(_) => u64::from_ne_bytes(count),
            Err(_) => 0,
        }
    }

    /// The same, once it was signalled at all; what never comes is a failure, after long enough.
    pub(super) fn wait(&self) -> u64 {
        let long = Timespec {
            tv_sec: PATIENCE.get(),
            tv_nsec: 0,
        };
        let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
        assert_eq!(poll(&mut fds, Some(&long)), Ok(1), "no signal came");
        self.count()
    }

    /// Until the kernel has taken the count; what it does then is done when the next call is answered.
    pub(super) fn wait_taken(&self) {
        /// So often, at the very most.
        const TIMES: u32 = 10_000_000;
        for _ in 0..TIMES {
            let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
            if poll(&mut fds, Some(&Timespec::default())) == Ok(0) {
                return;
            }
            std::thread::yield_now();
        }
        panic!("nobody took the count");
    }
}
