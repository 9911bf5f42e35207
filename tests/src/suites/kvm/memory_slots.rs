//! Mapped BARs in the memory of a VM.
#![allow(unsafe_code)] // Raw calls, right and wrong ones, on a VM that runs nothing.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use vfio_core::ErrorKind;
use vfio_core::device::{RegionIndex, RegionMap};
use vfio_core::kernel::{Arg, Errno, Kernel};
use vfio_core::kvm::uapi::{self, UserspaceMemoryRegion};
use vfio_core::kvm::{MemorySlots, has_capability};
use zerocopy::IntoBytes;

use super::{NO_KVM, vm};
use crate::guest::Ram;
use crate::suites::{Outcome, Rig};

const NO_MEMORY: Outcome = Outcome::NotHere("none of its BARs can be mapped as memory");

/// Where the guest sees the BAR: where every guest has addresses.
const GUEST: u64 = 0x4000_0000;

/// Puts memory into a VM, without the library.
fn set(
    kernel: &Arc<dyn Kernel>,
    vm: BorrowedFd<'_>,
    region: &UserspaceMemoryRegion,
) -> Result<u32, Errno> {
    let arg = Arg::In(region.as_bytes());
    // SAFETY: the struct that the call takes; the VM runs nothing that could reach the memory that it names.
    unsafe { kernel.ioctl(vm, uapi::SET_USER_MEMORY_REGION, arg) }
}

/// The first part of a BAR that can be mapped, and has an address.
fn mapped(rig: &Rig) -> Result<Option<Arc<RegionMap>>> {
    for bar in 0..6 {
        let region = rig.device.region(RegionIndex::Bar(bar))?;
        let Some(area) = region.mappable_areas()?.first().copied() else {
            continue;
        };
        let map = region.map_part(area.offset, area.size)?;
        if map.host_ptr().is_some() {
            return Ok(Some(Arc::new(map)));
        }
    }
    Ok(None)
}

/// A BAR is in a VM until its slot is removed, and nothing else is where it is.
pub(in crate::suites) fn inserted(rig: &Rig) -> Result<Outcome> {
    let Some(vm) = vm(rig)? else {
        return Ok(NO_KVM);
    };
    let Some(memory) = mapped(rig)? else {
        return Ok(NO_MEMORY);
    };
    let kernel = rig.vfio().kernel();
    let page = kernel.page_size() as u64;
    let size = memory.host_range().context("pages")?.len() as u64;
    let slots = MemorySlots::new(kernel, vm.try_clone()?, 8..10)?;
    let refused = |slots: &MemorySlots, guest, wanted| {
        let error = slots.insert(guest, &memory, false).err();
        let error = error.with_context(|| format!("it was put at {guest:#x}"))?;
        ensure!(error.kind() == wanted, "{guest:#x}: {error}");
        anyhow::Ok(())
    };

    let mut slot = slots.insert(GUEST, &memory, false)?;
    ensure!(slot.guest() == (GUEST..GUEST + size));
    for guest in [
        GUEST,
        GUEST + size - page,
        GUEST.saturating_sub(size - page),
    ] {
        refused(&slots, guest, ErrorKind::Overlap)?;
    }
    refused(&slots, GUEST + size + 1, ErrorKind::Invalid)?;
    refused(&slots, u64::MAX - page + 1, ErrorKind::Invalid)?;
    let other = slots.insert(GUEST + size, &memory, false)?;
    refused(&slots, GUEST + 2 * size, ErrorKind::Exhausted)?;

    // The numbers that it has are in the kernel, and no others.
    let ask = |slot, size| {
        let region = UserspaceMemoryRegion {
            slot,
            guest_phys_addr: GUEST,
            memory_size: size,
            ..UserspaceMemoryRegion::default()
        };
        set(kernel, vm.as_fd(), &region)
    };
    ensure!(ask(10, 0) == Err(Errno::INVAL), "there is another slot");
    slot.remove()?;
    ensure!(
        ask(slot.number(), 0) == Err(Errno::INVAL),
        "it is still there"
    );
    slot.remove()?;
    let again = slots.insert(GUEST, &memory, false)?;
    ensure!(again.number() == slot.number(), "{}", again.number());
    drop((again, slot));

    let has_read_only = has_capability(kernel, vm.as_fd(), uapi::CAP_READONLY_MEM)?;
    match slots.insert(GUEST, &memory, true) {
        Ok(_) => ensure!(has_read_only),
        Err(error) => ensure!(
            !has_read_only && error.kind() == ErrorKind::Unsupported,
            "{error}"
        ),
    }
    // It stays mapped, and the VM there, without anybody else.
    drop((slots, vm));
    let guests = Arc::clone(&memory);
    drop(memory);
    ensure!(Arc::strong_count(&guests) == 2);
    drop(other);
    ensure!(Arc::strong_count(&guests) == 1);
    Ok(Outcome::Passed)
}

/// A slot is made, moved and emptied; what else is asked of one is refused, and changes nothing.
pub(in crate::suites) fn slots(rig: &Rig) -> Result<Outcome> {
    let Some(vm) = vm(rig)? else {
        return Ok(NO_KVM);
    };
    let kernel = rig.vfio().kernel();
    let page = kernel.page_size() as u64;
    let ram = Ram::new(kernel, 4 * kernel.page_size())?;
    let count = capability(kernel, vm.as_fd(), uapi::CAP_NR_MEMSLOTS)?;
    // Where KVM has memory of its own, on x86, three are for that.
    ensure!([0x7ffc, 0x7fff].contains(&count), "there are {count}");
    let has_read_only = has_capability(kernel, vm.as_fd(), uapi::CAP_READONLY_MEM)?;
    ensure!(has_capability(kernel, vm.as_fd(), uapi::CAP_USER_MEMORY)?);

    let (at, two, half) = (ram.block().range().addr() as u64, 2 * page, page / 2);
    let last = count - 1;
    let (refused, taken, overlaps) = (Err(Errno::INVAL), Ok(0), Err(Errno::EXIST));
    let unless_power = |wanted, other| if has_read_only { wanted } else { other };
    // Number, flags, guest address, size, memory: in this order, each finds what those before it have left.
    let cases = [
        ("what is not there goes", (3, 0, GUEST, 0, at), refused),
        ("a flag", (3, 1 << 31, GUEST, two, at), refused),
        ("half a page", (3, 0, GUEST + half, two, at), refused),
        ("half of memory", (3, 0, GUEST, two, at + half), refused),
        ("half more", (3, 0, GUEST, two + half, at), refused),
        ("the kernel's", (3, 0, GUEST, two, 1 << 63), refused),
        (
            "the end",
            (3, 0, 0_u64.wrapping_sub(page), two, at),
            refused,
        ),
        ("one too many", (count, 0, GUEST, two, at), refused),
        ("no memory", (3, 0, GUEST, two, page), taken),
        ("it goes", (3, 0, GUEST, 0, page), taken),
        ("the last slot", (last, 0, 0, two, at), taken),
        ("it goes", (last, 0, 0, 0, at), taken),
        ("a slot", (3, 0, GUEST, two, at), taken),
        ("the same", (3, 0, GUEST, two, at), taken),
        ("another size", (3, 0, GUEST, page, at), refused),
        ("other memory", (3, 0, GUEST, two, at + page), refused),
        ("another there", (4, 0, GUEST, two, at), overlaps),
        ("it moves", (3, 0, GUEST + page, two, at), taken),
        ("one at its end", (4, 0, GUEST + two, two, at), overlaps),
        ("one before it", (4, 0, GUEST, page, at), taken),
        ("it moves back", (3, 0, GUEST, two, at), overlaps),
        ("that one goes", (4, 0, 0, 0, at), taken),
        ("it moves back", (3, 0, GUEST, two, at), taken),
        ("it goes", (3, 0, GUEST, 0, at), taken),
        ("it goes twice", (3, 0, GUEST, 0, at), refused),
        (
            "only read",
            (4, uapi::MEM_READONLY, GUEST, two, at),
            unless_power(taken, refused),
        ),
        (
            "written",
            (4, 0, GUEST, two, at),
            unless_power(refused, taken),
        ),
        ("it goes", (4, 0, GUEST, 0, at), taken),
    ];
    for (what, (slot, flags, guest_phys_addr, memory_size, userspace_addr), wanted) in cases {
        let region = UserspaceMemoryRegion {
            slot,
            flags,
            guest_phys_addr,
            memory_size,
            userspace_addr,
        };
        let answer = set(kernel, vm.as_fd(), &region);
        ensure!(answer == wanted, "{what}: {answer:?} to {region:x?}");
    }
    Ok(Outcome::Passed)
}

/// How much a VM has of a capability.
fn capability(kernel: &Arc<dyn Kernel>, vm: BorrowedFd<'_>, number: u32) -> Result<u32> {
    let number = Arg::Value(number as usize);
    // SAFETY: the call takes a number, and returns one.
    Ok(unsafe { kernel.ioctl(vm, uapi::CHECK_EXTENSION, number) }?)
}
