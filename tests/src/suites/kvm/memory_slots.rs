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
    let has_read_only = has_capability(kernel, vm.as_fd(), uapi::CAP_READONLY_MEM)?;
    ensure!(has_capability(kernel, vm.as_fd(), uapi::CAP_USER_MEMORY)?);

    type Region = UserspaceMemoryRegion;
    let first = Region {
        slot: 3,
        flags: 0,
        guest_phys_addr: GUEST,
        memory_size: 2 * page,
        userspace_addr: ram.block().range().addr() as u64,
    };
    let (refused, taken) = (Err(Errno::INVAL), Ok(0));
    let nothing = Region {
        memory_size: 0,
        ..first
    };
    let second = Region { slot: 4, ..first };
    let moved = Region {
        guest_phys_addr: GUEST + page,
        ..first
    };
    let read_only = Region {
        flags: uapi::MEM_READONLY,
        ..second
    };
    let last = Region {
        slot: count - 1,
        guest_phys_addr: 0,
        ..first
    };
    // In this order: each finds what those before it have left.
    let cases = [
        ("what is not there goes", nothing, refused),
        (
            "an unknown flag",
            Region {
                flags: 1 << 31,
                ..first
            },
            refused,
        ),
        (
            "half a page for the guest",
            Region {
                guest_phys_addr: GUEST + page / 2,
                ..first
            },
            refused,
        ),
        (
            "half a page of memory",
            Region {
                userspace_addr: first.userspace_addr + page / 2,
                ..first
            },
            refused,
        ),
        (
            "half a page more",
            Region {
                memory_size: 2 * page + page / 2,
                ..first
            },
            refused,
        ),
        (
            "an address of the kernel's",
            Region {
                userspace_addr: 1 << 63,
                ..first
            },
            refused,
        ),
        (
            "beyond all addresses",
            Region {
                guest_phys_addr: 0u64.wrapping_sub(page),
                ..first
            },
            refused,
        ),
        (
            "one slot too many",
            Region {
                slot: count,
                ..first
            },
            refused,
        ),
        ("the last slot", last, taken),
        (
            "the last slot goes",
            Region {
                memory_size: 0,
                ..last
            },
            taken,
        ),
        ("a slot", first, taken),
        ("the same again", first, taken),
        (
            "another size",
            Region {
                memory_size: page,
                ..first
            },
            refused,
        ),
        (
            "other memory",
            Region {
                userspace_addr: first.userspace_addr + page,
                ..first
            },
            refused,
        ),
        ("another slot there", second, Err(Errno::EXIST)),
        ("it moves", moved, taken),
        (
            "another slot at its end",
            Region {
                guest_phys_addr: GUEST + 2 * page,
                ..second
            },
            Err(Errno::EXIST),
        ),
        (
            "another slot before it",
            Region {
                memory_size: page,
                ..second
            },
            taken,
        ),
        ("it moves back", first, Err(Errno::EXIST)),
        (
            "the other goes, wherever it is said to be",
            Region { slot: 4, ..nothing },
            taken,
        ),
        ("it moves back", first, taken),
        ("it goes", nothing, taken),
        ("it goes twice", nothing, refused),
        (
            "memory that is read",
            read_only,
            if has_read_only { taken } else { refused },
        ),
        (
            "it can be written now",
            second,
            if has_read_only { refused } else { taken },
        ),
        ("it goes", Region { slot: 4, ..nothing }, taken),
    ];
    for (what, region, wanted) in cases {
        let answer = set(kernel, vm.as_fd(), &region);
        ensure!(answer == wanted, "{what}: {answer:?}, not {wanted:?}");
    }
    Ok(Outcome::Passed)
}

/// How much a VM has of a capability.
fn capability(kernel: &Arc<dyn Kernel>, vm: BorrowedFd<'_>, number: u32) -> Result<u32> {
    let number = Arg::Value(number as usize);
    // SAFETY: the call takes a number, and returns one.
    Ok(unsafe { kernel.ioctl(vm, uapi::CHECK_EXTENSION, number) }?)
}
