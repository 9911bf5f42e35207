//! C45, P2, H1: UNMAP.

use vfio_core::kernel::{Errno, Result};
use vfio_core::uapi::{self, DmaUnmap, SPAPR_TCE_IOMMU};
use vfio_sim::Machine;

use super::calls::{EINVAL, HIGH, TCE, VERSIONS, default_window, put, ready, v1};
use super::engine::Engine;
use crate::conformance::clause::Needs::{Device, Pseries, Spapr};
use crate::conformance::clause::{Clause, Trait::Engine as HasEngine, both, simulated};
use crate::conformance::host::Host;
use crate::conformance::raw::call;

const KILLS: &str = "the kernels of the lab do not survive it";

pub(super) const CLAUSES: &[Clause] = &[
    both(
        &["C45"],
        "UNMAP: argsz below 24 is EINVAL, before the window",
        &[Spapr],
        |host| {
            each(
                host,
                &[0, 23],
                |unmap, argsz| DmaUnmap {
                    argsz,
                    iova: HIGH,
                    ..unmap
                },
                EINVAL,
            );
        },
    ),
    both(
        &["C45"],
        "UNMAP: any flag is EINVAL, before the window",
        &[Spapr],
        |host| {
            let flagged = |unmap, flags| DmaUnmap {
                flags,
                iova: HIGH,
                ..unmap
            };
            each(host, &[1, 2, 4, 1 << 31], flagged, EINVAL);
        },
    ),
    both(
        &["C45"],
        "UNMAP: ALL is a flag like others",
        &[Spapr],
        |host| {
            let all = |unmap, flags| DmaUnmap {
                flags,
                iova: 0,
                size: 0,
                ..unmap
            };
            each(host, &[uapi::DMA_UNMAP_FLAG_ALL], all, EINVAL);
        },
    ),
    both(
        &["C44"],
        "UNMAP: outside every window is ENXIO, before the size",
        &[Spapr],
        |host| {
            let outside = |unmap, iova| DmaUnmap {
                iova,
                size: 1,
                ..unmap
            };
            each(
                host,
                &[default_window(host).0, HIGH],
                outside,
                Err(Errno::NXIO),
            );
        },
    ),
    both(
        &["C44"],
        "UNMAP: a size that is no whole IOMMU pages is EINVAL, before the IOVA",
        &[Spapr],
        |host| {
            let odd = |unmap, size| DmaUnmap {
                size,
                iova: 1,
                ..unmap
            };
            each(host, &[1, TCE - 1, TCE + 1], odd, EINVAL);
        },
    ),
    both(
        &["P2"],
        "UNMAP: an IOVA that is no whole IOMMU page answers 1",
        &[Spapr],
        |host| {
            each(
                host,
                &[1, TCE - 1, TCE + 8],
                |unmap, iova| DmaUnmap { iova, ..unmap },
                Ok(1),
            );
        },
    ),
    both(&["C45"], "UNMAP of nothing answers 0", &[Spapr], |host| {
        each(host, &[0], |unmap, size| DmaUnmap { size, ..unmap }, Ok(0));
    }),
    both(
        &["C45"],
        "UNMAP where nothing is answers 0, up to the last byte of the window",
        &[Spapr],
        |host| {
            let last = default_window(host).0 - TCE;
            each(
                host,
                &[8 * TCE, last],
                |unmap, iova| DmaUnmap { iova, ..unmap },
                Ok(0),
            );
        },
    ),
    both(
        &["P2"],
        "UNMAP: what answers 1 unmaps nothing",
        &[Pseries, Device(HasEngine)],
        |host| {
            let engine = Engine::new(host, SPAPR_TCE_IOMMU, 1);
            put(&engine.rig, 0, engine.memory.at(), 2 * TCE).unwrap();
            assert_eq!(engine.rig.unmap(1, TCE).0, Ok(1));
            assert!(engine.reads(0, 0) && engine.reads(TCE, 0x1000));
        },
    ),
    both(
        &["C45"],
        "UNMAP of a part leaves the rest",
        &[Spapr, Device(HasEngine)],
        |host| {
            for version in VERSIONS {
                let engine = Engine::new(host, version, 1);
                put(&engine.rig, 0, engine.memory.at(), 3 * TCE).unwrap();
                assert_eq!(engine.rig.unmap(TCE, TCE), (Ok(0), TCE));
                let reads = [0, 1, 2]
                    .map(|n: u16| engine.reads(u64::from(n) * TCE, usize::from(n) * 0x1000));
                assert_eq!(reads, [true, false, true]);
            }
        },
    ),
    both(
        &["C45"],
        "UNMAP takes a range with holes, and what several MAPs made",
        &[Pseries, Device(HasEngine)],
        |host| {
            let engine = Engine::new(host, SPAPR_TCE_IOMMU, 1);
            for n in [0, 2] {
                put(&engine.rig, n * TCE, engine.memory.at(), TCE).unwrap();
            }
            assert_eq!(engine.rig.unmap(0, 4 * TCE), (Ok(0), 4 * TCE));
            assert!(!engine.reads(0, 0) && !engine.reads(2 * TCE, 0));
        },
    ),
    simulated(
        &["H1"],
        "an UNMAP that ends behind its window is not noticed by old kernels",
        KILLS,
        || {
            let host = Host::simulated(Machine::pseries());
            assert_eq!(past_the_end(&host), Ok(0));
        },
    ),
    simulated(
        &["H1", "P2"],
        "an UNMAP that ends behind its window answers 1 where H1 is mended",
        KILLS,
        || {
            for release in ["6.12.117", "7.3.0"] {
                let machine = Machine {
                    release: release.into(),
                    ..Machine::powernv9()
                };
                assert_eq!(past_the_end(&Host::simulated(machine)), Ok(1));
            }
        },
    ),
];

fn past_the_end(host: &Host) -> Result<u32> {
    v1(host).unmap(default_window(host).0 - TCE, 2 * TCE).0
}

/// With either version and 4 pages mapped: what is answered where all is well but for what is changed to each of the
/// values. The struct is not written to.
fn each<T: Copy>(
    host: &Host,
    values: &[T],
    change: impl Fn(DmaUnmap, T) -> DmaUnmap,
    answer: Result<u32>,
) {
    for version in VERSIONS {
        let (rig, memory) = ready(host, version, 1);
        put(&rig, 0, memory.at(), 4 * TCE).unwrap();
        for value in values {
            let good = DmaUnmap {
                argsz: 24,
                flags: 0,
                iova: 0,
                size: TCE,
            };
            let mut unmap = change(good, *value);
            let before = (unmap.argsz, unmap.flags, unmap.iova, unmap.size);
            let opcode = uapi::IOMMU_UNMAP_DMA;
            let answered = call(rig.kernel(), &rig.container, opcode, &mut unmap);
            assert_eq!(answered, answer, "version {version}");
            assert_eq!((unmap.argsz, unmap.flags, unmap.iova, unmap.size), before);
        }
    }
}
