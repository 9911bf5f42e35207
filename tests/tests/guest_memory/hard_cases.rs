//! What happens when owners of memory, callers and kernels do their worst: memory is freed after it was unmapped, or never.
#![allow(unsafe_code)] // blocks with owners that look at what is mapped when they are dropped

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use iommu_spapr::SPAPR_V2;
use iommu_type1::TYPE1_V2;
use vfio_core::ErrorKind;
use vfio_core::address::{Access, HostRange, Iova, IovaRange};
use vfio_core::guest::{AddressSpace, Block, GuestIommu, Request, Section, Translation};
use vfio_core::kernel::{Errno, Kernel};
use vfio_sim::SimKernel;
use vfio_sim::wrap::Mode;
use vfio_tests::guest::Ram;

use crate::world::{PAGE, World, mapped, range};

fn device(at: usize, len: usize) -> IovaRange {
    IovaRange::new(Iova((1 << 28) + (at * PAGE) as u64), (len * PAGE) as u64).unwrap()
}

fn translation(at: usize, len: usize, guest: usize) -> Translation {
    Translation {
        range: device(at, len),
        to: range(guest, 1).first(),
        access: Access::ReadWrite,
    }
}

/// So many bytes, of which nothing else is known.
fn memory(world: &World, len: usize) -> Block {
    let kernel: Arc<dyn Kernel> = Arc::new(world.sim.clone());
    Ram::new(&kernel, len).unwrap().block().clone()
}

fn ram(at: usize, len: usize, block: &Block) -> Section {
    Section::ram(range(at, len), block, 0).unwrap()
}

fn insert(space: &AddressSpace, section: Section) {
    let _ = space.edit().insert(section).commit().unwrap();
}

/// An owner that sees whether a device reaches the memory when it is freed.
struct Sees {
    sim: SimKernel,
    memory: Block,
    wrong: Arc<AtomicBool>,
}

impl Drop for Sees {
    fn drop(&mut self) {
        if is_reached(&self.sim, self.memory.range()) {
            self.wrong.store(true, Ordering::SeqCst);
        }
    }
}

fn is_reached(sim: &SimKernel, memory: HostRange) -> bool {
    let mut mappings = sim.mappings().into_iter();
    mappings.any(|it| {
        let start = usize::try_from(it.vaddr).unwrap();
        let size = usize::try_from(it.size).unwrap();
        memory.overlaps(HostRange::new(start, size).unwrap())
    })
}

/// A block, and whether it was freed while a device reached it.
fn watched(world: &World) -> (Block, Arc<AtomicBool>) {
    let memory = memory(world, 4 * PAGE);
    let wrong = Arc::new(AtomicBool::new(false));
    let owner = Sees {
        sim: world.sim.clone(),
        memory: memory.clone(),
        wrong: Arc::clone(&wrong),
    };
    // SAFETY: the owner keeps the memory.
    (unsafe { Block::new(memory.range(), owner) }, wrong)
}

#[test]
fn a_caller_that_panics_while_a_device_joins_leaves_nothing_mapped() {
    let world = World::apart(TYPE1_V2, 1);
    let (block, wrong) = watched(&world);
    insert(&world.space, ram(0, 4, &block));
    drop(block);
    let iommu = GuestIommu::of(&world.space);
    let domain = world.domains().next().unwrap().clone();
    let mut first = Some(translation(0, 4, 0));
    let translations = std::iter::from_fn(|| {
        iommu.page_size(); // it may ask, too
        Some(first.take().expect("enough"))
    });
    let joined = catch_unwind(AssertUnwindSafe(|| iommu.follow(&domain, translations)));
    assert!(joined.is_err());
    let _ = world.space.edit().remove(range(0, 4)).commit().unwrap();
    assert!(!wrong.load(Ordering::SeqCst));
    drop((iommu, domain));
    world.end();
}

#[test]
fn what_is_torn_behind_an_iommu_is_not_freed_with_it_before_it_is_unmapped() {
    for works_again in [true, false] {
        for n in 0..6 {
            let world = World::apart(TYPE1_V2, 2);
            let old = memory(&world, 4 * PAGE);
            let (new, wrong) = watched(&world);
            insert(&world.space, ram(0, 4, &old));
            let iommu = GuestIommu::of(&world.space);
            for domain in world.domains() {
                iommu.follow(domain, [translation(0, 4, 0)]).unwrap();
            }
            let edit = world
                .space
                .edit()
                .remove(range(0, 4))
                .insert(ram(0, 4, &new));
            drop(new);
            world.failing.arm(n, Errno::NOMEM.into(), Mode::AndAllLater);
            let _ = edit.commit();
            if works_again {
                world.failing.disarm();
            }
            drop(iommu);
            assert!(!wrong.load(Ordering::SeqCst), "call {n}");
        }
    }
}

/// Asks the space, and panics, when the memory is freed.
struct Rude {
    space: Arc<AddressSpace>,
    _memory: Block,
}

impl Drop for Rude {
    fn drop(&mut self) {
        self.space.followers();
        assert!(std::thread::panicking(), "an owner that panics");
    }
}

#[test]
fn an_owner_that_asks_and_panics_harms_no_other_memory() {
    let world = World::new(TYPE1_V2, 1);
    let inner = memory(&world, 4 * PAGE);
    let rude = Rude {
        space: Arc::clone(&world.space),
        _memory: inner.clone(),
    };
    // SAFETY: the owner keeps the memory.
    let old = unsafe { Block::new(inner.range(), rude) };
    let (new, wrong) = watched(&world);
    insert(&world.space, ram(0, 4, &old));
    drop(old);
    let edit = world
        .space
        .edit()
        .remove(range(0, 4))
        .insert(ram(8, 4, &new));
    drop(new);
    assert!(catch_unwind(AssertUnwindSafe(|| edit.commit().map(drop))).is_err());
    assert!(!wrong.load(Ordering::SeqCst));
    assert_eq!(world.sim.mappings().len(), 1);
    world.end();
}

/// Makes a change of which a call fails, and all later ones. If that tears something, it is repaired at the second try, of
/// which the first one lacks a call; answers whether it did.
fn is_torn_and_repaired(
    world: &World,
    (call, of_repair): (usize, usize),
    change: impl FnOnce() -> Option<ErrorKind>,
) -> bool {
    world
        .failing
        .arm(call, Errno::NOMEM.into(), Mode::AndAllLater);
    if change() != Some(ErrorKind::Torn) {
        return false;
    }
    world
        .failing
        .arm(of_repair, Errno::NOMEM.into(), Mode::Once);
    let _ = world.space.repair();
    world.failing.disarm();
    world.space.repair().unwrap();
    true
}

/// Each of so many calls of a change with each of the first of its repair.
fn pairs(calls: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..calls).flat_map(|n| (0..4).map(move |m| (n, m)))
}

#[test]
fn a_repair_that_fails_once_succeeds_afterwards() {
    let mut torn = 0;
    for calls in pairs(8) {
        let world = World::new(TYPE1_V2, 2);
        let block = memory(&world, 4 * PAGE);
        insert(&world.space, ram(0, 4, &block));
        let before = mapped(&world.sim);
        let rom = Section::rom(range(0, 4), &block, 0).unwrap();
        let edit = world.space.edit().remove(range(0, 4)).insert(rom);
        if is_torn_and_repaired(&world, calls, || Some(edit.commit().err()?.kind())) {
            torn += 1;
            assert_eq!(mapped(&world.sim), before, "calls {calls:?}");
        }
    }
    assert_ne!(torn, 0);
}

#[test]
fn a_repair_of_what_was_cut_behind_an_iommu_fails_once_and_succeeds_afterwards() {
    let mut torn = 0;
    for calls in pairs(5) {
        let world = World::apart(TYPE1_V2, 1);
        let block = memory(&world, 9 * PAGE);
        insert(&world.space, ram(0, 9, &block));
        let iommu = GuestIommu::of(&world.space);
        let domain = world.domains().next().unwrap();
        iommu.follow(domain, [translation(0, 9, 0)]).unwrap();
        let cut = || iommu.apply(&[Request::Unmap(device(3, 2))]).err();
        if is_torn_and_repaired(&world, calls, || Some(cut()?.error.kind())) {
            torn += 1;
            assert_eq!(mapped(&world.sim).len(), 9, "calls {calls:?}");
        }
    }
    assert_ne!(torn, 0);
}

#[test]
fn a_domain_that_could_not_be_undone_does_not_follow() {
    let world = World::apart(TYPE1_V2, 1);
    let block = memory(&world, 4 * PAGE);
    insert(&world.space, ram(0, 4, &block));
    insert(&world.space, ram(8, 4, &block));
    let domain = world.domains().next().unwrap();
    world.failing.arm(1, Errno::NOMEM.into(), Mode::AndAllLater);
    let error = world.space.follow(domain).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Torn);
    world.failing.disarm();
    let again = world.space.follow(domain).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Torn, "{again}");
    world.space.repair().unwrap();
    let _ = world.space.follow(domain).unwrap();
    assert_eq!(world.sim.mappings().len(), 2);
}

#[test]
fn one_mapping_of_what_are_two_sections_now_is_torn_as_one() {
    let world = World::apart(TYPE1_V2, 1);
    let block = memory(&world, 4 * PAGE);
    insert(&world.space, ram(0, 4, &block));
    let iommu = GuestIommu::of(&world.space);
    let domain = world.domains().next().unwrap();
    iommu.follow(domain, [translation(0, 4, 0)]).unwrap();
    let second = Section::ram(range(2, 2), &block, 2 * PAGE).unwrap();
    let edit = world.space.edit().remove(range(0, 4));
    let _ = edit
        .insert(ram(0, 2, &block))
        .insert(second)
        .commit()
        .unwrap();
    world.failing.arm(0, Errno::NOMEM.into(), Mode::Once);
    drop(iommu);
    world.failing.disarm();
    let torn: Vec<_> = world.space.torn().iter().map(|(_, it)| it.range).collect();
    assert_eq!(torn, [device(0, 4)]);
    world.space.repair().unwrap();
    world.end();
}

#[test]
fn of_unmaps_that_follow_each_other_the_wrong_one_is_named() {
    let world = World::apart(TYPE1_V2, 1);
    let block = memory(&world, 4 * PAGE);
    insert(&world.space, ram(0, 4, &block));
    let iommu = GuestIommu::of(&world.space);
    let domain = world.domains().next().unwrap();
    let pages = [translation(0, 1, 0), translation(1, 1, 1)];
    iommu.follow(domain, pages).unwrap();
    let half = IovaRange::new(device(1, 1).first(), 0x800).unwrap();
    let requests = [Request::Unmap(device(0, 1)), Request::Unmap(half)];
    let unmade = iommu.apply(&requests).unwrap_err();
    assert_eq!(unmade.made, 1, "{unmade}");
    assert_eq!(world.sim.mappings().len(), 1);
}

#[test]
fn a_domain_that_is_over_is_in_nobodys_way() {
    for closed in [0, 1] {
        let mut world = World::apart(TYPE1_V2, 2);
        let block = memory(&world, 4 * PAGE);
        insert(&world.space, ram(0, 4, &block));
        insert(&world.space, Section::peer(range(8, 4), &block, 0).unwrap());
        let iommu = GuestIommu::of(&world.space);
        for domain in world.domains() {
            iommu.follow(domain, []).unwrap();
        }
        let peer = Request::Map(translation(20, 4, 8));
        iommu.apply(&[peer]).unwrap();
        world.close_device(closed);
        let map = Request::Map(translation(0, 4, 0));
        iommu
            .apply(&[map, map, Request::Unmap(device(20, 4)), peer])
            .unwrap();
        assert_eq!(world.space.followers(), 1);
        world.close_device(0);
        world.space.discard(|| ()).unwrap();
    }
}

#[test]
fn sections_of_two_blocks_are_never_one_mapping() {
    const HOST_PAGE: usize = 0x1_0000;
    for backend in [TYPE1_V2, SPAPR_V2] {
        let world = World::new(backend, 1);
        let both = memory(&world, 3 * HOST_PAGE);
        let start = both.range().addr().next_multiple_of(HOST_PAGE);
        let half = |n: usize| {
            let memory = HostRange::new(start + n * HOST_PAGE, HOST_PAGE).unwrap();
            // SAFETY: inside of the memory that the owner keeps.
            let block = unsafe { Block::new(memory, both.clone()) };
            let at = Iova((1 << 20) + (n * HOST_PAGE) as u64);
            let range = IovaRange::new(at, HOST_PAGE as u64).unwrap();
            Section::ram(range, &block, 0).unwrap().leaving_with(1)
        };
        let _ = world
            .space
            .edit()
            .insert(half(0))
            .insert(half(1))
            .commit()
            .unwrap();
        let mapped = world.sim.mappings();
        assert_eq!(
            mapped.iter().map(|it| it.size).sum::<u64>(),
            2 * HOST_PAGE as u64
        );
        assert!(
            mapped.len() == 2 || backend.name == SPAPR_V2.name,
            "{mapped:?}"
        );
    }
}

#[test]
fn ram_that_was_another_devices_memory_which_could_not_be_mapped_is_mapped() {
    let world = World::new(TYPE1_V2, 1);
    let block = memory(&world, 4 * PAGE);
    let peer = Section::peer(range(0, 4), &block, 0).unwrap();
    world.failing.arm(0, Errno::FAULT.into(), Mode::Once);
    let committed = world.space.edit().insert(peer).commit().unwrap();
    assert_eq!(committed.unreachable.len(), 1);
    world.failing.disarm();
    let _ = world
        .space
        .edit()
        .remove(range(0, 4))
        .insert(ram(0, 4, &block))
        .commit()
        .unwrap();
    assert_eq!(world.sim.mappings().len(), 1);
    world.end();
}
