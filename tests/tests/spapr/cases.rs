//! What the page of guests says, one by one.

use std::sync::Arc;

use iommu_spapr::SPAPR_V2;
use iommu_spapr::guest::{Bridge, DefaultWindow, DynamicWindows, Refused};
use iommu_type1::TYPE1_V2;
use vfio_core::address::{Access, DmaMask, HostRange, Iova, IovaRange, PageSizes};
use vfio_core::guest::{AddressSpace, Block, Section};
use vfio_core::iommu::{Registry, WindowPages, WindowRequest};
use vfio_core::kernel::{Errno, Kernel};
use vfio_core::{Device, ErrorKind, Vfio};
use vfio_sim::wrap::Mode;
use vfio_sim::{Machine, SimKernel};
use vfio_tests::guest::Ram;
use vfio_tests::tce::{BLOCK, address};

use crate::rig::{DEFAULT, DYNAMIC, HIGH, Rig, WINDOWS, hosts};

const MAP: &str = "VFIO_IOMMU_MAP_DMA";
const UNMAP: &str = "VFIO_IOMMU_UNMAP_DMA";

/// One device is behind the bridge of a guest on bare metal.
fn rig() -> Rig {
    let [_, _, powernv9, _] = hosts();
    let mut rig = Rig::new(powernv9);
    rig.join().unwrap();
    rig
}

impl Rig {
    /// The ioctls that something takes.
    fn calls<T>(&self, something: impl FnOnce(&Bridge) -> T) -> (Vec<String>, T) {
        self.failing.disarm();
        let answer = something(&self.bridge);
        let seen = self.failing.seen().into_iter();
        (seen.map(|name| name.to_string()).collect(), answer)
    }

    fn asks(&self, something: impl FnOnce(&Bridge) -> Result<(), Refused>) -> Vec<String> {
        let (calls, answer) = self.calls(something);
        answer.unwrap();
        calls
    }
}

fn list(count: u64) -> Vec<u64> {
    (0..count).map(|n| address(0) + n * 0x1000 + 3).collect()
}

#[test]
fn what_follows_each_other_is_one_call() {
    let rig = rig();
    let put = |tces: &[u64]| rig.asks(|it| it.put_list(DEFAULT, 0x10_0000, tces));
    let whole = list(384);
    assert_eq!(put(&whole), [MAP]);
    assert_eq!(put(&whole), <[&str; 0]>::default(), "as it was");
    let mut one_other = whole.clone();
    one_other[7] = address(1) + 3;
    assert_eq!(put(&one_other), [UNMAP, MAP], "the others stay");
    let stuff = rig.asks(|it| it.stuff(DEFAULT, 0x10_0000, 0, 384));
    assert_eq!(stuff, [UNMAP]);
    let single = rig.asks(|it| it.put(DEFAULT, 0x10_0000, whole[0]));
    assert_eq!(single, [MAP]);
    let other = rig.asks(|it| it.put(DEFAULT, 0x10_0000, address(0) + 1));
    assert_eq!(other, [UNMAP, MAP]);
    let gone = rig.asks(|it| it.put(DEFAULT, 0x10_0000, 0));
    assert_eq!(gone, [UNMAP]);
    rig.end();
}

/// Every page of a whole table is put one by one and cleared at once.
#[test]
fn many_pieces_are_cleared_by_one_call() {
    let rig = rig();
    for n in 0..100 {
        let tce = address(0) + n * 0x2000 + 3;
        rig.bridge.put(DEFAULT, n * 0x2000, tce).unwrap();
    }
    let stuff = rig.asks(|it| it.stuff(DEFAULT, 0, 0, 200));
    assert_eq!(stuff, [UNMAP]);
    assert_eq!(rig.mapped().len(), 0);
    rig.end();
}

#[test]
fn what_cannot_be_is_refused_before_a_host_is_asked() {
    let rig = rig();
    let end = 1 << 28;
    let tce = address(0) + 3;
    let many = list(513);
    type Call<'a> = &'a dyn Fn(&Bridge) -> Result<(), Refused>;
    let refused: [(Call<'_>, &str); 14] = [
        (&|it| it.put(77, 0, tce), "no window 0x4d"),
        (&|it| it.put(DYNAMIC, HIGH, tce), "no window"),
        (&|it| it.put(DEFAULT, end, tce), "0x10000000"),
        (&|it| it.put(DEFAULT, !0xfff, tce), "0x1000"),
        (&|it| it.put(DEFAULT, 0x1008, tce), "0x1008"),
        (&|it| it.put(DEFAULT, 0, tce + 0x10), "leads to no page"),
        (
            &|it| it.put_list(DEFAULT, end - 0x1000, &list(2)),
            "2 pages",
        ),
        (&|it| it.put_list(DEFAULT, 0, &many), "at most 512"),
        (&|it| it.stuff(DEFAULT, end - 0x1000, 0, 2), "2 pages"),
        (&|it| it.stuff(DEFAULT, 0, 0, usize::MAX), "are not in"),
        (&|it| it.stuff(DEFAULT, 0, tce, 1), "stuffed"),
        (&|it| it.get(DEFAULT, end).map(drop), "0x10000000"),
        (&|it| it.create(24, 32).map(drop), "2^24"),
        (&|it| it.remove(DYNAMIC), "no window"),
    ];
    for (call, why) in refused {
        let (calls, answer) = rig.calls(call);
        let refused = answer.unwrap_err();
        assert!(matches!(refused, Refused::Parameter(_)), "{refused:?}");
        assert_eq!((refused.hcall(), refused.rtas()), (-4, -3));
        assert!(refused.to_string().contains(why), "{refused}");
        assert_eq!(calls, <[&str; 0]>::default(), "{why}");
    }
    for (page_shift, window_shift) in [(16, 15), (12, 33), (12, 64), (64, 64), (0, 0), (200, 201)] {
        let refused = rig.bridge.create(page_shift, window_shift).unwrap_err();
        assert!(matches!(refused, Refused::Parameter(_)), "{refused:?}");
    }
    assert_eq!(rig.mapped().len(), 0);
    rig.end();
}

#[test]
fn what_leads_nowhere_is_read_back_all_the_same() {
    let rig = rig();
    for tce in [address(0) - 0x1000 + 3, address(7) + 2, !0xfff | 1] {
        let calls = rig.asks(|it| it.put(DEFAULT, 0x3000, tce));
        assert_eq!(calls, <[&str; 0]>::default());
        assert_eq!(rig.bridge.get(DEFAULT, 0x3000).unwrap(), tce);
    }
    rig.bridge.stuff(DEFAULT, 0x1000, 0xdead_0000, 9).unwrap();
    assert_eq!(rig.bridge.get(DEFAULT, 0x3000).unwrap(), 0xdead_0000);
    assert_eq!(rig.mapped().len(), 0);
    rig.end();
}

/// One that follows already is left alone, whatever the kernel answers.
#[test]
fn who_follows_already_follows_still_when_it_is_asked_to_once_more() {
    let mut rig = Rig::new((Machine::x86_64(), TYPE1_V2));
    rig.join().unwrap();
    rig.bridge.put(DEFAULT, 0x1000, address(0) + 3).unwrap();
    rig.failing.disarm();
    rig.failing.arm(0, Errno::IO.into(), Mode::Once);
    let _ = rig.bridge.follow(rig.domain(0));
    rig.failing.disarm();
    rig.bridge.unfollow(rig.domain(0)).unwrap();
    assert_eq!(rig.mapped().len(), 0);
    rig.end();
}

/// As the page of the bridge says: the guest writes it again.
#[test]
fn a_tce_is_mapped_when_it_is_written_again_after_its_memory_has_come() {
    let rig = rig();
    let tces = [address(7) + 3, address(7) + 0x1003];
    rig.bridge.put(DEFAULT, 0x1000, tces[0]).unwrap();
    rig.bridge.put(DEFAULT, 0x2000, tces[1]).unwrap();
    let ram = Ram::new(&rig.kernel, BLOCK).unwrap();
    let guest = IovaRange::new(Iova(address(7)), BLOCK as u64).unwrap();
    let section = Section::ram(guest, ram.block(), 0).unwrap();
    let _ = rig.space.edit().insert(section).commit().unwrap();
    rig.bridge.put(DEFAULT, 0x1000, tces[0]).unwrap();
    assert_eq!(rig.mapped().len(), 1);
    rig.bridge.put_list(DEFAULT, 0x1000, &tces).unwrap();
    assert_eq!(rig.mapped().len(), 2);
    rig.end();
}

/// The host had no default window: the one that was made for the guest's stays as long as that.
#[test]
fn a_window_that_was_made_for_the_default_one_stays_with_it() {
    type Call = fn(&Bridge);
    let calls: [Call; 3] = [
        |bridge| {
            bridge.query().unwrap();
        },
        |bridge| bridge.reset().unwrap(),
        |bridge| {
            bridge.put(DEFAULT, 0x2000, address(0) + 3).unwrap();
            bridge.create(16, 30).unwrap();
            bridge.remove(DYNAMIC).unwrap();
        },
    ];
    for call in calls {
        let mut rig = Rig::new(hosts()[2].clone());
        rig.domain(0).remove_window(Iova(0)).unwrap();
        rig.join().unwrap();
        rig.bridge.put(DEFAULT, 0x1000, address(0) + 3).unwrap();
        rig.bridge.put(DEFAULT, 0x1000, 0).unwrap();
        call(&rig.bridge);
        rig.bridge.put(DEFAULT, 0x1000, address(0) + 3).unwrap();
        assert!(rig.mapped().keys().any(|(at, ..)| *at == 0x1000));
        rig.end();
    }
}

#[test]
fn what_the_guest_may_create_is_what_all_its_hosts_can() {
    let mut rig = rig();
    let available = rig.bridge.query().unwrap();
    assert_eq!((available.windows, available.page_size_bits()), (1, 0b11));
    assert_eq!(available.largest_block, 1 << 20);
    rig.bridge.create(16, 30).unwrap();
    assert_eq!(rig.bridge.query().unwrap().windows, 0);
    let refused = rig.bridge.create(16, 30).unwrap_err();
    assert_eq!((refused.hcall(), refused.rtas()), (-16, -1), "{refused}");
    rig.bridge.put(DYNAMIC, HIGH, address(0) + 3).unwrap();
    // Who joins gets the window and what is in it.
    rig.join().unwrap();
    assert_eq!(rig.mapped().values().sum::<usize>(), 2 * 16);
    rig.bridge.remove(DYNAMIC).unwrap();
    assert_eq!(rig.bridge.query().unwrap().windows, 1);
    // The guest makes room for it, as Linux does.
    rig.bridge.remove(DEFAULT).unwrap();
    rig.bridge.put(DEFAULT, 0, 0).unwrap_err();
    rig.bridge.create(16, 30).unwrap();
    rig.bridge.reset().unwrap();
    rig.bridge.put(DEFAULT, 0, address(0) + 3).unwrap();
    rig.bridge.put(DYNAMIC, HIGH, address(0) + 3).unwrap_err();
    assert_eq!(rig.mapped().values().sum::<usize>(), 2);
    rig.end();
}

/// H3: memory is unregistered after the last TCE that leads there is clear, and not before.
#[test]
fn memory_that_goes_is_unmapped_before_it_is_unregistered() {
    let rig = rig();
    rig.bridge.put(DEFAULT, 0, address(0) + 3).unwrap();
    rig.bridge.put(DEFAULT, 0x5000, address(0) + 3).unwrap();
    let range = IovaRange::new(Iova(address(0)), BLOCK as u64).unwrap();
    let (calls, committed) = rig.calls(|_| rig.space.edit().remove(range).commit());
    let _ = committed.unwrap();
    let unregister = "VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY";
    assert_eq!(calls, [UNMAP, UNMAP, unregister]);
    rig.end();
}

/// An emulator without hardware windows: x86 shows the guest a bridge just as well.
#[test]
fn a_guest_on_power_can_have_a_host_of_any_kind() {
    let mut rig = Rig::new((Machine::x86_64(), TYPE1_V2));
    rig.join().unwrap();
    assert_eq!(rig.asks(|it| it.put_list(DEFAULT, 0, &list(16))), [MAP]);
    assert_eq!(rig.mapped().len(), 16);
    // Not every host has addresses that are so high.
    let refused = rig.bridge.create(16, 30).unwrap_err();
    let Refused::Host(error) = refused else {
        panic!("{refused}");
    };
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    rig.end();
}

#[test]
fn a_bridge_that_cannot_be_is_refused() {
    let space = Arc::new(AddressSpace::new());
    let default = |start, size, page_shift| DefaultWindow {
        liobn: DEFAULT,
        range: IovaRange::new(Iova(start), size).unwrap(),
        page_shift,
    };
    let dynamic = |liobn, start, largest| DynamicWindows {
        liobn,
        start: Iova(start),
        page_sizes: PageSizes(0x1000),
        largest,
    };
    let good = default(0, 1 << 28, 12);
    for (default, dynamic) in [
        (default(0, 1 << 28, 64), None),
        (default(0x800, 1 << 28, 12), None),
        (default(0, 0x1800, 12), None),
        (good, Some(dynamic(DEFAULT, HIGH, 1 << 30))),
        (good, Some(dynamic(DYNAMIC, 1 << 27, 1 << 30))),
        (good, Some(dynamic(DYNAMIC, HIGH, 3 << 30))),
        (good, Some(dynamic(DYNAMIC, u64::MAX, 1 << 30))),
    ] {
        let error = Bridge::new(&space, default, dynamic).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    }
    let without = Bridge::new(&space, good, None).unwrap();
    let refused = without.query().unwrap_err();
    assert!(matches!(refused, Refused::Parameter(_)), "{refused}");
}

fn open(sim: &SimKernel, n: usize) -> Device {
    let kernel: Arc<dyn Kernel> = Arc::new(sim.clone());
    let bdf = sim.machine().groups[n].devices[0].bdf.parse().unwrap();
    let vfio = Vfio::on(kernel, Registry::of([SPAPR_V2]).unwrap());
    vfio.open(bdf).unwrap()
}

/// C43, D55: where windows land, and what comes back.
#[test]
fn a_window_is_at_0_once_there_is_no_default_one_on_bare_metal_alone() {
    for (machine, lands_at) in [
        (Machine::powernv8(), 0),
        (Machine::powernv9(), 0),
        (Machine::pseries(), HIGH),
    ] {
        let sim = SimKernel::new(machine);
        let device = open(&sim, 0);
        let domain = device.domain();
        let initial = domain.initial_windows();
        let high = domain
            .create_window(&WindowRequest::of(1 << 32, WindowPages::Carried(1 << 16)))
            .unwrap();
        assert_eq!((high.range.first().0, high.page_size), (HIGH, 1 << 16));
        let third = domain
            .create_window(&WindowRequest::of(1, WindowPages::Exactly(4096)))
            .unwrap_err();
        assert_eq!(third.kind(), ErrorKind::Exhausted, "{third}");
        assert!(third.to_string().contains("as many as there can be"));
        domain.remove_window(Iova(HIGH)).unwrap();
        domain.remove_window(Iova(0)).unwrap();
        assert_eq!(domain.windows().unwrap(), []);
        let near = WindowRequest {
            mask: DmaMask::bits(40),
            ..WindowRequest::of(1 << 33, WindowPages::Carried(1 << 16))
        };
        match domain.create_window(&near) {
            Ok(window) => assert_eq!(window.range.first().0, lands_at),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::OutOfReach, "{error}");
                assert_eq!(lands_at, HIGH);
            }
        }
        domain.reset_windows().unwrap();
        assert_eq!(domain.windows().unwrap(), initial, "D54b");
        domain.remove_window(Iova(0)).unwrap();
        device.close().unwrap();
        let device = open(&sim, 0);
        let domain = device.domain();
        assert_eq!(domain.windows().unwrap(), initial, "it is back");
        drop(domain.buffer(1, DmaMask::bits(32), Access::Read).unwrap());
        assert_eq!(sim.hazards(), []);
    }
}

/// D49b: huge pages are carried by hugetlb alone, where they are registered as a whole.
#[test]
fn a_window_of_huge_pages_maps_huge_memory_and_says_what_others_lack() {
    const HUGE: usize = 2 << 20;
    let sim = SimKernel::new(Machine::pseries());
    let kernel: Arc<dyn Kernel> = Arc::new(sim.clone());
    let device = open(&sim, 0);
    let domain = device.domain();
    let window = domain
        .create_window(&WindowRequest::of(
            1 << 30,
            WindowPages::Carried(HUGE as u64),
        ))
        .unwrap();
    assert_eq!(window.page_size, HUGE as u64);
    let huge = sim.mmap_huge(2 * HUGE, HUGE).unwrap();
    let range = HostRange::new(huge.as_ptr() as usize, 2 * HUGE).unwrap();
    // SAFETY: it stays mapped, and nobody has a reference to it.
    #[allow(unsafe_code)]
    let huge = unsafe { Block::new(range, ()) };
    let base = Ram::new(&kernel, 4 * HUGE).unwrap();
    let start = base.block().range().addr();
    let aligned = start.next_multiple_of(HUGE) - start;
    let at = |n: u64| IovaRange::new(Iova(HIGH + n * HUGE as u64), 2 * HUGE as u64).unwrap();
    let space = AddressSpace::new();
    let section = Section::ram(at(0), &huge, 0).unwrap();
    let _ = space.edit().insert(section).commit().unwrap();
    let _ = space.follow(domain).unwrap();
    assert_eq!(
        sim.mappings().iter().map(|it| it.size).sum::<u64>(),
        2 * HUGE as u64
    );
    let section = Section::ram(at(2), base.block(), aligned).unwrap();
    let error = space.edit().insert(section).commit().unwrap_err();
    assert!(error.to_string().contains("hugetlb"), "{error}");
    drop((space, base, device));
    assert_eq!((sim.locked(), sim.hazards()), (0, vec![]));
}

#[test]
fn both_ends_of_each_window_are_reached_and_nothing_behind_them() {
    for host in &hosts()[..3] {
        let mut rig = Rig::new(host.clone());
        rig.join().unwrap();
        rig.bridge.create(16, 32).unwrap();
        for (liobn, start, page, size) in [
            (DEFAULT, 0, 1 << 12, 1 << 28),
            (DYNAMIC, HIGH, 1 << 16, WINDOWS.largest),
        ] {
            for at in [start, start + size - page] {
                rig.bridge.put(liobn, at, address(0) + 3).unwrap();
                let reached = rig.mapped();
                assert_eq!(reached.len() as u64, page / 4096);
                assert!(reached.keys().all(|it| at <= it.0 && it.0 < at + page));
                rig.bridge.put(liobn, at, 0).unwrap();
            }
            for outside in [start + size, start.wrapping_sub(page)] {
                rig.bridge.put(liobn, outside, address(0) + 3).unwrap_err();
            }
        }
        rig.end();
    }
}
