//! D56, H6: windows that are removed.

use vfio_core::kernel::Errno;
use vfio_core::uapi::{self, SPAPR_TCE_V2_IOMMU, SpaprTceRemove};

use super::calls::{
    EINVAL, HIGH, TCE, create, default_window, plain, put, remove, remove_of, unregister, v2,
};
use super::engine::Engine;
use crate::conformance::clause::Needs::{Device, Pseries, Spapr};
use crate::conformance::clause::{Clause, Trait::Engine as HasEngine, both};

const GIB: u64 = 1 << 30;

pub(super) const CLAUSES: &[Clause] = &[
    both(
        &["D56"],
        "REMOVE of a bad pointer is EFAULT",
        &[Spapr],
        |host| {
            assert_eq!(
                plain(&host.rig(), uapi::SPAPR_TCE_REMOVE),
                Err(Errno::FAULT)
            );
        },
    ),
    both(
        &["D56"],
        "REMOVE: argsz below 16 is EINVAL, and the default window stays",
        &[Spapr],
        |host| {
            let (rig, memory) = v2(host, 1);
            let short = SpaprTceRemove {
                argsz: 15,
                flags: 0,
                start_addr: 0,
            };
            assert_eq!(remove_of(&rig, short), EINVAL);
            assert_eq!(rig.map(0, &memory), Ok(0));
        },
    ),
    both(
        &["D56"],
        "REMOVE: any flag is EINVAL, and the default window stays",
        &[Spapr],
        |host| {
            let (rig, memory) = v2(host, 1);
            for flags in [1, 1 << 31] {
                let flagged = SpaprTceRemove {
                    argsz: 16,
                    flags,
                    start_addr: 0,
                };
                assert_eq!(remove_of(&rig, flagged), EINVAL);
            }
            assert_eq!(rig.map(0, &memory), Ok(0));
        },
    ),
    both(
        &["D56"],
        "REMOVE where no window is: EINVAL",
        &[Spapr],
        |host| {
            let (rig, memory) = v2(host, 1);
            for start in [default_window(host).0, HIGH, u64::MAX] {
                assert_eq!(remove(&rig, start), EINVAL);
            }
            rig.map(0, &memory).unwrap();
            for start in [default_window(host).0, HIGH, u64::MAX] {
                assert_eq!(remove(&rig, start), EINVAL);
            }
        },
    ),
    both(
        &["D56", "D55"],
        "REMOVE of another address inside a default window that was not made is EINVAL",
        &[Spapr],
        |host| {
            assert_eq!(remove(&host.rig(), TCE), EINVAL);
        },
    ),
    both(&["D56"], "REMOVE twice is EINVAL", &[Spapr], |host| {
        let rig = host.rig();
        create(&rig, 16, GIB, 1).unwrap();
        assert_eq!([remove(&rig, HIGH), remove(&rig, HIGH)], [Ok(0), EINVAL]);
    }),
    both(
        &["D56"],
        "REMOVE of a default window that is in use gives back its table",
        &[Spapr],
        |host| {
            let (rig, memory) = v2(host, 1);
            let before = host.locked();
            rig.map(0, &memory).unwrap();
            assert_eq!(remove(&rig, 0), Ok(0));
            assert_eq!(host.locked(), before);
            assert_eq!(
                rig.map(0, &memory),
                Err(Errno::NXIO),
                "and it is not made again"
            );
        },
    ),
    both(
        &["D56", "D51"],
        "REMOVE clears what is mapped: the memory can be given back",
        &[Spapr],
        |host| {
            let before = host.locked();
            let (rig, memory) = v2(host, 1);
            create(&rig, 16, GIB, 1).unwrap();
            rig.map(HIGH, &memory).unwrap();
            assert_eq!(remove(&rig, HIGH), Ok(0));
            assert_eq!(unregister(&rig, memory.at(), memory.len()), Ok(0));
            assert_eq!(host.locked() - before, default_window(host).1);
        },
    ),
    both(
        &["D56"],
        "after REMOVE a device reaches nothing there, and the other window still",
        &[Spapr, Device(HasEngine)],
        |host| {
            let engine = Engine::new(host, SPAPR_TCE_V2_IOMMU, 1);
            create(&engine.rig, 16, GIB, 1).unwrap();
            let at = engine.memory.at();
            put(&engine.rig, 0, at, TCE).unwrap();
            put(&engine.rig, HIGH, at, 0x1_0000).unwrap();
            assert!(engine.reads(HIGH, 0));
            assert_eq!(remove(&engine.rig, HIGH), Ok(0));
            assert!(!engine.reads(HIGH, 0) && engine.reads(0, 0));
        },
    ),
    both(
        &["D56"],
        "a window that is made in its place is empty",
        &[Pseries, Device(HasEngine)],
        |host| {
            let engine = Engine::new(host, SPAPR_TCE_V2_IOMMU, 1);
            create(&engine.rig, 16, GIB, 1).unwrap();
            put(&engine.rig, HIGH, engine.memory.at(), 0x1_0000).unwrap();
            remove(&engine.rig, HIGH).unwrap();
            create(&engine.rig, 16, GIB, 1).unwrap();
            assert!(!engine.reads(HIGH, 0));
        },
    ),
    both(
        &["H6"],
        "REMOVE takes any address inside a window",
        &[Spapr],
        |host| {
            let (rig, memory) = v2(host, 1);
            for inside in [HIGH + 5, HIGH + GIB - 1] {
                create(&rig, 16, GIB, 1).unwrap();
                assert_eq!(remove(&rig, inside), Ok(0));
                assert_eq!(rig.map(HIGH, &memory), Err(Errno::NXIO));
            }
        },
    ),
    both(
        &["H6"],
        "REMOVE takes any address inside the default window, once it is made",
        &[Spapr],
        |host| {
            let (rig, memory) = v2(host, 1);
            rig.map(0, &memory).unwrap();
            assert_eq!(remove(&rig, default_window(host).0 - 1), Ok(0));
            assert_eq!(rig.map(0, &memory), Err(Errno::NXIO));
        },
    ),
];
