//! A simulated POWER guest whose sPAPR calls are answered by a script.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex};

use iommu_spapr::{SPAPR_V1, SPAPR_V2};
use vfio_core::address::{Access, HostRange, Iova, IovaRange};
use vfio_core::iommu::{Domain, IommuBackend, Reach, Registration, Registry};
use vfio_core::kernel::{Arg, Errno, Kernel, Node, Opcode, Protection, RegionMapping, Result};
use vfio_core::uapi::{self, SpaprTceCreate, SpaprTceInfo};
use vfio_core::{Container, Device, Vfio};
use vfio_sim::machine::Hardware;
use vfio_sim::{Machine, Rights, SimKernel};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Where the window that is created starts, unless the script says otherwise.
pub(crate) const HIGH: u64 = 1 << 59;

/// A call of sPAPR, with the bytes that it was given.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) name: &'static str,
    bytes: Vec<u8>,
}

impl Call {
    /// The struct that it was given.
    pub(crate) fn arg<T: FromBytes + KnownLayout + Immutable>(&self) -> T {
        T::read_from_bytes(&self.bytes).unwrap()
    }
}

#[derive(Debug)]
struct Script {
    info: SpaprTceInfo,
    window_start: u64,
    /// What the next calls of a name answer; 0 when there is nothing more.
    answers: BTreeMap<&'static str, VecDeque<Result<u32>>>,
    calls: Vec<Call>,
    unmapped_memory: Vec<usize>,
}

#[derive(Debug)]
pub(crate) struct Scripted {
    sim: SimKernel,
    script: Mutex<Script>,
}

impl Scripted {
    /// A default window of 1 GiB at 0, and windows of 4K, 64K and 16M pages to be created.
    pub(crate) fn new() -> Arc<Self> {
        let mut info = SpaprTceInfo {
            flags: uapi::SPAPR_INFO_DDW,
            dma32_window_size: 0x4000_0000,
            ..Default::default()
        };
        info.ddw.pgsizes = 0x101_1000;
        info.ddw.max_dynamic_windows_supported = 2;
        info.ddw.levels = 1;
        Arc::new(Self {
            sim: SimKernel::new(isolating()),
            script: Mutex::new(Script {
                info,
                window_start: HIGH,
                answers: BTreeMap::new(),
                calls: Vec::new(),
                unmapped_memory: Vec::new(),
            }),
        })
    }

    pub(crate) fn levels(self: Arc<Self>, levels: u32) -> Arc<Self> {
        self.script.lock().unwrap().info.ddw.levels = levels;
        self
    }

    /// A user without rights may lock so many bytes.
    pub(crate) fn memlock(self: Arc<Self>, bytes: u64) -> Arc<Self> {
        self.sim.set_rights(Rights::user(bytes));
        self
    }

    pub(crate) fn windows(self: Arc<Self>, count: u32) -> Arc<Self> {
        let info = |script: &mut Script| script.info.ddw.max_dynamic_windows_supported = count;
        info(&mut self.script.lock().unwrap());
        self
    }

    /// Where the next windows are put.
    pub(crate) fn windows_start(&self, at: u64) {
        self.script.lock().unwrap().window_start = at;
    }

    /// What the next call of that name answers.
    pub(crate) fn next(&self, name: &'static str, answer: Result<u32>) {
        let answers = &mut self.script.lock().unwrap().answers;
        answers.entry(name).or_default().push_back(answer);
    }

    /// The calls since this was last asked.
    pub(crate) fn calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.script.lock().unwrap().calls)
    }

    /// Their names.
    pub(crate) fn names(&self) -> Vec<&'static str> {
        self.calls().into_iter().map(|call| call.name).collect()
    }

    /// Whether memory that starts there was given back.
    pub(crate) fn was_freed(&self, addr: usize) -> bool {
        self.script.lock().unwrap().unmapped_memory.contains(&addr)
    }

    /// The device, with that backend alone; the calls of the setup are forgotten.
    pub(crate) fn open(self: &Arc<Self>, backend: Registration) -> Device {
        let device = self.try_open(backend).unwrap();
        self.calls();
        device
    }

    pub(crate) fn try_open(self: &Arc<Self>, backend: Registration) -> vfio_core::Result<Device> {
        let kernel: Arc<dyn Kernel> = self.clone();
        Vfio::on(kernel, Registry::of([backend]).unwrap()).open("0000:00:00.0".parse().unwrap())
    }

    /// The backend alone, with no domain that checks before it.
    pub(crate) fn backend(self: &Arc<Self>, of: Registration) -> Box<dyn IommuBackend> {
        let kernel: Arc<dyn Kernel> = self.clone();
        let Reach::Container { attach, .. } = of.reach else {
            unreachable!("{} has no container", of.name)
        };
        let backend = attach(Container::open(&kernel).unwrap()).unwrap();
        self.calls();
        backend
    }

    /// Answers a call of sPAPR.
    fn answer(&self, name: &'static str, arg: Arg<'_>) -> Result<u32> {
        let script = &mut *self.script.lock().unwrap();
        let bytes = match &arg {
            Arg::In(bytes) => bytes.to_vec(),
            Arg::InOut(bytes) => bytes.to_vec(),
            Arg::None | Arg::Value(_) => Vec::new(),
        };
        script.calls.push(Call { name, bytes });
        let answers = script.answers.entry(name).or_default();
        let answer = answers.pop_front().unwrap_or(Ok(0));
        if let (Arg::InOut(bytes), Ok(0)) = (arg, answer) {
            match name {
                "GET_INFO" => {
                    let argsz = u32::read_from_prefix(bytes).unwrap().0;
                    assert_eq!(argsz as usize, bytes.len());
                    let info = SpaprTceInfo {
                        argsz,
                        ..script.info
                    };
                    bytes.copy_from_slice(info.as_bytes());
                }
                "CREATE" => {
                    let request = SpaprTceCreate::mut_from_bytes(bytes).unwrap();
                    request.start_addr = script.window_start;
                }
                other => unreachable!("{other} writes nothing"),
            }
        }
        answer
    }
}

/// The guest, on a host that lets it isolate errors.
fn isolating() -> Machine {
    let mut machine = Machine::pseries();
    for iommu in &mut machine.iommus {
        if let Hardware::Spapr(hardware) = &mut iommu.hardware {
            hardware.eeh = true;
        }
    }
    machine
}

/// The name of a call that is scripted.
fn name(opcode: Opcode) -> Option<&'static str> {
    Some(match opcode {
        uapi::SPAPR_TCE_GET_INFO => "GET_INFO",
        uapi::IOMMU_MAP_DMA => "MAP",
        uapi::IOMMU_UNMAP_DMA => "UNMAP",
        uapi::SPAPR_ENABLE => "ENABLE",
        uapi::SPAPR_DISABLE => "DISABLE",
        uapi::SPAPR_REGISTER_MEMORY => "REGISTER",
        uapi::SPAPR_UNREGISTER_MEMORY => "UNREGISTER",
        uapi::SPAPR_TCE_CREATE => "CREATE",
        uapi::SPAPR_TCE_REMOVE => "REMOVE",
        uapi::EEH_PE_OP => "EEH",
        _ => return None,
    })
}

#[allow(unsafe_code)] // passed on to the simulation
// SAFETY: memory, fds and files are those of the simulation; the scripted calls touch nothing but the
// bytes of their argument.
unsafe impl Kernel for Scripted {
    fn open(&self, path: &Path) -> Result<OwnedFd> {
        self.sim.open(path)
    }

    unsafe fn ioctl(&self, fd: BorrowedFd<'_>, opcode: Opcode, arg: Arg<'_>) -> Result<u32> {
        match name(opcode) {
            Some(name) => self.answer(name, arg),
            // SAFETY: passed on to our caller.
            None => unsafe { self.sim.ioctl(fd, opcode, arg) },
        }
    }

    unsafe fn ioctl_fd(&self, fd: BorrowedFd<'_>, opcode: Opcode, arg: Arg<'_>) -> Result<OwnedFd> {
        // SAFETY: passed on to our caller.
        unsafe { self.sim.ioctl_fd(fd, opcode, arg) }
    }

    fn pread(&self, fd: BorrowedFd<'_>, bytes: &mut [u8], offset: u64) -> Result<usize> {
        self.sim.pread(fd, bytes, offset)
    }

    fn pwrite(&self, fd: BorrowedFd<'_>, bytes: &[u8], offset: u64) -> Result<usize> {
        self.sim.pwrite(fd, bytes, offset)
    }

    fn mmap(&self, len: usize) -> Result<NonNull<u8>> {
        self.sim.mmap(len)
    }

    fn map_region(
        &self,
        device: BorrowedFd<'_>,
        offset: u64,
        len: usize,
        protection: Protection,
        align: usize,
    ) -> Result<RegionMapping> {
        self.sim.map_region(device, offset, len, protection, align)
    }

    unsafe fn munmap(&self, addr: NonNull<u8>, len: usize) -> Result<()> {
        let script = &mut *self.script.lock().unwrap();
        script.unmapped_memory.push(addr.as_ptr().addr());
        // SAFETY: passed on to our caller.
        unsafe { self.sim.munmap(addr, len) }
    }

    unsafe fn keep_from_children(&self, addr: NonNull<u8>, len: usize) -> Result<()> {
        // SAFETY: passed on to our caller.
        unsafe { self.sim.keep_from_children(addr, len) }
    }

    fn populate(&self, memory: HostRange, write: bool) -> Result<()> {
        self.sim.populate(memory, write)
    }

    fn resident(&self, memory: HostRange, pages: &mut [u8]) -> Result<()> {
        self.sim.resident(memory, pages)
    }

    fn eventfd(&self) -> Result<OwnedFd> {
        self.sim.eventfd()
    }

    fn memlock_limit(&self) -> Option<u64> {
        self.sim.memlock_limit()
    }

    fn page_size(&self) -> usize {
        self.sim.page_size()
    }

    fn identity(&self) -> (String, String) {
        self.sim.identity()
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>> {
        self.sim.read(path)
    }

    fn list(&self, path: &Path) -> Result<Vec<OsString>> {
        self.sim.list(path)
    }

    fn read_link(&self, path: &Path) -> Result<PathBuf> {
        self.sim.read_link(path)
    }

    fn node(&self, path: &Path) -> Result<Node> {
        self.sim.node(path)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        self.sim.write(path, bytes)
    }
}

pub(crate) const BOTH: [Registration; 2] = [SPAPR_V1, SPAPR_V2];

pub(crate) fn iova(first: u64, size: u64) -> IovaRange {
    IovaRange::new(Iova(first), size).unwrap()
}

pub(crate) fn memory(addr: usize, len: usize) -> HostRange {
    HostRange::new(addr, len).unwrap()
}

/// Maps memory that is none.
pub(crate) fn map(domain: &Domain, at: u64, memory: HostRange) -> vfio_core::Result<()> {
    let iova = iova(at, memory.len() as u64);
    // SAFETY: the scripted kernel maps nothing, and no device is there.
    #[allow(unsafe_code)]
    unsafe {
        domain.map(iova, memory, Access::ReadWrite)
    }
}

pub(crate) const REFUSED: Result<u32> = Err(Errno::IO);
