//! A simulated machine with one device, and what is asked of its kernel about memory.
#![allow(unsafe_code)] // memory that is looked at and written

use std::collections::BTreeSet;
use std::ptr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

use iommu_type1::TYPE1_V2;
use vfio_core::address::{HostRange, Iova, IovaRange};
use vfio_core::guest::{AddressSpace, Block, Section};
use vfio_core::iommu::Registry;
use vfio_core::kernel::{Errno, Kernel};
use vfio_core::{Answer, Device, OpenOptions, Vfio};
use vfio_sim::wrap::{Call, Request, Watch, Watched};
use vfio_sim::{Machine, SimKernel};
use vfio_tests::guest::Ram;

pub(crate) const MIB: usize = 1 << 20;
pub(crate) const PAGE: usize = 4096;

pub(crate) struct Rig {
    pub(crate) space: AddressSpace,
    pub(crate) sim: SimKernel,
    pub(crate) kernel: Arc<dyn Kernel>,
    pub(crate) device: Device,
    log: Arc<Log>,
}

/// What was asked, in order, of calls that are about memory, and of ioctls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    /// And by whom.
    Resident(HostRange, ThreadId),
    /// Whether to be written, and by whom.
    Populate(HostRange, bool, ThreadId),
    Ioctl(String),
}

#[derive(Debug, Default)]
struct Log(Mutex<Logged>);

#[derive(Debug, Default)]
struct Logged {
    asked: Vec<Asked>,
    refused: Option<&'static str>,
    /// What is to be there before anything is mapped.
    wanted: Vec<HostRange>,
    missing: usize,
}

impl Rig {
    /// The space is empty, and the device's domain follows it.
    pub(crate) fn new() -> Self {
        let rig = Self::alone();
        let _ = rig.space.follow(rig.device.domain()).unwrap();
        rig.take();
        rig
    }

    /// Nobody follows.
    pub(crate) fn alone() -> Self {
        let machine = Machine::x86_64();
        let bdf = machine.groups[0].devices[0].bdf.parse().unwrap();
        let sim = SimKernel::new(machine);
        let log = Arc::new(Log::default());
        let kernel: Arc<dyn Kernel> = Arc::new(Watched::new(Arc::new(sim.clone()), log.clone()));
        let vfio = Vfio::on(Arc::clone(&kernel), Registry::of([TYPE1_V2]).unwrap());
        let device = vfio.open_with(bdf, OpenOptions::default()).unwrap();
        Self {
            space: AddressSpace::new(),
            sim,
            kernel,
            device,
            log,
        }
    }

    pub(crate) fn block(&self, len: usize) -> Block {
        Ram::new(&self.kernel, len).unwrap().block().clone()
    }

    /// What was asked since this was asked last.
    pub(crate) fn take(&self) -> Vec<Asked> {
        std::mem::take(&mut self.log.lock().asked)
    }

    /// The calls of that name fail from now on, with an errno that tells nothing.
    pub(crate) fn refuse(&self, name: &'static str) {
        self.log.lock().refused = Some(name);
    }

    /// All of it is to be there before the next map.
    pub(crate) fn want(&self, memory: HostRange) {
        self.log.lock().wanted.push(memory);
    }

    /// How many pages that should have been there were not, before a map.
    pub(crate) fn missing(&self) -> usize {
        self.log.lock().missing
    }
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, Logged> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch for Log {
    fn before(&self, call: &Call<'_>) -> Result<(), Answer> {
        let logged = &mut *self.lock();
        let asked = match call.request {
            Request::Resident { memory } => Asked::Resident(memory, thread::current().id()),
            Request::Populate { memory, write } => {
                Asked::Populate(memory, write, thread::current().id())
            }
            _ if call.is_ioctl() => Asked::Ioctl(call.name().into_owned()),
            _ => return Ok(()),
        };
        if asked == Asked::Ioctl("VFIO_IOMMU_MAP_DMA".to_owned()) {
            let missing = logged.wanted.iter().map(|memory| absent(*memory).len());
            logged.missing += missing.sum::<usize>();
        }
        logged.asked.push(asked);
        match logged.refused {
            Some(name) if name == call.name() => Err(Errno::INVAL.into()),
            _ => Ok(()),
        }
    }
}

/// The pages that are not there, as Linux says without our code.
pub(crate) fn absent(memory: HostRange) -> BTreeSet<usize> {
    let mut pages = vec![0; memory.len().div_ceil(PAGE)];
    let start = ptr::without_provenance_mut(memory.addr());
    // SAFETY: it writes a byte for each page.
    let answer = unsafe { libc::mincore(start, memory.len(), pages.as_mut_ptr()) };
    assert_eq!(answer, 0);
    let absent = (0..).zip(pages).filter(|(_, page)| page & 1 == 0);
    absent.map(|(n, _)| n).collect()
}

/// Writes a byte into the page that has it.
pub(crate) fn write(memory: HostRange, offset: usize, byte: u8) {
    assert!(offset < memory.len());
    let place = (memory.addr() + offset) as *mut u8;
    // SAFETY: memory of a block of this test, to which nobody refers.
    unsafe { place.write_volatile(byte) };
}

pub(crate) fn read(memory: HostRange, offset: usize) -> u8 {
    assert!(offset < memory.len());
    let place = (memory.addr() + offset) as *const u8;
    // SAFETY: as above.
    unsafe { place.read_volatile() }
}

/// RAM that is a whole block, in the guest at a multiple of a GiB.
pub(crate) fn ram(gib: u64, block: &Block) -> Section {
    Section::ram(place(gib, block), block, 0).unwrap()
}

pub(crate) fn place(gib: u64, block: &Block) -> IovaRange {
    IovaRange::new(Iova(gib << 30), block.range().len() as u64).unwrap()
}
