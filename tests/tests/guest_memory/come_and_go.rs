//! Memory of which parts come and go, and that is given back.

use std::cell::Cell;

use iommu_type1::TYPE1_V2;
use vfio_core::ErrorKind;
use vfio_core::address::{Iova, IovaRange};
use vfio_core::guest::{GuestIommu, SparseRam};
use vfio_sim::SimKernel;

use crate::rig::{Asked, MIB, PAGE, Rig, place, ram};
use crate::world::World;

const BLOCK: u64 = 4 * PAGE as u64;
const START: u64 = 8 << 30;

fn blocks(first: u64, count: u64) -> IovaRange {
    IovaRange::new(Iova(START + first * BLOCK), count * BLOCK).unwrap()
}

fn mapped(sim: &SimKernel) -> Vec<u64> {
    let starts = sim
        .mappings()
        .into_iter()
        .inspect(|it| assert_eq!(it.size, BLOCK));
    let mut numbers: Vec<_> = starts.map(|it| (it.iova - START) / BLOCK).collect();
    numbers.sort_unstable();
    numbers
}

fn ioctls(rig: &Rig) -> Vec<String> {
    let asked = rig.take().into_iter();
    let ioctls = asked.filter_map(|it| match it {
        Asked::Ioctl(name) => Some(name),
        _ => None,
    });
    ioctls.collect()
}

#[test]
fn blocks_come_and_go_alone() {
    const MAP: &str = "VFIO_IOMMU_MAP_DMA";
    const UNMAP: &str = "VFIO_IOMMU_UNMAP_DMA";
    let rig = Rig::new();
    let memory = rig.block(MIB);
    let region = SparseRam::new(blocks(0, 32), &memory, MIB - 32 * 4 * PAGE, BLOCK).unwrap();
    assert_eq!((region.blocks(), region.range()), (32, blocks(0, 32)));
    rig.take();
    let left = rig.space.mappings_left().unwrap();
    let _ = region
        .plug(rig.space.edit(), blocks(3, 5))
        .unwrap()
        .commit()
        .unwrap();
    assert_eq!(ioctls(&rig), [MAP; 5]);
    assert_eq!(rig.space.mappings_left(), Some(left - 5));
    let edit = region.unplug(rig.space.edit(), blocks(4, 2)).unwrap();
    let committed = region.plug(edit, blocks(31, 1)).unwrap().commit().unwrap();
    assert_eq!(committed.interrupted, []);
    assert_eq!(ioctls(&rig), [MAP, UNMAP], "both go in one call");
    assert_eq!(mapped(&rig.sim), [3, 6, 7, 31]);
    for it in rig.sim.mappings() {
        let place = usize::try_from(it.vaddr).unwrap() - memory.range().addr();
        assert_eq!(
            place,
            MIB - 32 * 4 * PAGE + usize::try_from(it.iova - START).unwrap()
        );
    }
    let there = region
        .plug(rig.space.edit(), blocks(7, 1))
        .unwrap()
        .commit();
    assert_eq!(there.unwrap_err().kind(), ErrorKind::Overlap);
    let missing = region
        .unplug(rig.space.edit(), blocks(6, 3))
        .unwrap()
        .commit();
    assert_eq!(missing.unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(mapped(&rig.sim), [3, 6, 7, 31]);
}

#[test]
fn what_is_not_made_of_blocks_is_refused() {
    let rig = Rig::new();
    let memory = rig.block(MIB);
    let kind =
        |range, offset, size| SparseRam::new(range, &memory, offset, size).map_err(|it| it.kind());
    for (range, offset, size) in [
        (blocks(0, 3), 0, 3 * BLOCK),
        (blocks(0, 3), 0, 0),
        (blocks(1, 2), 0, 2 * BLOCK),
        (blocks(0, 3), 0, 2 * BLOCK),
        (blocks(0, 3), MIB, BLOCK),
    ] {
        assert_eq!(
            kind(range, offset, size).unwrap_err(),
            ErrorKind::Invalid,
            "{range}"
        );
    }
    let region = kind(blocks(1, 4), 0, BLOCK).unwrap();
    let half = IovaRange::new(Iova(START + BLOCK), BLOCK / 2).unwrap();
    for part in [blocks(0, 2), blocks(4, 2), half] {
        let plugged = region.plug(rig.space.edit(), part).unwrap_err();
        let unplugged = region.unplug(rig.space.edit(), part).unwrap_err();
        assert_eq!(
            [plugged.kind(), unplugged.kind()],
            [ErrorKind::Invalid; 2],
            "{part}"
        );
    }
}

#[test]
fn memory_is_given_back_only_if_no_device_has_it() {
    let rig = Rig::alone();
    let block = rig.block(MIB);
    let _ = rig.space.edit().insert(ram(1, &block)).commit().unwrap();
    let calls = Cell::new(0);
    let give_back = || calls.set(calls.get() + 1);
    rig.space.discard(give_back).unwrap();
    let _ = rig.space.follow(rig.device.domain()).unwrap();
    let error = rig.space.discard(give_back).unwrap_err();
    assert_eq!(
        (error.kind(), rig.space.followers()),
        (ErrorKind::Busy, 1),
        "{error}"
    );
    rig.space.unfollow(rig.device.domain()).unwrap();
    rig.space.discard(give_back).unwrap();
    assert_eq!(calls.get(), 2);
}

#[test]
fn a_device_behind_an_iommu_of_the_guest_has_it_too() {
    let world = World::apart(TYPE1_V2, 1);
    let iommu = GuestIommu::of(&world.space);
    let domain = world.domains().next().unwrap().clone();
    iommu.follow(&domain, []).unwrap();
    let error = world.space.discard(|| ()).unwrap_err();
    assert_eq!(
        (error.kind(), world.space.followers()),
        (ErrorKind::Busy, 1),
        "{error}"
    );
    drop((iommu, domain));
    world.space.discard(|| ()).unwrap();
    world.end();
}

#[test]
fn a_module_of_memory_that_is_plugged_in_leaves_the_others_be() {
    let rig = Rig::new();
    let (first, second) = (rig.block(MIB), rig.block(MIB));
    let _ = rig.space.edit().insert(ram(1, &first)).commit().unwrap();
    rig.take();
    let committed = rig.space.edit().insert(ram(2, &second)).commit().unwrap();
    assert_eq!((ioctls(&rig).len(), committed.interrupted), (1, vec![]));
    let committed = rig.space.edit().remove(place(2, &second)).commit().unwrap();
    assert_eq!((ioctls(&rig).len(), committed.interrupted), (1, vec![]));
    let left: Vec<_> = rig.sim.mappings().into_iter().map(|it| it.iova).collect();
    assert_eq!(left, [place(1, &first).first().0]);
}
