//! C40 to C43: what must come before mapping, and what it costs.

use vfio_core::kernel::Errno;
use vfio_core::uapi::{self, SPAPR_TCE_IOMMU, SPAPR_TCE_V2_IOMMU};
use vfio_sim::Machine;

use super::calls::{EINVAL, TCE, create, disable, enable, plain, put, register, remove, v1};
use super::engine::Engine;
use crate::conformance::clause::Needs::{Device, Pseries, Spapr};
use crate::conformance::clause::{Clause, Trait::Engine as HasEngine, both, simulated};
use crate::conformance::host::Host;
use crate::conformance::rig::Rig;

const MAPPING: [vfio_core::kernel::Opcode; 2] = [uapi::IOMMU_MAP_DMA, uapi::IOMMU_UNMAP_DMA];

pub(super) const CLAUSES: &[Clause] = &[
    both(
        &["C40"],
        "before ENABLE, MAP and UNMAP are EPERM, not even the pointer is looked at",
        &[Spapr],
        |host| {
            assert_refused(&host.rig_of(SPAPR_TCE_IOMMU));
        },
    ),
    both(
        &["C40"],
        "before REGISTER, MAP and UNMAP are EPERM, not even the pointer is looked at",
        &[Spapr],
        |host| {
            assert_refused(&host.rig_of(SPAPR_TCE_V2_IOMMU));
        },
    ),
    both(
        &["C40"],
        "a window of its own does not allow MAP",
        &[Spapr],
        |host| {
            let rig = host.rig_of(SPAPR_TCE_V2_IOMMU);
            create(&rig, 16, 1 << 30, 1).unwrap();
            assert_refused(&rig);
        },
    ),
    both(
        &["C40"],
        "a REGISTER that fails does not allow MAP",
        &[Spapr],
        |host| {
            let rig = host.rig_of(SPAPR_TCE_V2_IOMMU);
            assert_eq!(register(&rig, 0, host.page()), Err(Errno::FAULT));
            assert_refused(&rig);
        },
    ),
    both(
        &["C40"],
        "after ENABLE and REGISTER the pointer is looked at",
        &[Spapr],
        |host| {
            let looked_at =
                |rig: &Rig| assert_eq!(MAPPING.map(|it| plain(rig, it)), [Err(Errno::FAULT); 2]);
            looked_at(&v1(host));
            let (rig, _memory) = super::calls::v2(host, 1);
            looked_at(&rig);
        },
    ),
    both(
        &["C41"],
        "ENABLE is EBUSY the second time",
        &[Spapr],
        |host| {
            let rig = v1(host);
            assert_eq!(enable(&rig), Err(Errno::BUSY));
        },
    ),
    simulated(
        &["C41"],
        "without a 32-bit window ENABLE is EPERM",
        "every machine of the lab has that window",
        || {
            let host =
                super::calls::changed(Machine::powernv9(), |spapr| spapr.default_window = (0, 0));
            assert_eq!(enable(&host.rig_of(SPAPR_TCE_IOMMU)), Err(Errno::PERM));
        },
    ),
    both(
        &["C42"],
        "DISABLE answers 0 before ENABLE",
        &[Spapr],
        |host| {
            let rig = host.rig_of(SPAPR_TCE_IOMMU);
            assert_eq!([disable(&rig), disable(&rig)], [Ok(0); 2]);
        },
    ),
    both(
        &["C42"],
        "DISABLE answers 0 twice, and MAP is EPERM until ENABLE",
        &[Spapr],
        |host| {
            let (rig, memory) = (v1(host), host.memory(1));
            assert_eq!([disable(&rig), disable(&rig)], [Ok(0); 2]);
            assert_refused(&rig);
            assert_eq!(enable(&rig), Ok(0));
            assert_eq!(rig.map(0, &memory), Ok(0));
        },
    ),
    both(
        &["C42"],
        "what is mapped stays after DISABLE",
        &[Pseries, Device(HasEngine)],
        |host| {
            let engine = Engine::new(host, SPAPR_TCE_IOMMU, 1);
            assert_eq!(put(&engine.rig, 0, engine.memory.at(), TCE), Ok(0));
            assert_eq!(disable(&engine.rig), Ok(0));
            assert!(engine.reads(0, 0));
        },
    ),
    both(
        &["C43"],
        "the default window is made for a MAP that fails, too",
        &[Spapr],
        |host| {
            assert!(makes_default(host, SPAPR_TCE_IOMMU, |rig| {
                assert_eq!(put(rig, u64::MAX - TCE + 1, 0, TCE), Err(Errno::NXIO));
            }));
        },
    ),
    both(
        &["C43"],
        "the default window is made for an UNMAP",
        &[Spapr],
        |host| {
            for version in super::calls::VERSIONS {
                assert!(makes_default(host, version, |rig| {
                    assert_eq!(rig.unmap(0, TCE).0, Ok(0));
                }));
            }
        },
    ),
    both(
        &["C43"],
        "the default window is not made for a MAP with an unknown flag",
        &[Spapr],
        |host| {
            assert!(!makes_default(host, SPAPR_TCE_IOMMU, |rig| {
                let range = (0, 0, TCE);
                assert_eq!(
                    crate::conformance::raw::map(rig.kernel(), &rig.container, range, 8),
                    EINVAL
                );
            }));
        },
    ),
    both(
        &["C43"],
        "the default window is not made for an UNMAP with a flag",
        &[Spapr],
        |host| {
            assert!(!makes_default(host, SPAPR_TCE_IOMMU, |rig| {
                let unmap = crate::conformance::raw::unmap;
                assert_eq!(unmap(rig.kernel(), &rig.container, (0, TCE), 2).0, EINVAL);
            }));
        },
    ),
    both(
        &["C43"],
        "neither SET_IOMMU nor ENABLE nor REGISTER makes the default window",
        &[Spapr],
        |host| {
            for version in super::calls::VERSIONS {
                assert!(!makes_default(host, version, |_| ()));
            }
        },
    ),
    both(
        &["C43", "D54"],
        "the default window is made for a CREATE that fails, too",
        &[Spapr],
        |host| {
            assert!(makes_default(host, SPAPR_TCE_V2_IOMMU, |rig| {
                assert_eq!(create(rig, 13, 1 << 30, 1), Err(Errno::INVAL));
            }));
        },
    ),
    both(
        &["C43", "D55"],
        "the default window is not made for a REMOVE of it",
        &[Spapr],
        |host| {
            assert!(!makes_default(host, SPAPR_TCE_V2_IOMMU, |rig| {
                assert_eq!(remove(rig, 0), Ok(0));
            }));
        },
    ),
];

fn assert_refused(rig: &Rig) {
    assert_eq!(MAPPING.map(|it| plain(rig, it)), [Err(Errno::PERM); 2]);
}

/// Whether a call makes the default window, which is seen by what it costs.
fn makes_default(host: &Host, version: u32, ask: impl Fn(&Rig)) -> bool {
    let (rig, _memory) = super::calls::ready(host, version, 1);
    let before = host.locked();
    ask(&rig);
    match host.locked() - before {
        0 => false,
        cost => {
            assert_eq!(cost, super::calls::default_window(host).1);
            true
        }
    }
}
