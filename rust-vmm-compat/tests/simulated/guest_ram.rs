//! Memory that comes and goes.
#![allow(unsafe_code)] // a region that is not mapped

use std::collections::BTreeSet;
use std::sync::Arc;

use rust_vmm_compat::GuestRam;
use vfio_core::ErrorKind;
use vfio_core::address::{Iova, IovaRange};
use vfio_core::guest::AddressSpace;
use vfio_core::kernel::Errno;
use vfio_sim::wrap::Mode;
use vm_memory::{
    Address, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion, GuestRegionMmap,
    MmapRegion,
};

use crate::board::{Board, PAGE, all_of, region};

const MAP: &str = "VFIO_IOMMU_MAP_DMA";
const UNMAP: &str = "VFIO_IOMMU_UNMAP_DMA";

/// Where regions of the tests begin.
const PLACES: [u64; 4] = [0, 0x10_0000, 0x8000_0000, 0x1_0000_0000];

/// Guest memory that a device follows.
struct Guest {
    board: Board,
    space: Arc<AddressSpace>,
    ram: GuestRam,
}

impl Guest {
    fn new() -> Self {
        let board = Board::new();
        let space = Arc::new(AddressSpace::new());
        let _ = space.follow(board.device.domain()).unwrap();
        let ram = GuestRam::new(Arc::clone(&space));
        Self { board, space, ram }
    }

    /// Has the device reach memory; answers which ioctls that took, and what was interrupted.
    fn update(&mut self, memory: &GuestMemoryMmap) -> (Vec<&'static str>, Vec<IovaRange>) {
        let (committed, calls) = self.board.calls(|| self.ram.update(memory));
        assert_eq!(self.board.reached(), all_of(memory, |_| false));
        let calls = calls.iter().map(|name| match &**name {
            MAP => MAP,
            UNMAP => UNMAP,
            other => panic!("{other}"),
        });
        (calls.collect(), committed.unwrap().interrupted)
    }
}

fn memory(regions: &[&Arc<GuestRegionMmap>]) -> GuestMemoryMmap {
    let regions = regions.iter().map(|it| Arc::clone(it)).collect();
    GuestMemoryMmap::from_arc_regions(regions).unwrap()
}

fn range(region: &GuestRegionMmap) -> IovaRange {
    IovaRange::new(Iova(region.start_addr().raw_value()), region.len()).unwrap()
}

/// The same mapping of this process at another address of the guest.
fn moved(region: &GuestRegionMmap, guest: u64) -> Arc<GuestRegionMmap> {
    Arc::new(GuestRegionMmap::with_arc(region.get_mmap(), GuestAddress(guest)).unwrap())
}

#[test]
fn devices_reach_the_regions_and_no_more_once_there_are_none() {
    let mut guest = Guest::new();
    let [a, b, c, _] = PLACES.map(region);
    let (calls, interrupted) = guest.update(&memory(&[&a, &b, &c]));
    assert_eq!((calls, interrupted), (vec![MAP; 3], vec![]));
    let (calls, _) = guest.update(&GuestMemoryMmap::new());
    assert_eq!(calls, [UNMAP], "all of them at once");
}

#[test]
fn what_comes_is_mapped_what_goes_is_unmapped_and_what_stays_is_left_alone() {
    let mut guest = Guest::new();
    let [a, b, c, d] = PLACES.map(region);
    guest.update(&memory(&[&a, &b]));
    let nothing = (vec![], vec![]);
    assert_eq!(guest.update(&memory(&[&a, &b])), nothing);
    assert_eq!(guest.update(&memory(&[&a, &b, &d])), (vec![MAP], vec![]));
    assert_eq!(guest.update(&memory(&[&a, &d])), (vec![UNMAP], vec![]));
    let exchanged = guest.update(&memory(&[&a, &c]));
    assert_eq!(exchanged, (vec![MAP, UNMAP], vec![]));
    // Another description of the same mappings.
    let again = memory(&[&moved(&a, PLACES[0]), &moved(&c, PLACES[2])]);
    assert_eq!(guest.update(&again), nothing);
}

#[test]
fn other_memory_at_the_same_addresses_takes_their_place() {
    let mut guest = Guest::new();
    let [a, b, ..] = PLACES.map(region);
    guest.update(&memory(&[&a, &b]));
    let other = GuestRegionMmap::from_range(b.start_addr(), b.size(), None).unwrap();
    let (calls, interrupted) = guest.update(&memory(&[&a, &Arc::new(other)]));
    assert_eq!((calls, interrupted), (vec![UNMAP, MAP], vec![range(&b)]));
}

#[test]
fn memory_that_moves_in_the_guest_is_mapped_where_it_is_then() {
    let mut guest = Guest::new();
    let [a, b, ..] = PLACES.map(region);
    guest.update(&memory(&[&a, &b]));
    let (calls, interrupted) = guest.update(&memory(&[&a, &moved(&b, PLACES[3])]));
    assert_eq!((calls, interrupted), (vec![MAP, UNMAP], vec![]));
}

#[test]
fn rom_is_only_read_and_can_become_ram() {
    let mut guest = Guest::new();
    let [a, b, ..] = PLACES.map(region);
    let memory = memory(&[&a, &b]);
    let is_rom = |it: &GuestRegionMmap| it.start_addr() == b.start_addr();
    let _ = guest.ram.update_with_rom(&memory, is_rom).unwrap();
    assert_eq!(guest.board.reached(), all_of(&memory, is_rom));
    let (calls, interrupted) = guest.update(&memory);
    assert_eq!((calls, interrupted), (vec![UNMAP, MAP], vec![range(&b)]));
}

#[test]
fn memory_lives_until_no_device_can_reach_it() {
    let mut guest = Guest::new();
    let [a, b, ..] = PLACES.map(region);
    guest.update(&memory(&[&a, &b]));
    let [weak_a, weak_b] = [&a, &b].map(|it| Arc::downgrade(&it.get_mmap()));
    let only_a = memory(&[&a]);
    drop((a, b));

    guest.board.failing.arm(0, Errno::IO.into(), Mode::Once);
    guest.ram.update(&only_a).unwrap_err();
    assert!(weak_b.upgrade().is_some());
    guest.update(&only_a);
    assert!(weak_b.upgrade().is_none());

    let Guest { board, space, ram } = guest;
    let reached = board.reached();
    drop((ram, only_a));
    assert_eq!((board.reached(), weak_a.strong_count()), (reached, 1));
    drop(space);
    assert_eq!((board.reached(), weak_a.strong_count()), (vec![], 0));
}

#[test]
fn memory_outlives_what_cannot_be_unmapped() {
    let mut guest = Guest::new();
    let a = region(PLACES[0]);
    guest.update(&memory(&[&a]));
    let weak = Arc::downgrade(&a.get_mmap());
    let Guest { board, space, ram } = guest;
    board.failing.arm(0, Errno::IO.into(), Mode::AndAllLater);
    drop((a, ram, space));
    assert!(weak.upgrade().is_some());
}

/// Memory before and after a change that exchanges, plugs and unplugs.
fn change() -> [GuestMemoryMmap; 2] {
    let [a, b, c, d] = PLACES.map(region);
    let other = Arc::new(GuestRegionMmap::from_range(b.start_addr(), b.size(), None).unwrap());
    [memory(&[&a, &b, &c]), memory(&[&a, &other, &d])]
}

#[test]
fn an_ioctl_that_fails_leaves_everything_as_it_was() {
    let mut guest = Guest::new();
    let [old, new] = change();
    for n in 0.. {
        guest.update(&old);
        guest.board.failing.arm(n, Errno::IO.into(), Mode::Once);
        let updated = guest.ram.update(&new);
        if guest.board.failing.failed().is_none() {
            assert_eq!(n, 4);
            break;
        }
        assert_eq!(updated.unwrap_err().errno(), Some(Errno::IO));
        assert_eq!(guest.board.reached(), all_of(&old, |_| false));
        guest.update(&new);
    }
}

#[test]
fn after_a_repair_it_goes_on_from_what_there_was() {
    let mut guest = Guest::new();
    let [old, new] = change();
    let mut torn = 0;
    for n in 0.. {
        guest.update(&old);
        let (answer, mode) = (Errno::IO.into(), Mode::AndAllLater);
        guest.board.failing.arm(n, answer, mode);
        let updated = guest.ram.update(&new);
        if guest.board.failing.failed().is_none() {
            break;
        }
        guest.board.failing.disarm();
        if updated.unwrap_err().kind() == ErrorKind::Torn {
            torn += 1;
            let refused = guest.ram.update(&new).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Torn);
            guest.space.repair().unwrap();
        }
        assert_eq!(guest.board.reached(), all_of(&old, |_| false));
        guest.update(&new);
    }
    assert!(torn > 0);
}

#[test]
fn a_region_that_cannot_be_mapped_is_refused_before_the_kernel_is_asked() {
    let mut guest = Guest::new();
    let [a, b, ..] = PLACES.map(region);
    guest.update(&memory(&[&a]));
    // SAFETY: none of it is accessed.
    let nowhere = unsafe { MmapRegion::build_raw(std::ptr::null_mut(), PAGE, 0, 0) }.unwrap();
    let nowhere = GuestRegionMmap::new(nowhere, b.start_addr()).unwrap();
    let odd = GuestRegionMmap::from_range(b.start_addr(), b.size() - 1, None).unwrap();
    for (bad, why) in [(nowhere, "not mapped in this process"), (odd, "multiple")] {
        let both = memory(&[&a, &Arc::new(bad)]);
        let (updated, calls) = guest.board.calls(|| guest.ram.update(&both));
        let error = updated.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains(why), "{error}");
        assert_eq!(calls, <[String; 0]>::default());
        assert_eq!(guest.board.reached(), all_of(&memory(&[&a]), |_| false));
    }
    guest.update(&memory(&[&a, &b]));
}

#[test]
fn whatever_the_regions_are_devices_reach_them_and_nothing_else() {
    let seed = fastrand::u64(..);
    eprintln!("fastrand::seed({seed})");
    fastrand::seed(seed);
    let mut guest = Guest::new();
    let (mut memory, mut roms) = (GuestMemoryMmap::new(), BTreeSet::new());
    for _ in 0..500 {
        let (mut new, mut new_roms) = (memory.clone(), roms.clone());
        for place in PLACES.map(GuestAddress) {
            let there = new.find_region(place).map(GuestMemoryRegion::len);
            match (fastrand::u8(0..4), there) {
                (0, Some(len)) if new.num_regions() > 1 => {
                    new = new.remove_region(place, len).unwrap().0;
                }
                (0, None) => new = new.insert_region(region(place.0)).unwrap(),
                (1, _) if !new_roms.remove(&place) => assert!(new_roms.insert(place)),
                _ => {}
            }
        }
        if fastrand::bool() {
            let (n, answer) = (fastrand::usize(0..6), Errno::IO.into());
            guest.board.failing.arm(n, answer, Mode::Once);
        }
        let is_rom = |it: &GuestRegionMmap| new_roms.contains(&it.start_addr());
        let updated = guest.ram.update_with_rom(&new, is_rom);
        let failed = guest.board.failing.failed().is_some();
        assert_eq!(updated.is_err(), failed);
        guest.board.failing.disarm();
        if !failed {
            (memory, roms) = (new, new_roms);
        }
        let is_rom = |it: &GuestRegionMmap| roms.contains(&it.start_addr());
        assert_eq!(guest.board.reached(), all_of(&memory, is_rom));
    }
}
