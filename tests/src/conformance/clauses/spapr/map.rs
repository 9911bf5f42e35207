//! C44, P1, H2: what MAP looks at, and in which order. Of two faults in a clause the first is found.

use vfio_core::kernel::{Errno, Result};
use vfio_core::uapi::{self, DmaMap, SPAPR_TCE_IOMMU};
use vfio_sim::Machine;

use super::calls::{EINVAL, HIGH, TCE, VERSIONS, default_window, put, ready, v1};
use super::engine::Engine;
use crate::conformance::clause::Needs::{Device, Pseries, Spapr};
use crate::conformance::clause::{Clause, Trait::Engine as HasEngine, both, simulated};
use crate::conformance::host::Host;
use crate::conformance::memory::Memory;
use crate::conformance::raw::{BOTH, READ, WRITE, call};
use crate::conformance::rig::Rig;

const LEADS_NOWHERE: &str = "a bare-metal kernel writes behind its table";

pub(super) const CLAUSES: &[Clause] = &[
    both(
        &["C44"],
        "MAP: argsz below 32 is EINVAL, before the window",
        &[Spapr],
        |host| {
            each(
                host,
                &[0, 31],
                |map, argsz| DmaMap {
                    argsz,
                    iova: HIGH,
                    ..map
                },
                EINVAL,
            );
        },
    ),
    both(&["C44"], "MAP: a larger argsz is fine", &[Spapr], |host| {
        each(
            host,
            &[33, 100],
            |map, argsz| DmaMap { argsz, ..map },
            Ok(0),
        );
    }),
    both(
        &["C44"],
        "MAP: an unknown flag is EINVAL, before the window",
        &[Spapr],
        |host| {
            let flagged = |map, flag| DmaMap {
                flags: BOTH | flag,
                iova: HIGH,
                ..map
            };
            each(host, &[4, 8, 1 << 31], flagged, EINVAL);
        },
    ),
    both(
        &["C44"],
        "MAP: outside every window is ENXIO, before the size",
        &[Spapr],
        |host| {
            let outside = |map, iova| DmaMap {
                iova,
                size: 1,
                ..map
            };
            each(
                host,
                &[end(host), HIGH, u64::MAX - 1],
                outside,
                Err(Errno::NXIO),
            );
        },
    ),
    both(
        &["C44"],
        "MAP: outside every window is ENXIO, before address and rights",
        &[Spapr],
        |host| {
            let bad = |map: DmaMap, iova| DmaMap {
                iova,
                vaddr: map.vaddr + 1,
                flags: 0,
                ..map
            };
            each(host, &[end(host), HIGH], bad, Err(Errno::NXIO));
        },
    ),
    both(
        &["C44"],
        "MAP: the window ends with its last byte",
        &[Spapr],
        |host| {
            each(
                host,
                &[end(host) - TCE],
                |map, iova| DmaMap { iova, ..map },
                Ok(0),
            );
            each(
                host,
                &[end(host) - 1],
                |map, iova| DmaMap { iova, ..map },
                Ok(1),
            );
        },
    ),
    both(
        &["C44"],
        "MAP: a size that is no whole IOMMU pages is EINVAL, before the IOVA",
        &[Spapr],
        |host| {
            let odd = |map, size| DmaMap {
                size,
                iova: 1,
                ..map
            };
            each(host, &[1, TCE - 1, TCE + 1], odd, EINVAL);
        },
    ),
    both(
        &["C44"],
        "MAP: an address that is no whole IOMMU page is EINVAL, before the IOVA",
        &[Spapr],
        |host| {
            let odd = |map: DmaMap, more| DmaMap {
                vaddr: map.vaddr + more,
                iova: 1,
                ..map
            };
            each(host, &[1, TCE / 2], odd, EINVAL);
        },
    ),
    both(
        &["C44"],
        "MAP: an address inside a host page can be mapped",
        &[Spapr],
        |host| {
            let inside = |map: DmaMap, more| DmaMap {
                vaddr: map.vaddr + more,
                ..map
            };
            each(host, &[TCE, 15 * TCE], inside, Ok(0));
        },
    ),
    both(
        &["C44"],
        "MAP: neither read nor write is EINVAL, before the IOVA",
        &[Spapr],
        |host| {
            each(
                host,
                &[0, 1],
                |map, iova| DmaMap {
                    flags: 0,
                    iova,
                    ..map
                },
                EINVAL,
            );
        },
    ),
    both(
        &["C44", "C45"],
        "MAP: of nothing, too, flags and address are looked at",
        &[Spapr],
        |host| {
            let nothing = |map, (flags, vaddr)| DmaMap {
                size: 0,
                flags,
                vaddr,
                ..map
            };
            each(host, &[(0, 0), (BOTH, 1), (8, 0)], nothing, EINVAL);
        },
    ),
    both(
        &["C44", "C45", "P1"],
        "MAP: of nothing, too, the IOVA is looked at",
        &[Spapr],
        |host| {
            each(
                host,
                &[HIGH],
                |map, iova| DmaMap {
                    size: 0,
                    iova,
                    ..map
                },
                Err(Errno::NXIO),
            );
            each(
                host,
                &[1],
                |map, iova| DmaMap {
                    size: 0,
                    iova,
                    ..map
                },
                Ok(1),
            );
        },
    ),
    both(
        &["C44"],
        "MAP: read, write and both are rights",
        &[Spapr],
        |host| {
            each(
                host,
                &[READ, WRITE, BOTH],
                |map, flags| DmaMap { flags, ..map },
                Ok(0),
            );
        },
    ),
    both(
        &["P1"],
        "MAP: an IOVA that is no whole IOMMU page answers 1",
        &[Spapr],
        |host| {
            each(
                host,
                &[1, TCE - 1, TCE + 8],
                |map, iova| DmaMap { iova, ..map },
                Ok(1),
            );
        },
    ),
    both(
        &["P1", "C44"],
        "MAP: the IOVA is looked at before the memory",
        &[Spapr],
        |host| {
            each(
                host,
                &[1],
                |map, iova| DmaMap {
                    iova,
                    vaddr: 0,
                    ..map
                },
                Ok(1),
            );
        },
    ),
    both(
        &["P1"],
        "MAP: what answers 1 maps nothing",
        &[Pseries, Device(HasEngine)],
        |host| {
            let engine = Engine::new(host, SPAPR_TCE_IOMMU, 1);
            assert_eq!(put(&engine.rig, 1, engine.memory.at(), 2 * TCE), Ok(1));
            assert!(!engine.reads(0, 0) && !engine.reads(TCE, 0));
        },
    ),
    both(
        &["C44"],
        "a device may read what is mapped to be read, and not write it",
        &[Spapr, Device(HasEngine)],
        |host| {
            for version in VERSIONS {
                let engine = Engine::new(host, version, 1);
                assert_eq!(right(&engine, READ), Ok(0));
                assert!(engine.reads(0, 0) && !engine.writes(0, 0));
            }
        },
    ),
    both(
        &["C44"],
        "a device may write what is mapped to be written, and on powernv read it",
        &[Spapr, Device(HasEngine)],
        |host| {
            for version in VERSIONS {
                let engine = Engine::new(host, version, 1);
                assert_eq!(right(&engine, WRITE), Ok(0));
                let reads = !host.machine().has_write_only();
                assert_eq!((engine.writes(0, 0), engine.reads(0, 0)), (true, reads));
            }
        },
    ),
    simulated(
        &["H2"],
        "a MAP that ends behind its window answers 0",
        LEADS_NOWHERE,
        || {
            let host = Host::simulated(Machine::powernv9());
            let (rig, memory) = (v1(&host), host.memory(1));
            assert_eq!(put(&rig, end(&host) - TCE, memory.at(), 2 * TCE), Ok(0));
        },
    ),
];

/// The first address behind the default window.
fn end(host: &Host) -> u64 {
    default_window(host).0
}

fn right(engine: &Engine, flags: u32) -> Result<u32> {
    let range = (0, engine.memory.at(), TCE);
    crate::conformance::raw::map(engine.rig.kernel(), &engine.rig.container, range, flags)
}

/// With either version: what is answered where all is well but for what is changed to each of the values. The struct is
/// not written to.
fn each<T: Copy>(
    host: &Host,
    values: &[T],
    change: impl Fn(DmaMap, T) -> DmaMap,
    answer: Result<u32>,
) {
    for version in VERSIONS {
        let (rig, memory) = ready(host, version, 1);
        for value in values {
            let answered = ask(&rig, change(good(&memory), *value));
            assert_eq!(answered, answer, "version {version}");
        }
    }
}

fn good(memory: &Memory) -> DmaMap {
    DmaMap {
        argsz: 32,
        flags: BOTH,
        vaddr: memory.at(),
        iova: 0,
        size: TCE,
    }
}

fn ask(rig: &Rig, mut map: DmaMap) -> Result<u32> {
    let before = map;
    let answer = call(rig.kernel(), &rig.container, uapi::IOMMU_MAP_DMA, &mut map);
    let said = |map: DmaMap| (map.argsz, map.flags, map.vaddr, map.iova, map.size);
    assert_eq!(said(map), said(before));
    answer
}
