//! A simulated kernel whose devices have regions and interrupts: memory, and a log.

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex};

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use vfio_core::address::HostRange;
use vfio_core::iommu::{Registration, Registry};
use vfio_core::kernel::{Arg, Errno, Kernel, Node, Opcode, Protection, RegionMapping, Result};
use vfio_core::uapi::{self, DeviceInfo, IrqInfo, IrqSet, RegionInfo};
use vfio_core::{Device, Vfio};
use vfio_sim::SimKernel;
use zerocopy::{FromBytes, IntoBytes};

use crate::setup::{BDF, alone, open, v2};

/// Room for each region, in bytes.
pub(crate) const ROOM: u64 = 0x1000;
const REGIONS: u64 = 10;

/// What the kernel says of a region: its size and flags.
pub(crate) fn region(index: u32) -> Option<(u64, u32)> {
    match index {
        0 => Some((
            ROOM,
            uapi::REGION_FLAG_READ | uapi::REGION_FLAG_WRITE | uapi::REGION_FLAG_MMAP,
        )),
        1 => Some((0x10, uapi::REGION_FLAG_READ)),
        2 => Some((0x10, uapi::REGION_FLAG_WRITE)),
        7 => Some((0x100, uapi::REGION_FLAG_READ | uapi::REGION_FLAG_WRITE)),
        3 => Some((ROOM, uapi::REGION_FLAG_READ | uapi::REGION_FLAG_MMAP)),
        4 => Some((ROOM, uapi::REGION_FLAG_WRITE | uapi::REGION_FLAG_MMAP)),
        SPARSE => Some((
            3 * ROOM,
            uapi::REGION_FLAG_READ | uapi::REGION_FLAG_WRITE | uapi::REGION_FLAG_MMAP,
        )),
        6 => Some((0, 0)),
        9 => Some((0x20, uapi::REGION_FLAG_READ)),
        _ => None,
    }
}

/// A region of which the second of three pages can be mapped.
pub(crate) const SPARSE: u32 = 5;

/// What is behind what the kernel says of it.
fn sparse() -> Vec<u8> {
    let head = uapi::RegionInfoCapSparseMmap {
        header: uapi::InfoCapHeader {
            id: uapi::REGION_INFO_CAP_SPARSE_MMAP,
            version: 1,
            next: 0,
        },
        nr_areas: 1,
        reserved: 0,
    };
    let area = uapi::RegionSparseMmapArea {
        offset: ROOM,
        size: ROOM,
    };
    [head.as_bytes(), area.as_bytes()].concat()
}

/// The kernel.
#[derive(Debug)]
pub(crate) struct Board {
    pub(crate) sim: SimKernel,
    memory: OwnedFd,
    state: Mutex<State>,
}

/// What a test sets, and what it looks at.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) has_reset: bool,
    /// Only so many bytes are moved at a time.
    pub(crate) moves: Option<usize>,
    /// The calls that do something, with their numbers.
    pub(crate) log: Vec<String>,
}

impl Board {
    /// The kernel, and the device that is open on it.
    pub(crate) fn open() -> (Arc<Self>, Device) {
        Self::open_with(v2())
    }

    pub(crate) fn open_with(backend: Registration) -> (Arc<Self>, Device) {
        let memory = memfd_create("regions", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&memory, (REGIONS + 3) * ROOM).unwrap();
        let board = Arc::new(Self {
            sim: SimKernel::new(alone()),
            memory,
            state: Mutex::default(),
        });
        let vfio = Vfio::on(board.clone(), Registry::of([backend]).unwrap());
        (board, open(&vfio, BDF).unwrap())
    }

    pub(crate) fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
    }

    pub(crate) fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().log)
    }

    fn answer(&self, opcode: Opcode, bytes: &mut [u8]) -> Result<()> {
        let mut state = self.state.lock().unwrap();
        let sized = bytes.first_chunk().map(|it| u32::from_ne_bytes(*it));
        assert_eq!(sized.unwrap_or(0) as usize, bytes.len());
        match opcode {
            uapi::DEVICE_GET_INFO => {
                let info = DeviceInfo::mut_from_bytes(bytes).unwrap();
                info.flags = uapi::DEVICE_FLAGS_PCI | u32::from(state.has_reset);
                (info.num_regions, info.num_irqs) = (10, 5);
            }
            uapi::DEVICE_GET_REGION_INFO => {
                let (info, rest) = RegionInfo::mut_from_prefix(bytes).unwrap();
                (info.size, info.flags) = region(info.index).ok_or(Errno::INVAL)?;
                info.offset = u64::from(info.index) * ROOM;
                if info.index == SPARSE {
                    info.flags |= uapi::REGION_FLAG_CAPS;
                    let caps = sparse();
                    info.argsz = u32::try_from(size_of::<RegionInfo>() + caps.len()).unwrap();
                    if let Some(place) = rest.get_mut(..caps.len()) {
                        place.copy_from_slice(&caps);
                        info.cap_offset = u32::try_from(size_of::<RegionInfo>()).unwrap();
                    }
                }
            }
            uapi::DEVICE_GET_IRQ_INFO => {
                let info = IrqInfo::mut_from_bytes(bytes).unwrap();
                (info.count, info.flags) = match info.index {
                    uapi::PCI_INTX_IRQ_INDEX => {
                        (1, uapi::IRQ_INFO_MASKABLE | uapi::IRQ_INFO_AUTOMASKED)
                    }
                    uapi::PCI_MSI_IRQ_INDEX => (1, uapi::IRQ_INFO_NORESIZE),
                    uapi::PCI_MSIX_IRQ_INDEX => (3, uapi::IRQ_INFO_EVENTFD),
                    _ => return Err(Errno::INVAL),
                };
            }
            uapi::DEVICE_RESET => state.log.push("reset".into()),
            uapi::DEVICE_SET_IRQS => {
                let (set, data) = IrqSet::read_from_prefix(bytes).unwrap();
                let mut line = format!(
                    "irqs {:#x} of {} from {}: {}",
                    set.flags, set.index, set.start, set.count
                );
                if set.flags & uapi::IRQ_SET_DATA_EVENTFD != 0 {
                    let fds = data.chunks_exact(4);
                    let signs = fds.map(|fd| if fd == [0xff; 4] { '-' } else { '+' });
                    line += &format!(", fds {}", signs.collect::<String>());
                } else if !data.is_empty() {
                    line += &format!(", data {data:?}");
                }
                state.log.push(line);
            }
            _ => return Err(Errno::NOTTY),
        }
        Ok(())
    }

    fn moved(&self, len: usize) -> usize {
        len.min(self.state.lock().unwrap().moves.unwrap_or(len))
    }
}

#[allow(unsafe_code)] // passed on to the simulation
// SAFETY: memory is mapped by the simulation, which promises it.
unsafe impl Kernel for Board {
    fn open(&self, path: &Path) -> Result<OwnedFd> {
        self.sim.open(path)
    }

    unsafe fn ioctl(&self, fd: BorrowedFd<'_>, opcode: Opcode, arg: Arg<'_>) -> Result<u32> {
        let mut read = Vec::new();
        let bytes = match (opcode, arg) {
            (uapi::DEVICE_RESET, Arg::None) => &mut read,
            (uapi::DEVICE_SET_IRQS, Arg::In(bytes)) => {
                read.extend(bytes);
                &mut read[..]
            }
            (
                uapi::DEVICE_GET_INFO | uapi::DEVICE_GET_REGION_INFO | uapi::DEVICE_GET_IRQ_INFO,
                Arg::InOut(bytes),
            ) => bytes,
            // SAFETY: passed on to our caller.
            (_, arg) => return unsafe { self.sim.ioctl(fd, opcode, arg) },
        };
        self.answer(opcode, bytes).map(|()| 0)
    }

    unsafe fn ioctl_fd(&self, fd: BorrowedFd<'_>, opcode: Opcode, arg: Arg<'_>) -> Result<OwnedFd> {
        // SAFETY: passed on to our caller.
        unsafe { self.sim.ioctl_fd(fd, opcode, arg) }
    }

    fn pread(&self, _: BorrowedFd<'_>, bytes: &mut [u8], offset: u64) -> Result<usize> {
        let len = self.moved(bytes.len());
        self.sim
            .pread(self.memory.as_fd(), &mut bytes[..len], offset)
    }

    fn pwrite(&self, _: BorrowedFd<'_>, bytes: &[u8], offset: u64) -> Result<usize> {
        let len = self.moved(bytes.len());
        self.sim.pwrite(self.memory.as_fd(), &bytes[..len], offset)
    }

    fn mmap(&self, len: usize) -> Result<NonNull<u8>> {
        self.sim.mmap(len)
    }

    fn map_region(
        &self,
        _: BorrowedFd<'_>,
        offset: u64,
        len: usize,
        protection: Protection,
        align: usize,
    ) -> Result<RegionMapping> {
        let memory = self.memory.as_fd();
        self.sim.map_region(memory, offset, len, protection, align)
    }

    unsafe fn munmap(&self, addr: NonNull<u8>, len: usize) -> Result<()> {
        self.set(|state| state.log.push(format!("munmap {len:#x}")));
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
