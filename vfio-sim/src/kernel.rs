//! The door: [`Kernel`], answered by the simulation.
#![allow(unsafe_code)] // The trait's methods are unsafe; what is done here is not, but for real memory.

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vfio_core::address::HostRange;
use vfio_core::kernel::{
    Arg, Errno, Kernel, Linux, Node, Opcode, Protection, RegionMapping, Result,
};
use vfio_core::kvm::Tce;

use crate::device::{Mappable, Transfer};
use crate::event::{Event, Object};
use crate::fault::Fault;
use crate::files::Inode;
use crate::iommu::{Hazard, Holdings, Iommu, Mapping};
use crate::kvm::{GuestAccess, GuestMemory, Hypercall};
use crate::lie::{Asked, Lie, Told};
use crate::machine::Machine;
use crate::process::{ProcessId, Rights};
use crate::world::{Answer, MapPlace, RegionMap, World};

/// A VFIO kernel in memory, as one process sees it. Clones are handles of the same one.
#[derive(Debug, Clone)]
pub struct SimKernel {
    world: Arc<Mutex<World>>,
    process: ProcessId,
}

impl SimKernel {
    /// The kernel of a machine, just booted: nothing is open, and root asks.
    pub fn new(machine: Machine) -> Self {
        Self {
            world: Arc::new_cyclic(|me| Mutex::new(World::new(machine, me.clone()))),
            process: 0,
        }
    }

    /// The same kernel, as another process with these rights sees it. Memory and fds are this process's all the
    /// same; what a kernel ties to a process (accounting, sPAPR's C38) is that one's.
    pub fn process(&self, rights: Rights) -> Self {
        Self {
            world: Arc::clone(&self.world),
            process: self.world().processes.add(rights),
        }
    }

    /// Gives this process other rights.
    pub fn set_rights(&self, rights: Rights) {
        self.world().processes.set_rights(self.process, rights);
    }

    /// From now on it answers wrongly: it tells that [lie](Lie), or none.
    pub fn lie(&self, lie: Option<Lie>) {
        self.world().told = Told {
            lie,
            has_lied: false,
        };
    }

    /// Whether it has answered or done anything otherwise because of its [lie](Self::lie).
    pub fn has_lied(&self) -> bool {
        let mut world = self.world();
        world.notice_closed();
        world.told.has_lied
    }

    /// The machine.
    pub fn machine(&self) -> Machine {
        self.world().machine.clone()
    }

    /// Takes a device from its driver, as `unbind` in sysfs does. As in Linux, this waits until nobody has it open, and
    /// who has it open is asked to release it, once; meanwhile nobody can open it, and resets are `EAGAIN`.
    ///
    /// # Errors
    /// `ENODEV`: there is no such device, or it has no driver.
    pub fn unbind(&self, bdf: &str) -> Result<()> {
        while !self.world().unbind(bdf)? {
            std::thread::yield_now();
        }
        Ok(())
    }

    /// Binds a device that has no driver to one, as `bind` in sysfs does: every driver takes every device.
    ///
    /// # Errors
    /// `ENODEV`: there is no such device. `EBUSY`: it has a driver; or this one does DMA on the kernel's behalf, and the
    /// device's group is in a container.
    pub fn bind(&self, bdf: &str, driver: &str) -> Result<()> {
        self.world().bind(bdf, driver)
    }

    /// The devices, mapped regions, groups and containers that live now. A device is there once for each time that
    /// it is open; a group also while only a device holds it (A15), a container also while only a group holds
    /// it (A8).
    pub fn open_objects(&self) -> Vec<Object> {
        self.world().open_objects()
    }

    /// Whether no device, region, group or container is left.
    pub fn is_idle(&self) -> bool {
        self.open_objects().is_empty()
    }

    /// What happened since the last time that this was asked, in order.
    pub fn take_log(&self) -> Vec<Event> {
        self.world().take_log()
    }

    /// What devices reach now, in every container.
    pub fn mappings(&self) -> Vec<Mapping> {
        self.each_iommu(Iommu::mappings)
    }

    /// What sPAPR contexts hold beside mappings, one entry a container that has an IOMMU.
    pub fn holdings(&self) -> Vec<Holdings> {
        self.each_iommu(|iommu| vec![iommu.holdings()])
    }

    /// How much memory is accounted to this process as locked, in bytes.
    pub fn locked(&self) -> u64 {
        let mut world = self.world();
        world.notice_closed();
        world.processes.locked(self.process)
    }

    /// Maps memory that counts as memory of huge pages, as `MAP_HUGETLB` gives it (D49b): `len` bytes, of pages of
    /// `page` bytes. It is unmapped as other memory is.
    ///
    /// # Errors
    /// Those of `mmap(2)`.
    pub fn mmap_huge(&self, len: usize, page: usize) -> Result<NonNull<u8>> {
        let start = mmap_aligned(len, page)?;
        let at = start.as_ptr() as u64;
        let mut world = self.world();
        world.huge_pages.add(at..at + len as u64, page as u64);
        Ok(start)
    }

    /// DMA that did not reach memory since the last time that this was asked.
    pub fn take_faults(&self) -> Vec<Fault> {
        std::mem::take(&mut self.world().faults)
    }

    /// What was asked that a real kernel does not survive, or does wrong without saying so.
    pub fn hazards(&self) -> Vec<Hazard> {
        self.world().hazards.clone()
    }

    /// Somebody wants this device for another driver: whoever has it open is asked to release it, by the eventfd that
    /// it has set for that (F86). Linux asks again every ten seconds, this kernel each time that this is called.
    pub fn request_release(&self, bdf: &str) {
        self.world().request_release(bdf);
    }

    /// From now on, the guest of a VM sees that memory of this process at that address, in the last slot that has none: all
    /// three are in bytes.
    ///
    /// # Errors
    /// `EBADF`: the fd is none of a VM. Otherwise those of a memory slot (F92c).
    pub fn add_guest_memory(
        &self,
        vm: BorrowedFd<'_>,
        guest: u64,
        memory: HostRange,
    ) -> Result<()> {
        let mut world = self.world();
        let vm = Self::vm(&world, vm)?;
        world.add_guest_memory(vm, guest, memory.addr() as u64, memory.len() as u64)
    }

    /// The guest sees the memory no longer that was added at that address. What it has put into tables stays there.
    ///
    /// # Errors
    /// `EBADF`: the fd is none of a VM.
    pub fn remove_guest_memory(&self, vm: BorrowedFd<'_>, guest: u64) -> Result<()> {
        let mut world = self.world();
        let vm = Self::vm(&world, vm)?;
        world.remove_guest_memory(vm, guest);
        Ok(())
    }

    /// What the guests of all VMs see of this process.
    pub fn guest_memory(&self) -> Vec<GuestMemory> {
        let mut world = self.world();
        world.notice_closed();
        world.guest_memory()
    }

    /// The guest of a VM reads memory, at an address in bytes, all of it in one slot.
    ///
    /// # Errors
    /// `EBADF`: the fd is none of a VM. `EFAULT`: what is in the slot is not mapped any more.
    pub fn guest_read(
        &self,
        vm: BorrowedFd<'_>,
        guest: u64,
        bytes: &mut [u8],
    ) -> Result<GuestAccess> {
        let world = self.world();
        world.guest_read(Self::vm(&world, vm)?, guest, bytes)
    }

    /// The guest of a VM writes memory, at an address in bytes, all of it in one slot.
    ///
    /// # Errors
    /// As for [`guest_read`](Self::guest_read).
    pub fn guest_write(&self, vm: BorrowedFd<'_>, guest: u64, bytes: &[u8]) -> Result<GuestAccess> {
        let world = self.world();
        world.guest_write(Self::vm(&world, vm)?, guest, bytes)
    }

    /// The guest of a VM makes the hypercall `H_PUT_TCE`: in the window that it calls `liobn`, `tce` for the page at
    /// `ioba`. What KVM carries out by itself (D59), user space does not come to know; devices reach it at once.
    ///
    /// # Errors
    /// `EBADF`: the fd is none of a VM.
    pub fn guest_put_tce(
        &self,
        vm: BorrowedFd<'_>,
        liobn: u64,
        ioba: u64,
        tce: Tce,
    ) -> Result<Hypercall> {
        let mut world = self.world();
        world.notice_closed();
        let vm = Self::vm(&world, vm)?;
        Ok(world.h_put_tce(vm, liobn, ioba, tce))
    }

    fn vm(world: &World, fd: BorrowedFd<'_>) -> Result<u64> {
        match world.files.find(Inode::of(fd)?) {
            Some(Object::Vm(id)) => Ok(*id),
            _ => Err(Errno::BADF),
        }
    }

    /// Freezes the isolation unit of a device's group, as an error of the device would (D58): loads answer ones, stores are
    /// dropped, DMA is blocked, until it is thawed or reset.
    ///
    /// # Errors
    /// `ENODEV`: there is no such device, or this machine isolates no errors.
    pub fn freeze(&self, bdf: &str) -> Result<()> {
        let mut world = self.world();
        world.notice_closed();
        world.freeze(bdf)
    }

    fn each_iommu<T>(&self, ask: impl Fn(&Iommu) -> Vec<T>) -> Vec<T> {
        let mut world = self.world();
        world.notice_closed();
        let drivers = world
            .containers
            .values()
            .filter_map(|it| it.driver.as_ref());
        drivers.flat_map(|driver| ask(&driver.iommu)).collect()
    }

    /// The device that an fd stands for, with its group; `None` for anything else.
    fn device(world: &World, fd: BorrowedFd<'_>) -> Option<(String, u32)> {
        match world.files.find(Inode::of(fd).ok()?) {
            Some(Object::Device { bdf, group }) => Some((bdf.clone(), *group)),
            _ => None,
        }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// SAFETY: memory is mapped by Linux, of this process or of a file.
unsafe impl Kernel for SimKernel {
    fn open(&self, path: &Path) -> Result<OwnedFd> {
        self.world().open(self.process, path)
    }

    unsafe fn ioctl(&self, fd: BorrowedFd<'_>, opcode: Opcode, arg: Arg<'_>) -> Result<u32> {
        match self.world().ioctl(self.process, fd, opcode, arg)? {
            Answer::Value(value) => Ok(value),
            // The caller should have asked for an fd: it leaks, as it would from Linux.
            Answer::Fd(fd) => u32::try_from(fd.into_raw_fd()).map_err(|_| Errno::BADF),
        }
    }

    unsafe fn ioctl_fd(&self, fd: BorrowedFd<'_>, opcode: Opcode, arg: Arg<'_>) -> Result<OwnedFd> {
        match self.world().ioctl(self.process, fd, opcode, arg)? {
            Answer::Fd(fd) => Ok(fd),
            Answer::Value(_) => Err(Errno::BADF),
        }
    }

    fn pread(&self, fd: BorrowedFd<'_>, bytes: &mut [u8], offset: u64) -> Result<usize> {
        let mut world = self.world();
        match Self::device(&world, fd) {
            Some((bdf, _)) => world.tell("pread", |world, asked| {
                asked.read(bytes, offset, |bytes, offset| {
                    world.transfer(&bdf, offset, Transfer::Read(bytes))
                })
            }),
            None => Linux.pread(fd, bytes, offset),
        }
    }

    fn pwrite(&self, fd: BorrowedFd<'_>, bytes: &[u8], offset: u64) -> Result<usize> {
        let mut world = self.world();
        match Self::device(&world, fd) {
            Some((bdf, _)) => world.tell("pwrite", |world, asked| match asked {
                Asked::AsIs => world.transfer(&bdf, offset, Transfer::Write(bytes)),
                Asked::Bent(_, by) => {
                    let offset = offset.wrapping_add_signed(by);
                    world.transfer(&bdf, offset, Transfer::Write(bytes))
                }
                Asked::ToSee | Asked::BentToSee(..) => {
                    asked.read(&mut vec![0; bytes.len()], offset, |bytes, offset| {
                        world.transfer(&bdf, offset, Transfer::Read(bytes))
                    })
                }
            }),
            None => Linux.pwrite(fd, bytes, offset),
        }
    }

    /// Whole pages of the machine, which may be larger than this host's.
    fn mmap(&self, len: usize) -> Result<NonNull<u8>> {
        mmap_aligned(len, self.page_size())
    }

    fn map_region(
        &self,
        device: BorrowedFd<'_>,
        offset: u64,
        len: usize,
        protection: Protection,
        align: usize,
    ) -> Result<RegionMapping> {
        let mut world = self.world();
        if let Some(Object::TceTable(id)) = world.files.find(Inode::of(device)?) {
            let object = Object::TceTable(*id);
            let file = world.table_file(*id)?;
            let align = align.max(world.machine.page_size);
            let mapped = Linux.map_region(file.as_fd(), offset, len, protection, align)?;
            if let RegionMapping::Pages(addr) = &mapped {
                let start = addr.as_ptr() as u64;
                let place = MapPlace::Pages(start..start + len as u64);
                world.maps.push(RegionMap { object, place });
            }
            return Ok(mapped);
        }
        let Some((bdf, group)) = Self::device(&world, device) else {
            return Linux.map_region(device, offset, len, protection, align);
        };
        let index = u32::try_from(offset >> 40).map_err(|_| Errno::INVAL)?;
        let mappable = world.tell("map_region", |world, _| {
            world.mappable(&self.world, &bdf, group, offset, len)
        });
        match mappable? {
            Mappable::Registers(file) => Ok(RegionMapping::Registers(file)),
            Mappable::Memory(file, at, len) => {
                let align = align.max(world.machine.page_size);
                let mapped = Linux.map_region(file.as_fd(), at, len, protection, align)?;
                if let RegionMapping::Pages(addr) = &mapped {
                    let start = addr.as_ptr() as u64;
                    let place = MapPlace::Pages(start..start + len as u64);
                    world.add_map(&bdf, group, index, place);
                }
                Ok(mapped)
            }
        }
    }

    unsafe fn munmap(&self, addr: NonNull<u8>, len: usize) -> Result<()> {
        // SAFETY: every mapping of this kernel is one of Linux; the rest is our caller's promise.
        unsafe { Linux.munmap(addr, len.next_multiple_of(self.page_size())) }?;
        let mut world = self.world();
        world.forget_pages(addr.as_ptr() as u64);
        world.huge_pages.forget(addr.as_ptr() as u64);
        Ok(())
    }

    unsafe fn keep_from_children(&self, addr: NonNull<u8>, len: usize) -> Result<()> {
        // SAFETY: every mapping of this kernel is one of Linux; the rest is our caller's promise.
        unsafe { Linux.keep_from_children(addr, len) }
    }

    fn populate(&self, memory: HostRange, write: bool) -> Result<()> {
        Linux.populate(memory, write)
    }

    /// A page of the machine is there if all of this host's are that it has.
    fn resident(&self, memory: HostRange, pages: &mut [u8]) -> Result<()> {
        let (page, host_page) = (self.page_size(), Linux.page_size());
        if pages.len() < memory.len().div_ceil(page) {
            return Err(Errno::INVAL);
        }
        let mut parts = vec![0; memory.len().div_ceil(host_page)];
        Linux.resident(memory, &mut parts)?;
        let there = parts.chunks((page / host_page).max(1));
        for (page, parts) in pages.iter_mut().zip(there) {
            *page = parts.iter().fold(1, |all, part| all & part);
        }
        Ok(())
    }

    fn eventfd(&self) -> Result<OwnedFd> {
        Linux.eventfd()
    }

    fn memlock_limit(&self) -> Option<u64> {
        self.world().processes.rights(self.process).memlock
    }

    fn page_size(&self) -> usize {
        self.world().machine.page_size
    }

    fn identity(&self) -> (String, String) {
        let world = self.world();
        (world.machine.arch.clone(), world.machine.release.clone())
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>> {
        match path.to_str() {
            Some("/proc/self/status") => {
                let locked = self.locked();
                let rights = self.world().processes.rights(self.process);
                Ok(rights.status(locked).into_bytes())
            }
            Some("/proc/self/limits") => {
                let rights = self.world().processes.rights(self.process);
                Ok(rights.limits().into_bytes())
            }
            // Memory is this process's.
            Some("/proc/self/maps") => Linux.read(path),
            _ => self.world().host.read(path),
        }
    }

    fn list(&self, path: &Path) -> Result<Vec<OsString>> {
        self.world().host.list(path)
    }

    fn read_link(&self, path: &Path) -> Result<PathBuf> {
        self.world().host.read_link(path)
    }

    fn node(&self, path: &Path) -> Result<Node> {
        self.world().node(path)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        self.world().write(self.process, path, bytes)
    }
}

/// Whole pages of that size.
fn mmap_aligned(len: usize, page: usize) -> Result<NonNull<u8>> {
    let len = len.checked_next_multiple_of(page).ok_or(Errno::NOMEM)?;
    let whole = len.checked_add(page).ok_or(Errno::NOMEM)?;
    let start = Linux.mmap(whole)?;
    let before = start.as_ptr().align_offset(page).min(page);
    // SAFETY: what is before and behind the pages that are given away is a part of this mapping, which nobody
    // else knows yet; all of it has `whole` bytes.
    unsafe {
        let place = start.add(before);
        if before > 0 {
            Linux.munmap(start, before)?;
        }
        if before < page {
            Linux.munmap(place.add(len), page - before)?;
        }
        Ok(place)
    }
}
