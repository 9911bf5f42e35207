//! C36 to C48, P1, P2, H1, H2: what both versions of sPAPR share.

use vfio_core::kernel::{Arg, Errno};
use vfio_core::uapi::{self, DmaMap, DmaUnmap, SPAPR_TCE_IOMMU, SPAPR_TCE_V2_IOMMU, SpaprTceInfo};
use vfio_sim::machine::{Hardware, IommuDriver, Spapr};
use vfio_sim::{Hazard, Machine, Rights, SimKernel};
use zerocopy::IntoBytes;

use crate::door::{BOTH, READ, WRITE, call, ioctl, joined, map, set_iommu, unmap};
use crate::memory::Memory;
use crate::rig::Rig;

const PAGE: u64 = 0x1000;
const HOST_PAGE: u64 = 0x1_0000;
/// The end of pseries' default window.
const END: u64 = 0x4000_0000;

fn enabled(machine: Machine) -> (Rig, Memory) {
    let rig = Rig::new(machine, SPAPR_TCE_IOMMU);
    assert_eq!(enable(&rig), Ok(0));
    let memory = Memory::new(&rig.sim, 2);
    (rig, memory)
}

fn enable(rig: &Rig) -> Result<u32, Errno> {
    ioctl(&rig.sim, &rig.container, uapi::SPAPR_ENABLE, Arg::None)
}

fn disable(rig: &Rig) -> Result<u32, Errno> {
    ioctl(&rig.sim, &rig.container, uapi::SPAPR_DISABLE, Arg::None)
}

fn with(machine: Machine, change: impl Fn(&mut Spapr)) -> Machine {
    let mut machine = machine;
    for IommuDriver { hardware, .. } in &mut machine.iommus {
        if let Hardware::Spapr(spapr) = hardware {
            change(spapr);
        }
    }
    machine
}

#[test]
fn c37_v2_needs_dynamic_windows() {
    let sim = SimKernel::new(with(Machine::pseries(), |it| it.windows = 0));
    let (container, _group) = joined(&sim);
    let set = |number| set_iommu(&sim, &container, number);
    assert_eq!(set(SPAPR_TCE_V2_IOMMU), Err(Errno::INVAL));
    assert_eq!(set(SPAPR_TCE_IOMMU), Ok(0));
}

#[test]
fn c37b_without_page_sizes_there_is_no_window() {
    let machine = with(Machine::pseries(), |it| {
        (it.windows, it.levels, it.page_sizes) = (u32::MAX, 0, 0);
    });
    let (rig, memory) = enabled(machine);
    assert_eq!(rig.map(0, &memory), Err(Errno::INVAL));
}

#[test]
fn c38_another_process_is_refused() {
    let (rig, memory) = enabled(Machine::pseries());
    let other = rig.sim.process(Rights::ROOT);
    let range = (0, memory.at(), PAGE);
    assert_eq!(map(&other, &rig.container, range, BOTH), Err(Errno::PERM));
    let disable = ioctl(&other, &rig.container, uapi::SPAPR_DISABLE, Arg::None);
    assert_eq!(disable, Err(Errno::PERM), "also what always succeeds");
    assert_eq!(map(&rig.sim, &rig.container, range, BOTH), Ok(0));
}

#[test]
fn c39_info() {
    for (iommu, windows) in [(SPAPR_TCE_IOMMU, 0), (SPAPR_TCE_V2_IOMMU, 2)] {
        let rig = Rig::new(Machine::powernv9(), iommu);
        let ask = |argsz| {
            let mut info = SpaprTceInfo {
                argsz,
                flags: 0x77,
                ..SpaprTceInfo::default()
            };
            info.ddw.levels = 0x77;
            let answer = call(
                &rig.sim,
                &rig.container,
                uapi::SPAPR_TCE_GET_INFO,
                &mut info,
            );
            answer.map(|_| info)
        };
        assert_eq!(ask(15).err(), Some(Errno::INVAL));
        let short = ask(31).unwrap();
        assert_eq!((short.argsz, short.ddw.levels), (31, 0x77), "not written");
        assert_eq!(
            (short.dma32_window_start, short.dma32_window_size),
            (0, 1 << 31)
        );
        let whole = ask(32).unwrap();
        assert_eq!(whole.flags, u32::from(windows > 0));
        assert_eq!(whole.ddw.max_dynamic_windows_supported, windows);
    }
}

#[test]
fn c40_before_anything_else_it_must_be_enabled() {
    for iommu in [SPAPR_TCE_IOMMU, SPAPR_TCE_V2_IOMMU] {
        let rig = Rig::new(Machine::pseries(), iommu);
        for opcode in [uapi::IOMMU_MAP_DMA, uapi::IOMMU_UNMAP_DMA] {
            let answer = ioctl(&rig.sim, &rig.container, opcode, Arg::None);
            assert_eq!(
                answer,
                Err(Errno::PERM),
                "not even the pointer is looked at"
            );
        }
    }
}

#[test]
fn c41_c42_enable_and_disable() {
    let rig = Rig::new(Machine::pseries(), SPAPR_TCE_IOMMU);
    assert_eq!(disable(&rig), Ok(0), "in any state");
    assert_eq!(enable(&rig), Ok(0));
    assert_eq!(enable(&rig), Err(Errno::BUSY));
    let memory = Memory::new(&rig.sim, 1);
    rig.map(0, &memory).unwrap();
    assert_eq!((disable(&rig), disable(&rig)), (Ok(0), Ok(0)));
    assert_eq!(rig.mapped(), [(0, HOST_PAGE)], "mappings stay");
    assert_eq!(rig.map(0, &memory), Err(Errno::PERM));
    assert_eq!(enable(&rig), Ok(0));

    let v2 = Rig::new(Machine::pseries(), SPAPR_TCE_V2_IOMMU);
    assert_eq!(
        (enable(&v2), disable(&v2)),
        (Err(Errno::NOTTY), Err(Errno::NOTTY))
    );
}

#[test]
fn c41_without_a_default_window() {
    let machine = with(Machine::pseries(), |it| it.default_window = (0, 0));
    assert_eq!(
        enable(&Rig::new(machine, SPAPR_TCE_IOMMU)),
        Err(Errno::PERM)
    );
}

#[test]
fn c44_map_looks_in_this_order() {
    let (rig, memory) = enabled(Machine::pseries());
    let good = DmaMap {
        argsz: 32,
        flags: BOTH,
        vaddr: memory.at(),
        iova: 0,
        size: PAGE,
    };
    let ask = |mut map: DmaMap| call(&rig.sim, &rig.container, uapi::IOMMU_MAP_DMA, &mut map);
    let steps = [
        (
            DmaMap {
                argsz: 31,
                flags: 8,
                ..good
            },
            Err(Errno::INVAL),
            "argsz",
        ),
        (
            DmaMap {
                flags: 8,
                iova: END,
                ..good
            },
            Err(Errno::INVAL),
            "flags",
        ),
        (
            DmaMap {
                iova: END,
                size: 1,
                ..good
            },
            Err(Errno::NXIO),
            "the window",
        ),
        (
            DmaMap {
                size: 1,
                iova: 1,
                ..good
            },
            Err(Errno::INVAL),
            "size",
        ),
        (
            DmaMap {
                vaddr: memory.at() + 1,
                iova: 1,
                ..good
            },
            Err(Errno::INVAL),
            "address",
        ),
        (
            DmaMap {
                flags: 0,
                iova: 1,
                ..good
            },
            Err(Errno::INVAL),
            "no right",
        ),
        (
            DmaMap {
                iova: 1,
                vaddr: 0,
                ..good
            },
            Ok(1),
            "P1: IOVA",
        ),
        (DmaMap { vaddr: 0, ..good }, Err(Errno::FAULT), "memory"),
        (good, Ok(0), "good"),
    ];
    for (map, answer, why) in steps {
        assert_eq!(ask(map), answer, "{why}");
    }
    assert_eq!(rig.mapped(), [(0, PAGE)]);
}

#[test]
fn c45_what_changes_nothing_and_what_replaces() {
    let (rig, memory) = enabled(Machine::pseries());
    let put = |iova, at, size| map(&rig.sim, &rig.container, (iova, at, size), BOTH);
    assert_eq!(put(0, memory.at(), 0), Ok(0));
    assert_eq!(rig.unmap(0, 0), (Ok(0), 0));
    assert_eq!(rig.unmap(PAGE, PAGE), (Ok(0), PAGE), "nothing there");
    assert_eq!(rig.mapped(), []);
    assert_eq!(put(0, memory.at(), 4 * PAGE), Ok(0));
    assert_eq!(
        put(PAGE, memory.at() + HOST_PAGE, PAGE),
        Ok(0),
        "over another"
    );
    let vaddrs: Vec<_> = rig.sim.mappings().iter().map(|it| it.vaddr).collect();
    let at = memory.at();
    assert_eq!(vaddrs, [at, at + HOST_PAGE, at + 2 * PAGE]);
    assert_eq!(rig.unmap(2 * PAGE, PAGE), (Ok(0), PAGE), "a part");
    assert_eq!(rig.mapped(), [(0, PAGE), (PAGE, PAGE), (3 * PAGE, PAGE)]);
    for flag in [1, 2, 4] {
        let answer = unmap(&rig.sim, &rig.container, (0, 0), flag).0;
        assert_eq!(answer, Err(Errno::INVAL), "no flag");
    }
}

#[test]
fn c46_a_map_that_fails_half_way_clears() {
    let (rig, memory) = enabled(Machine::pseries());
    map(&rig.sim, &rig.container, (0, memory.at(), HOST_PAGE), BOTH).unwrap();
    memory.lose(0x1_0000..0x2_0000);
    let half = (0, memory.at() + HOST_PAGE - 2 * PAGE, 4 * PAGE);
    assert_eq!(map(&rig.sim, &rig.container, half, BOTH), Err(Errno::FAULT));
    assert_eq!(
        rig.mapped(),
        [(2 * PAGE, HOST_PAGE - 2 * PAGE)],
        "also what was there"
    );
}

#[test]
fn c46_v1_wants_to_write_whatever_the_right() {
    let (rig, memory) = enabled(Machine::pseries());
    memory.freeze(0..0x1_0000);
    let range = (0, memory.at(), PAGE);
    assert_eq!(
        map(&rig.sim, &rig.container, range, READ),
        Err(Errno::FAULT)
    );
}

#[test]
fn c47_v1_does_not_know_the_calls_of_v2() {
    let (rig, _memory) = enabled(Machine::pseries());
    for opcode in [
        uapi::SPAPR_REGISTER_MEMORY,
        uapi::SPAPR_UNREGISTER_MEMORY,
        uapi::SPAPR_TCE_CREATE,
        uapi::SPAPR_TCE_REMOVE,
    ] {
        let answer = ioctl(&rig.sim, &rig.container, opcode, Arg::None);
        assert_eq!(answer, Err(Errno::NOTTY));
    }
}

#[test]
fn p2_unmap_that_is_misaligned() {
    let (rig, memory) = enabled(Machine::pseries());
    rig.map(0, &memory).unwrap();
    assert_eq!(rig.unmap(1, PAGE), (Ok(1), PAGE));
    assert_eq!(rig.unmap(END, PAGE).0, Err(Errno::NXIO));
    assert_eq!(rig.unmap(0, 1).0, Err(Errno::INVAL));
    let short = DmaUnmap {
        argsz: 23,
        flags: 0,
        iova: 0,
        size: PAGE,
    };
    let arg = Arg::In(short.as_bytes());
    let answer = ioctl(&rig.sim, &rig.container, uapi::IOMMU_UNMAP_DMA, arg);
    assert_eq!(answer, Err(Errno::INVAL));
    assert_eq!(rig.mapped(), [(0, memory.len())]);
}

#[test]
fn h1_unmapping_past_the_end() {
    let (rig, memory) = enabled(Machine::pseries());
    let last = (END - PAGE, memory.at(), PAGE);
    map(&rig.sim, &rig.container, last, WRITE).unwrap();
    assert_eq!(rig.unmap(END - PAGE, 2 * PAGE).0, Ok(0));
    assert_eq!(rig.sim.hazards(), [Hazard::H1]);
    assert_eq!(rig.mapped(), []);
}

#[test]
fn h2_mapping_past_the_end() {
    let (rig, memory) = enabled(Machine::powernv9());
    let across = ((1 << 31) - PAGE, memory.at(), 2 * PAGE);
    assert_eq!(map(&rig.sim, &rig.container, across, BOTH), Ok(0));
    assert_eq!(rig.sim.hazards(), [Hazard::H2]);
}
