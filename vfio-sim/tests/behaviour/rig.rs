//! A device that is open, with what holds it.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use vfio_core::group_node;
use vfio_core::kernel::{Kernel, Result};
use vfio_core::uapi::{self, TYPE1V2_IOMMU};
use vfio_sim::machine::Device;
use vfio_sim::{Machine, SimKernel};
use zerocopy::{FromBytes, IntoBytes};

use crate::door::{BOTH, join, map, open_container, open_device, set_iommu, set_irqs, unmap};
use crate::memory::Memory;
use crate::probe;

/// Where the command register is.
pub(crate) const COMMAND: u64 = 0x04;
const MASTER: u16 = 1 << 2;

/// The first group of a machine in a container with an IOMMU.
pub(crate) struct Rig {
    pub(crate) group: OwnedFd,
    pub(crate) container: OwnedFd,
    pub(crate) sim: SimKernel,
}

impl Rig {
    pub(crate) fn new(machine: Machine, iommu: u32) -> Self {
        let group = machine.groups[0].id;
        let sim = SimKernel::new(machine);
        let container = open_container(&sim);
        let group = sim.open(&group_node(group)).unwrap();
        join(&sim, &group, &container).unwrap();
        set_iommu(&sim, &container, iommu).unwrap();
        Self {
            group,
            container,
            sim,
        }
    }

    /// Type1 version 2, with a probe.
    pub(crate) fn probe() -> (Self, Open) {
        Self::with([probe::device(probe::NAME)])
    }

    /// Type1 version 2, with the first of these devices open, as a bus master.
    pub(crate) fn with<const N: usize>(devices: [Device; N]) -> (Self, Open) {
        let name = devices[0].bdf.clone();
        let rig = Self::new(Machine::x86_64().with_devices(devices), TYPE1V2_IOMMU);
        let device = rig.open(&name);
        device.master(true);
        (rig, device)
    }

    pub(crate) fn open(&self, name: &str) -> Open {
        let name = std::ffi::CString::new(name).unwrap();
        let device = open_device(&self.sim, &self.group, &name).unwrap();
        Open {
            device,
            sim: self.sim.clone(),
        }
    }

    pub(crate) fn map(&self, iova: u64, memory: &Memory) -> Result<u32> {
        let range = (iova, memory.at(), memory.len());
        map(&self.sim, &self.container, range, BOTH)
    }

    pub(crate) fn unmap(&self, iova: u64, size: u64) -> (Result<u32>, u64) {
        unmap(&self.sim, &self.container, (iova, size), 0)
    }

    /// First address and size of each mapping.
    pub(crate) fn mapped(&self) -> Vec<(u64, u64)> {
        let mappings = self.sim.mappings().into_iter();
        mappings.map(|it| (it.iova, it.size)).collect()
    }
}

/// An open device.
pub(crate) struct Open {
    pub(crate) device: OwnedFd,
    pub(crate) sim: SimKernel,
}

impl Open {
    pub(crate) fn pread(&self, region: u32, offset: u64, len: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0x77; len];
        let place = (u64::from(region) << 40) + offset;
        let done = self.sim.pread(self.device.as_fd(), &mut bytes, place)?;
        bytes.truncate(done);
        Ok(bytes)
    }

    pub(crate) fn pwrite(&self, region: u32, offset: u64, bytes: &[u8]) -> Result<usize> {
        let place = (u64::from(region) << 40) + offset;
        self.sim.pwrite(self.device.as_fd(), bytes, place)
    }

    /// A register of BAR 0.
    pub(crate) fn get(&self, register: u64) -> u64 {
        let bytes = self.pread(0, register, 8).unwrap();
        u64::read_from_bytes(&bytes).unwrap()
    }

    pub(crate) fn set(&self, register: u64, value: u64) {
        assert_eq!(self.pwrite(0, register, value.as_bytes()), Ok(8));
    }

    pub(crate) fn config(&self, at: u64) -> u16 {
        let bytes = self.pread(uapi::PCI_CONFIG_REGION_INDEX, at, 2).unwrap();
        u16::read_from_bytes(&bytes).unwrap()
    }

    pub(crate) fn set_config(&self, at: u64, value: u16) {
        let done = self.pwrite(uapi::PCI_CONFIG_REGION_INDEX, at, value.as_bytes());
        assert_eq!(done, Ok(2));
    }

    /// Where a capability is.
    pub(crate) fn capability(&self, id: u8) -> u64 {
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

    pub(crate) fn master(&self, on: bool) {
        let rest = self.config(COMMAND) & !MASTER;
        self.set_config(COMMAND, if on { rest | MASTER } else { rest });
    }

    /// DMA of a probe into memory; answers whether it was done.
    pub(crate) fn dma_write(&self, iova: u64, bytes: &[u8]) -> bool {
        assert_eq!(self.pwrite(0, probe::BUFFER, bytes), Ok(bytes.len()));
        self.dma(iova, bytes.len(), 2)
    }

    /// DMA of a probe out of memory: what came, and whether it was all.
    pub(crate) fn dma_read(&self, iova: u64, len: usize) -> (bool, Vec<u8>) {
        let done = self.dma(iova, len, 1);
        (done, self.pread(0, probe::BUFFER, len).unwrap())
    }

    fn dma(&self, iova: u64, len: usize, what: u64) -> bool {
        self.set(probe::IOVA, iova);
        self.set(probe::LEN, len as u64);
        self.set(probe::RUN, what);
        self.get(probe::DONE) == 1
    }

    /// Sets interrupts by eventfds; -1 stands for none.
    pub(crate) fn trigger(&self, index: u32, start: u32, fds: &[i32]) -> Result<u32> {
        let flags = uapi::IRQ_SET_DATA_EVENTFD | uapi::IRQ_SET_ACTION_TRIGGER;
        let count = u32::try_from(fds.len()).unwrap();
        self.irqs(index, flags, (start, count), fds.as_bytes())
    }

    pub(crate) fn irqs(
        &self,
        index: u32,
        flags: u32,
        range: (u32, u32),
        data: &[u8],
    ) -> Result<u32> {
        set_irqs(&self.sim, &self.device, index, flags, range, data)
    }
}

/// An eventfd of the test's.
pub(crate) struct Signal(OwnedFd);

impl Signal {
    pub(crate) fn new(sim: &SimKernel) -> Self {
        Self(sim.eventfd().unwrap())
    }

    pub(crate) fn number(&self) -> i32 {
        self.0.as_raw_fd()
    }

    pub(crate) fn send(&self) {
        rustix::io::write(&self.0, 1u64.as_bytes()).unwrap();
    }

    /// How often it was signalled since the last time that this was asked.
    pub(crate) fn count(&self) -> u64 {
        let mut count = 0u64;
        match rustix::io::read(&self.0, count.as_mut_bytes()) {
            Ok(_) => count,
            Err(_) => 0,
        }
    }

    /// The same, once it was signalled at all; what never comes is a failure, after long enough.
    pub(crate) fn wait(&self) -> u64 {
        let long = Timespec {
            tv_sec: 60,
            tv_nsec: 0,
        };
        let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
        assert_eq!(poll(&mut fds, Some(&long)), Ok(1), "no signal came");
        self.count()
    }
}
