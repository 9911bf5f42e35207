//! The memory slots of VMs (F92c), and what guests see in them.

use std::collections::BTreeMap;

use vfio_core::kernel::{Arg, Errno, Result};
use vfio_core::kvm::uapi::{MEM_READONLY, UserspaceMemoryRegion};

use crate::arg;
use crate::memory;
use crate::world::{Answer, World};

/// What was written is noted down for user space: taken, and not simulated.
const MEM_LOG_DIRTY_PAGES: u32 = 1;

/// The most pages that a slot has.
const MOST_PAGES: u64 = (1 << 31) - 1;

/// Memory of this process that the guest of a VM sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuestMemory {
    /// The slot's number.
    pub slot: u32,
    /// First address for the guest.
    pub guest: u64,
    /// First address in the process.
    pub vaddr: u64,
    /// Size in bytes.
    pub size: u64,
    /// The guest may write.
    pub write: bool,
}

impl GuestMemory {
    /// Where in the process an address of the guest's is, if that and so many bytes more are in this.
    fn place(&self, guest: u64, len: u64) -> Option<u64> {
        let offset = guest.checked_sub(self.guest)?;
        let fits = offset < self.size && len <= self.size - offset;
        fits.then(|| self.vaddr + offset)
    }

    fn overlaps(&self, guest: u64, size: u64) -> bool {
        guest < self.guest + self.size && self.guest < guest + size
    }
}

/// How an access of a guest's ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuestAccess {
    /// It reached memory, and nobody was asked.
    Done,
    /// There is no memory, or none that may be written: the VM's processor stops, and user space is to carry it out.
    Mmio,
}

/// Those of a VM, by their numbers.
#[derive(Debug, Default)]
pub(super) struct MemorySlots(BTreeMap<u32, GuestMemory>);

impl MemorySlots {
    fn find(&self, guest: u64, len: u64) -> Option<(&GuestMemory, u64)> {
        let mut slots = self.0.values();
        slots.find_map(|slot| Some((slot, slot.place(guest, len)?)))
    }

    /// Where in the process an address of the guest's is.
    pub(super) fn vaddr(&self, guest: u64) -> Option<u64> {
        self.find(guest, 1).map(|(_, vaddr)| vaddr)
    }

    /// What Linux looks at, whatever the slot's number.
    fn set(&mut self, region: &UserspaceMemoryRegion, page: u64) -> Result<()> {
        let &UserspaceMemoryRegion {
            slot,
            flags,
            guest_phys_addr: guest,
            memory_size: size,
            userspace_addr: vaddr,
        } = region;
        let misaligned = [guest, size, vaddr].iter().any(|it| it % page != 0);
        // The upper half of all addresses is the kernel's.
        let is_users = vaddr.checked_add(size).is_some_and(|end| end <= 1 << 63);
        if misaligned || !is_users || guest.checked_add(size).is_none() || size / page > MOST_PAGES
        {
            return Err(Errno::INVAL);
        }
        if size == 0 {
            return self.0.remove(&slot).map(drop).ok_or(Errno::INVAL);
        }
        let new = GuestMemory {
            slot,
            guest,
            vaddr,
            size,
            write: flags & MEM_READONLY == 0,
        };
        if let Some(old) = self.0.get(&slot) {
            if (old.vaddr, old.size, old.write) != (vaddr, size, new.write) {
                return Err(Errno::INVAL); // it can be moved, and nothing else
            }
        }
        let mut others = self.0.values().filter(|it| it.slot != slot);
        if others.any(|it| it.overlaps(guest, size)) {
            return Err(Errno::EXIST);
        }
        self.0.insert(slot, new);
        Ok(())
    }
}

impl World {
    /// How many slots a VM has.
    pub(super) fn memory_slots(&self) -> u32 {
        const ALL: u32 = 0x7fff;
        match self.machine.arch.as_str() {
            "x86_64" => ALL - 3, // KVM has memory of its own there
            _ => ALL,
        }
    }

    /// Whether a guest can be kept from writing.
    pub(super) fn has_read_only_memory(&self) -> bool {
        !self.has_tables() // not on POWER
    }

    pub(super) fn set_user_memory_region(&mut self, vm: u64, arg: &Arg<'_>) -> Result<Answer> {
        self.set_memory_slot(vm, &arg::read(arg)?)?;
        Ok(Answer::Value(0))
    }

    fn set_memory_slot(&mut self, vm: u64, region: &UserspaceMemoryRegion) -> Result<()> {
        let mut flags = MEM_LOG_DIRTY_PAGES;
        if self.has_read_only_memory() {
            flags |= MEM_READONLY;
        }
        if region.flags & !flags != 0 || region.slot >= self.memory_slots() {
            return Err(Errno::INVAL);
        }
        let page = self.machine.page_size as u64;
        let vm = self.kvm.vms.get_mut(&vm).ok_or(Errno::IO)?;
        vm.memory.set(region, page)
    }

    /// Memory that the guest of a VM sees from now on, in the last slot that has none.
    pub(crate) fn add_guest_memory(
        &mut self,
        vm: u64,
        guest: u64,
        vaddr: u64,
        size: u64,
    ) -> Result<()> {
        let slots = &self.kvm.vm(vm)?.memory.0;
        let mut numbers = (0..self.memory_slots()).rev();
        let slot = numbers.find(|number| !slots.contains_key(number));
        let region = UserspaceMemoryRegion {
            slot: slot.ok_or(Errno::INVAL)?,
            flags: 0,
            guest_phys_addr: guest,
            memory_size: size,
            userspace_addr: vaddr,
        };
        self.set_memory_slot(vm, &region)
    }

    /// The guest sees no memory there any more.
    pub(crate) fn remove_guest_memory(&mut self, vm: u64, guest: u64) {
        if let Some(vm) = self.kvm.vms.get_mut(&vm) {
            vm.memory.0.retain(|_, slot| slot.guest != guest);
        }
    }

    /// What the guests of all VMs see.
    pub(crate) fn guest_memory(&self) -> Vec<GuestMemory> {
        let vms = self.kvm.vms.values();
        vms.flat_map(|vm| vm.memory.0.values().copied()).collect()
    }

    /// The guest of a VM reads. `EFAULT`: its memory has gone from the process.
    pub(crate) fn guest_read(&self, vm: u64, guest: u64, bytes: &mut [u8]) -> Result<GuestAccess> {
        let found = self.kvm.vm(vm)?.memory.find(guest, bytes.len() as u64);
        let Some((_, vaddr)) = found else {
            return Ok(GuestAccess::Mmio);
        };
        done(memory::read(vaddr, bytes))
    }

    /// The guest of a VM writes.
    pub(crate) fn guest_write(&self, vm: u64, guest: u64, bytes: &[u8]) -> Result<GuestAccess> {
        match self.kvm.vm(vm)?.memory.find(guest, bytes.len() as u64) {
            Some((slot, vaddr)) if slot.write => done(memory::write(vaddr, bytes)),
            _ => Ok(GuestAccess::Mmio),
        }
    }
}

/// Without the memory, the call that runs the processor fails.
fn done(is_there: bool) -> Result<GuestAccess> {
    match is_there {
        true => Ok(GuestAccess::Done),
        false => Err(Errno::FAULT),
    }
}
