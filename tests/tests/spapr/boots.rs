//! A guest boots, again and again.

use std::ops::Range;

use vfio_tests::tce::{BLOCK, BLOCKS, Numbers, Op, address};

use crate::rig::{DEFAULT, DYNAMIC, HIGH, Rig, hosts};

const BOOTS: usize = 20;

fn numbers(generator: &mut fastrand::Rng) -> Numbers {
    std::array::from_fn(|_| generator.u8(..))
}

/// The firmware uses the default window; the guest creates one at 64 bits, maps all of its memory there, and drives devices
/// through both; then it starts anew, sometimes without having cleared anything.
#[test]
fn a_guest_that_boots_many_times_leaves_nothing() {
    for host in hosts() {
        let has_windows = host.1.name == iommu_spapr::SPAPR_V2.name;
        let name = host.0.name.clone();
        let mut rig = Rig::new(host);
        rig.join().unwrap();
        rig.join().unwrap();
        let seed = fastrand::u64(..);
        println!("{name}, seed {seed}");
        let generator = &mut fastrand::Rng::with_seed(seed);
        let locked = rig.sim.locked();
        let mut first = None;
        for _ in 0..BOOTS {
            some_calls(&mut rig, generator, 1..30);
            rig.call(&Op::Reset).unwrap();
            if has_windows {
                map_all(&rig, *generator.choice(&[12, 16]).unwrap());
            }
            if generator.bool() {
                some_calls_of_reset(&mut rig, generator);
            }
            rig.call(&Op::Reset).unwrap();
            assert_eq!(rig.sim.mappings(), []);
            let windows = rig.sim.holdings().into_iter().flat_map(|it| it.windows);
            assert!(windows.into_iter().all(|(start, _)| start == 0));
            // The tables of the default windows are there from when they were first used.
            let now = rig.sim.locked();
            assert_eq!(*first.get_or_insert(now), now, "after {locked}");
        }
        rig.check();
        rig.end();
    }
}

fn some_calls(rig: &mut Rig, generator: &mut fastrand::Rng, count: Range<usize>) {
    for _ in 0..generator.usize(count) {
        rig.call(&Op::of(numbers(generator))).unwrap();
        rig.check();
    }
}

/// A guest that has crashed begins with a reset of the windows, and goes on from there.
fn some_calls_of_reset(rig: &mut Rig, generator: &mut fastrand::Rng) {
    rig.call(&Op::Reset).unwrap();
    some_calls(rig, generator, 0..10);
}

/// All of the guest's memory, at its own addresses behind the start of a window of its own.
fn map_all(rig: &Rig, page_shift: u32) {
    let created = rig.bridge.create(page_shift, 32).unwrap();
    assert_eq!((created.liobn, created.start.0), (DYNAMIC, HIGH));
    let page = 1u64 << page_shift;
    for block in 0..BLOCKS {
        let rights = if block + 1 < BLOCKS { 3 } else { 1 };
        let tces: Vec<_> = (0..BLOCK as u64 / page)
            .map(|n| address(block) + n * page + rights)
            .collect();
        for (n, list) in tces.chunks(512).enumerate() {
            let at = HIGH + address(block) + n as u64 * 512 * page;
            rig.bridge.put_list(DYNAMIC, at, list).unwrap();
        }
    }
    let devices = rig.sim.holdings().len();
    let bytes: u64 = rig.sim.mappings().iter().map(|it| it.size).sum();
    assert_eq!(bytes, (BLOCKS * BLOCK * devices) as u64);
    rig.bridge.put(DEFAULT, 0, address(0) + 3).unwrap();
}
