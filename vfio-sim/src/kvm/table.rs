//! TCE tables of VMs, and what guests put into them (D59).

use std::os::fd::OwnedFd;

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use vfio_core::kernel::{Arg, Errno, Result};
use vfio_core::kvm::Tce;
use vfio_core::kvm::uapi::CreateSpaprTce64;

use crate::arg;
use crate::event::Object;
use crate::iommu::{Target, WindowId, is_registered};
use crate::machine::{Hardware, Platform};
use crate::process::ProcessId;
use crate::world::{Answer, World};

/// The bytes of an entry.
const TCE_BYTES: u64 = 8;

/// What the kernel's own struct of a table has beside the pointers to its pages, in bytes.
const HEADER: u64 = 160;

/// How a hypercall of a guest's ended in the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hypercall {
    /// `H_SUCCESS`: user space was not asked, and does not know.
    Done,
    /// `H_PARAMETER`: the guest was told that it is wrong.
    Wrong,
    /// `H_TOO_HARD`: the VM's processor stops, and user space is to carry it out.
    TooHard,
}

/// A table.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) vm: u64,
    owner: ProcessId,
    shape: CreateSpaprTce64,
    /// The entries, which can be mapped.
    file: OwnedFd,
    /// What is accounted for it, in bytes.
    locked: u64,
    attached: Vec<Attached>,
}

/// A window that a table is attached to.
#[derive(Debug)]
struct Attached {
    container: u64,
    window: WindowId,
    /// How many groups it was attached for.
    groups: u32,
}

impl World {
    /// Whether KVM has tables: where VFIO has sPAPR.
    pub(super) fn has_tables(&self) -> bool {
        self.platform().is_some()
    }

    /// Whether it says that it puts what a guest maps into the windows of devices.
    pub(super) fn fills_tables(&self) -> bool {
        match self.platform() {
            Some(Platform::Powernv) => true,
            Some(Platform::Pseries { .. }) => self.machine.profile().fills_tables_of_guests(),
            None => false,
        }
    }

    fn platform(&self) -> Option<Platform> {
        let drivers = self.machine.iommus.iter();
        drivers
            .filter_map(|driver| match &driver.hardware {
                Hardware::Spapr(spapr) => Some(spapr.platform),
                _ => None,
            })
            .next()
    }

    pub(super) fn create_table(&mut self, vm: u64, arg: &Arg<'_>) -> Result<Answer> {
        let shape: CreateSpaprTce64 = arg::read(arg)?;
        let pages_end = shape.offset.wrapping_add(shape.size);
        if shape.flags != 0 || shape.size == 0 || !(12..=34).contains(&shape.page_shift) {
            return Err(Errno::INVAL);
        }
        if pages_end > u64::MAX >> shape.page_shift {
            return Err(Errno::INVAL);
        }
        let page = self.machine.page_size as u64;
        let bytes = shape.size.checked_mul(TCE_BYTES).ok_or(Errno::NOMEM)?;
        let bytes = bytes.checked_next_multiple_of(page).ok_or(Errno::NOMEM)?;
        let book = (HEADER + bytes / page * TCE_BYTES).next_multiple_of(page);
        let owner = self.kvm.vm(vm)?.owner;
        self.processes.lock(owner, bytes + book)?;
        let made = self.make_table(vm, owner, shape, bytes, bytes + book);
        if made.is_err() {
            self.processes.unlock(owner, bytes + book);
        }
        made.map(Answer::Fd)
    }

    fn make_table(
        &mut self,
        vm: u64,
        owner: ProcessId,
        shape: CreateSpaprTce64,
        bytes: u64,
        locked: u64,
    ) -> Result<OwnedFd> {
        let mut tables = self.kvm.tables.values();
        if tables.any(|it| it.vm == vm && it.shape.liobn == shape.liobn) {
            return Err(Errno::BUSY);
        }
        let file = memfd_create("vfio-sim TCE table", MemfdFlags::CLOEXEC)?;
        ftruncate(&file, bytes).map_err(|_| Errno::NOMEM)?;
        let id = self.kvm.next();
        let fd = self.new_fd(Object::TceTable(id))?;
        let table = Table {
            vm,
            owner,
            shape,
            file,
            locked,
            attached: Vec::new(),
        };
        self.kvm.tables.insert(id, table);
        Ok(fd)
    }

    /// What is mapped of a table.
    pub(crate) fn table_file(&self, id: u64) -> Result<OwnedFd> {
        let table = self.kvm.tables.get(&id).ok_or(Errno::BADF)?;
        table.file.try_clone().map_err(|_| Errno::NFILE)
    }

    /// Its last fd and mapping have gone.
    pub(super) fn release_table(&mut self, id: u64) {
        if let Some(table) = self.kvm.tables.remove(&id) {
            self.processes.unlock(table.owner, table.locked);
        }
    }

    /// The group must have a window where the table's is, as large, with pages no larger.
    pub(super) fn attach_table(&mut self, vm: u64, table: u64, group: u32) -> Result<()> {
        let container = self.container_of(group);
        let spapr = container.and_then(|id| self.containers.get(&id)?.driver.as_ref());
        let table = self.kvm.tables.get_mut(&table).filter(|it| it.vm == vm);
        let table = table.ok_or(Errno::INVAL)?;
        let shape = &table.shape;
        let window = spapr.and_then(|driver| {
            let start = shape.offset << shape.page_shift;
            let size = shape.size << shape.page_shift;
            driver.iommu.window(start, size, shape.page_shift)
        });
        let (Some(container), Some(window)) = (container, window) else {
            return Err(Errno::INVAL);
        };
        let mut known = table.attached.iter_mut();
        match known.find(|it| (it.container, it.window) == (container, window)) {
            Some(attached) => attached.groups += 1,
            None => table.attached.push(Attached {
                container,
                window,
                groups: 1,
            }),
        }
        Ok(())
    }

    /// A group is taken away: each of its windows is let go of once. A window that is none any more is not found.
    pub(super) fn detach_tables(&mut self, vm: u64, object: &Object) {
        let Object::Group(group) = object else {
            return;
        };
        let Some(container) = self.container_of(*group) else {
            return;
        };
        let driver = self.containers.get(&container);
        let Some(iommu) = driver.and_then(|it| it.driver.as_ref()).map(|it| &it.iommu) else {
            return;
        };
        for table in self.kvm.tables.values_mut().filter(|it| it.vm == vm) {
            for attached in &mut table.attached {
                if attached.container == container && iommu.has_window(attached.window) {
                    attached.groups -= 1;
                }
            }
            table.attached.retain(|it| it.groups > 0);
        }
    }

    /// `H_PUT_TCE`, as the kernel carries it out.
    pub(crate) fn h_put_tce(&mut self, vm: u64, liobn: u64, ioba: u64, tce: Tce) -> Hypercall {
        let mut tables = self.kvm.tables.values();
        let Some(table) = tables.find(|it| it.vm == vm && it.shape.liobn == liobn) else {
            return Hypercall::TooHard;
        };
        let Ok(state) = self.kvm.vm(vm) else {
            return Hypercall::TooHard;
        };
        let CreateSpaprTce64 {
            page_shift,
            offset,
            size,
            ..
        } = table.shape;
        let page = 1u64 << page_shift;
        let entry = ioba >> page_shift;
        if ioba % page != 0 || entry < offset || entry - offset >= size {
            return Hypercall::Wrong;
        }
        let mut vaddr = None;
        if tce.access().is_some() {
            // The guest's address, in pages that KVM has memory for.
            vaddr = state.memory.vaddr(tce.guest());
            if tce.guest() % page != 0 || vaddr.is_none() {
                return Hypercall::TooHard;
            }
        }
        let target = vaddr.zip(tce.access()).map(|(vaddr, access)| Target {
            vaddr,
            read: access.reads(),
            write: access.writes(),
        });
        let processes = &mut self.processes;
        let owner = table.owner;
        let is_registered = |window, processes: &mut _| {
            target.is_none_or(|target| is_registered(window, page, target, owner, processes))
        };
        let mut attached = table.attached.iter();
        if !attached.all(|it| is_registered(it.window, processes)) {
            return Hypercall::TooHard;
        }
        for Attached {
            container, window, ..
        } in &table.attached
        {
            let container = self.containers.get_mut(container);
            if let Some(driver) = container.and_then(|it| it.driver.as_mut()) {
                let iommu = &mut driver.iommu;
                iommu.put_for_kvm(*window, ioba, page, target, owner, processes);
            }
        }
        let at = (entry - offset) * TCE_BYTES;
        match rustix::io::pwrite(&table.file, &tce.0.to_ne_bytes(), at) {
            Ok(_) => Hypercall::Done,
            Err(_) => Hypercall::TooHard,
        }
    }
}
