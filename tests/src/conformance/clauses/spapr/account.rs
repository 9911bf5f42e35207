//! C41 to C43, C48, D49, D50, D54: what is accounted, and given back.

use vfio_core::kernel::Errno;
use vfio_core::uapi::{SPAPR_TCE_IOMMU, SPAPR_TCE_V2_IOMMU};

use super::calls::{
    TCE, VERSIONS, create, default_window, disable, enable, put, ready, register, v1, v2,
};
use super::engine::Engine;
use crate::conformance::clause::Needs::{Device, Powernv, Pseries, Spapr};
use crate::conformance::clause::{Clause, Trait::Engine as HasEngine, both};
use crate::conformance::host::Host;
use crate::conformance::raw::leave;

pub(super) const CLAUSES: &[Clause] = &[
    both(
        &["C41"],
        "ENABLE accounts the whole default window",
        &[Spapr],
        |host| {
            let before = host.locked();
            let _rig = v1(host);
            assert_eq!(host.locked() - before, default_window(host).0);
        },
    ),
    both(
        &["C41"],
        "ENABLE is ENOMEM over the limit, and nothing is accounted",
        &[Spapr],
        |host| {
            let rig = host.rig_of(SPAPR_TCE_IOMMU);
            let before = host.locked();
            let limit = host.limit(before + default_window(host).0 - host.page());
            assert_eq!(enable(&rig), Err(Errno::NOMEM));
            assert_eq!(host.locked(), before);
            drop(limit);
            assert_eq!(put(&rig, 0, 0, 0), Err(Errno::PERM), "it is not enabled");
            assert_eq!(enable(&rig), Ok(0));
        },
    ),
    both(
        &["C41"],
        "ENABLE takes the limit itself",
        &[Spapr],
        |host| {
            let rig = host.rig_of(SPAPR_TCE_IOMMU);
            let _limit = host.limit(host.locked() + default_window(host).0);
            assert_eq!(enable(&rig), Ok(0));
        },
    ),
    both(
        &["C42"],
        "DISABLE gives back the window, not the table",
        &[Spapr],
        |host| {
            let before = host.locked();
            let (rig, memory) = (v1(host), host.memory(1));
            assert_eq!(rig.map(0, &memory), Ok(0));
            assert_eq!(disable(&rig), Ok(0));
            assert_eq!(host.locked() - before, default_window(host).1);
            assert_eq!(disable(&rig), Ok(0));
            assert_eq!(host.locked() - before, default_window(host).1, "once");
        },
    ),
    both(
        &["C43"],
        "the first MAP accounts the default table, the second nothing",
        &[Spapr],
        |host| {
            for version in VERSIONS {
                let (rig, memory) = ready(host, version, 1);
                let before = host.locked();
                assert_eq!(rig.map(0, &memory), Ok(0));
                assert_eq!(host.locked() - before, default_window(host).1);
                assert_eq!(rig.map(0x1_0000, &memory), Ok(0));
                assert_eq!(host.locked() - before, default_window(host).1);
            }
        },
    ),
    both(
        &["C43"],
        "MAP is ENOMEM while the default table is over the limit",
        &[Spapr],
        |host| {
            for version in VERSIONS {
                let (rig, memory) = ready(host, version, 1);
                let before = host.locked();
                let limit = host.limit(before + default_window(host).1 - host.page());
                assert_eq!(rig.map(0, &memory), Err(Errno::NOMEM));
                assert_eq!(host.locked(), before);
                drop(limit);
                assert_eq!(rig.map(0, &memory), Ok(0));
            }
        },
    ),
    both(
        &["C48", "A7"],
        "with the group, all that was accounted is given back",
        &[Spapr],
        |host| {
            for version in VERSIONS {
                let before = host.locked();
                let (rig, memory) = ready(host, version, 2);
                assert_eq!(rig.map(0, &memory), Ok(0));
                assert!(host.locked() > before);
                assert_eq!(leave(rig.kernel(), &rig.group), Ok(0));
                assert_eq!(host.locked(), before);
            }
        },
    ),
    both(
        &["C48"],
        "with every fd, all that was accounted is given back",
        &[Spapr],
        |host| {
            for version in VERSIONS {
                let before = host.locked();
                let (rig, memory) = ready(host, version, 2);
                assert_eq!(rig.map(0, &memory), Ok(0));
                drop(rig);
                assert_eq!(host.locked(), before);
            }
        },
    ),
    both(
        &["C48"],
        "with the group, the memory can be registered anew",
        &[Spapr],
        |host| {
            let (rig, memory) = v2(host, 2);
            assert_eq!(rig.map(0, &memory), Ok(0));
            drop(rig);
            let rig = host.rig_of(SPAPR_TCE_V2_IOMMU);
            assert_eq!(register(&rig, memory.at(), memory.len() / 2), Ok(0));
        },
    ),
    both(
        &["C48"],
        "the tables are cleared with the group",
        &[Spapr, Device(HasEngine)],
        |host| {
            for version in VERSIONS {
                let before = Engine::new(host, version, 1);
                assert_eq!(put(&before.rig, 0, before.memory.at(), TCE), Ok(0));
                assert!(before.reads(0, 0));
                drop(before);
                let after = Engine::new(host, version, 1);
                assert!(!after.reads(0, 0) && after.reads(0x2000_0000, 0x1_0000));
            }
        },
    ),
    both(
        &["D49"],
        "REGISTER accounts what is registered",
        &[Spapr],
        |host| {
            let before = host.locked();
            let (_rig, memory) = v2(host, 3);
            assert_eq!(host.locked() - before, memory.len());
        },
    ),
    both(
        &["D49"],
        "REGISTER is ENOMEM over the limit, and nothing is accounted",
        &[Spapr],
        |host| {
            let (rig, memory) = (host.rig_of(SPAPR_TCE_V2_IOMMU), host.memory(2));
            let before = host.locked();
            let limit = host.limit(before + memory.len() - host.page());
            assert_eq!(register(&rig, memory.at(), memory.len()), Err(Errno::NOMEM));
            assert_eq!(host.locked(), before);
            drop(limit);
            assert_eq!(put(&rig, 0, memory.at(), TCE), Err(Errno::PERM));
        },
    ),
    both(
        &["D49"],
        "REGISTER takes the limit itself",
        &[Spapr],
        |host| {
            let (rig, memory) = (host.rig_of(SPAPR_TCE_V2_IOMMU), host.memory(2));
            let _limit = host.limit(host.locked() + memory.len());
            assert_eq!(register(&rig, memory.at(), memory.len()), Ok(0));
        },
    ),
    both(
        &["D49"],
        "over the limit it is ENOMEM also for what is not there",
        &[Spapr],
        |host| {
            let rig = host.rig_of(SPAPR_TCE_V2_IOMMU);
            let _limit = host.limit(host.locked());
            assert_eq!(register(&rig, 0, host.page()), Err(Errno::NOMEM));
        },
    ),
    both(
        &["D54", "D54b"],
        "CREATE accounts the addresses of a table under a hypervisor",
        &[Pseries],
        |host| {
            assert_eq!(window_cost(host), 1 << 20);
        },
    ),
    both(
        &["D54", "D54b"],
        "CREATE accounts twice the table without one",
        &[Powernv],
        |host| {
            assert_eq!(window_cost(host), 2 << 20);
        },
    ),
    both(
        &["D54"],
        "CREATE is ENOMEM while its table is over the limit",
        &[Spapr],
        |host| {
            let rig = host.rig_of(SPAPR_TCE_V2_IOMMU);
            let before = host.locked();
            let limit = host.limit(before + default_window(host).1);
            assert_eq!(create(&rig, 16, 8 << 30, 1), Err(Errno::NOMEM));
            assert_eq!(
                host.locked() - before,
                default_window(host).1,
                "the default one is made"
            );
            drop(limit);
            assert!(create(&rig, 16, 8 << 30, 1).is_ok());
        },
    ),
    both(
        &["D54"],
        "CREATE is ENOMEM while the default table is over the limit",
        &[Spapr],
        |host| {
            let rig = host.rig_of(SPAPR_TCE_V2_IOMMU);
            let before = host.locked();
            let _limit = host.limit(before + default_window(host).1 - host.page());
            assert_eq!(create(&rig, 16, 8 << 30, 1), Err(Errno::NOMEM));
            assert_eq!(host.locked(), before);
        },
    ),
];

/// What a window of 8 GiB with pages of 64 KiB costs beside the default one: a table of 1 MiB, however often.
fn window_cost(host: &Host) -> u64 {
    let (rig, memory) = v2(host, 1);
    assert_eq!(rig.map(0, &memory), Ok(0));
    let before = host.locked();
    create(&rig, 16, 8 << 30, 1).unwrap();
    host.locked() - before
}
