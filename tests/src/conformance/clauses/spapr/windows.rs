//! D54, D55: windows that are made.

use vfio_core::kernel::Errno;
use vfio_core::uapi::{self, SPAPR_TCE_V2_IOMMU, SpaprTceCreate};

use super::calls::{
    EINVAL, HIGH, TCE, VERSIONS, create, create_of, default_window, enable, good_window, plain,
    put, register, remove, v2,
};
use super::engine::Engine;
use crate::conformance::clause::Needs::{Device, Powernv, Pseries, Spapr, SpareGroup};
use crate::conformance::clause::{Clause, Trait::Engine as HasEngine, both};
use crate::conformance::host::Host;
use crate::conformance::rig::Rig;

const GIB: u64 = 1 << 30;

pub(super) const CLAUSES: &[Clause] = &[
    both(
        &["D54"],
        "CREATE of a bad pointer is EFAULT",
        &[Spapr],
        |host| {
            assert_eq!(
                plain(&host.rig(), uapi::SPAPR_TCE_CREATE),
                Err(Errno::FAULT)
            );
        },
    ),
    both(
        &["D54", "C43"],
        "CREATE: argsz below 40 is EINVAL, before the default window is made",
        &[Spapr],
        |host| {
            let (rig, before) = (host.rig(), host.locked());
            let short = SpaprTceCreate {
                argsz: 39,
                ..good_window(16, GIB, 1)
            };
            assert_eq!(create_of(&rig, short), Err(Errno::INVAL));
            assert_eq!(host.locked(), before);
        },
    ),
    both(
        &["D54", "C43"],
        "CREATE: any flag is EINVAL, before the default window is made",
        &[Spapr],
        |host| {
            let (rig, before) = (host.rig(), host.locked());
            for flags in [1, 1 << 31] {
                let flagged = SpaprTceCreate {
                    flags,
                    ..good_window(16, GIB, 1)
                };
                assert_eq!(create_of(&rig, flagged), Err(Errno::INVAL));
            }
            assert_eq!(host.locked(), before);
        },
    ),
    both(
        &["D54"],
        "CREATE: reserved fields are not looked at, nor is a larger argsz",
        &[Spapr],
        |host| {
            let odd = SpaprTceCreate {
                argsz: 100,
                resv1: 7,
                resv2: 7,
                ..good_window(16, GIB, 1)
            };
            assert_eq!(create_of(&host.rig(), odd), Ok(HIGH));
        },
    ),
    both(
        &["D54"],
        "beside the default window, a new one starts at 2^59",
        &[Spapr],
        |host| {
            for shift in [12, 16] {
                assert_eq!(create(&host.rig(), shift, GIB, 1), Ok(HIGH));
            }
        },
    ),
    both(
        &["D54"],
        "with both slots taken CREATE is ENOSPC, before any argument",
        &[Spapr],
        |host| {
            let rig = host.rig();
            assert_eq!(create(&rig, 16, GIB, 1), Ok(HIGH));
            for (shift, size, levels) in [(16, GIB, 1), (3, GIB, 1), (16, 0, 1), (16, GIB, 9)] {
                assert_eq!(create(&rig, shift, size, levels), Err(Errno::NOSPC));
            }
        },
    ),
    both(
        &["D54"],
        "with both slots taken a flag is EINVAL still",
        &[Spapr],
        |host| {
            let rig = host.rig();
            assert_eq!(create(&rig, 16, GIB, 1), Ok(HIGH));
            let flagged = SpaprTceCreate {
                flags: 1,
                ..good_window(16, GIB, 1)
            };
            assert_eq!(create_of(&rig, flagged), Err(Errno::INVAL));
        },
    ),
    both(
        &["D54"],
        "CREATE: a page size that is not offered is EINVAL",
        &[Spapr],
        |host| {
            let (rig, offered) = (host.rig(), host.spapr().unwrap().page_sizes);
            for shift in (0..40).filter(|shift| offered & 1 << shift == 0) {
                assert_eq!(create(&rig, shift, GIB, 1), Err(Errno::INVAL), "{shift}");
            }
        },
    ),
    both(
        &["D54"],
        "CREATE: each page size that is offered can be had",
        &[Spapr],
        |host| {
            let (rig, offered) = (host.rig(), host.spapr().unwrap().page_sizes);
            for shift in (0..40).filter(|shift| offered & 1 << shift != 0) {
                let size = (1 << shift << 13).max(GIB);
                assert_eq!(create(&rig, shift, size, 1), Ok(HIGH), "{shift}");
                assert_eq!(remove(&rig, HIGH), Ok(0));
            }
        },
    ),
    both(
        &["D54"],
        "powernv: 0 levels and more than 5 are EINVAL, and cost nothing",
        &[Powernv],
        |host| {
            let (rig, before) = priced(host);
            for levels in [0, 6, u32::MAX] {
                assert_eq!(create(&rig, 16, GIB, levels), Err(Errno::INVAL), "{levels}");
            }
            assert_eq!(host.locked(), before);
        },
    ),
    both(
        &["D54"],
        "powernv: a size that is no power of two is EINVAL, and costs nothing",
        &[Powernv],
        |host| {
            let (rig, before) = priced(host);
            for size in [0, GIB + 0x1_0000, 3 * GIB] {
                assert_eq!(create(&rig, 16, size, 1), Err(Errno::INVAL), "{size:#x}");
            }
            assert_eq!(host.locked(), before);
        },
    ),
    both(
        &["D54"],
        "powernv: a table of two levels is a window like others",
        &[Powernv, Device(HasEngine)],
        |host| {
            let engine = Engine::new(host, SPAPR_TCE_V2_IOMMU, 1);
            assert_eq!(create(&engine.rig, 16, 8 * GIB, 2), Ok(HIGH));
            let last = HIGH + 8 * GIB - 0x1_0000;
            put(&engine.rig, last, engine.memory.at(), 0x1_0000).unwrap();
            assert!(engine.reads(last + 0x20, 0x20));
        },
    ),
    both(
        &["D54"],
        "pseries: more than one level is EINVAL",
        &[Pseries],
        |host| {
            for levels in [2, 5] {
                assert_eq!(create(&host.rig(), 16, GIB, levels), Err(Errno::INVAL));
            }
        },
    ),
    both(
        &["D54"],
        "pseries: more pages than the firmware says that it has are EINVAL",
        &[Pseries],
        |host| {
            let rig = host.rig();
            assert_eq!(create(&rig, 24, 1 << 62, 1), Err(Errno::INVAL));
            assert_eq!(create(&rig, 16, GIB, 1), Ok(HIGH));
        },
    ),
    both(
        &["C37c", "H5"],
        "pseries: after the firmware has refused a window, the group gets none any more, whoever asks",
        &[Pseries, SpareGroup],
        |host| {
            let group = host.group_id(2);
            let rig = Rig::new(host.kernel(), group, SPAPR_TCE_V2_IOMMU);
            assert_eq!(create(&rig, 16, 1 << 50, 1), Err(Errno::NODEV));
            drop(rig);
            for version in VERSIONS {
                let rig = Rig::new(host.kernel(), group, version);
                let memory = host.memory(1);
                match version {
                    SPAPR_TCE_V2_IOMMU => register(&rig, memory.at(), memory.len()).unwrap(),
                    _ => enable(&rig).unwrap(),
                };
                let before = host.locked();
                assert_eq!(rig.map(0, &memory), Err(Errno::NODEV));
                assert_eq!(rig.unmap(0, TCE).0, Err(Errno::NODEV));
                let lost = 2 * default_window(host).1;
                assert_eq!(host.locked() - before, lost, "accounted for good");
            }
            let rig = Rig::new(host.kernel(), group, SPAPR_TCE_V2_IOMMU);
            assert_eq!(create(&rig, 16, GIB, 1), Err(Errno::NODEV));
        },
    ),
    both(
        &["H5", "D54"],
        "pseries: a window of no levels is one of one level",
        &[Pseries],
        |host| {
            assert_eq!(create(&host.rig(), 16, GIB, 0), Ok(HIGH));
        },
    ),
    both(
        &["D54"],
        "pseries: a second 64-bit window is EPERM",
        &[Pseries],
        |host| {
            let rig = host.rig();
            assert_eq!(create(&rig, 16, GIB, 1), Ok(HIGH));
            assert_eq!(remove(&rig, 0), Ok(0));
            assert_eq!(create(&rig, 16, GIB, 1), Err(Errno::PERM));
        },
    ),
    both(
        &["D54"],
        "powernv: after the default window was removed, a second window starts at 0",
        &[Powernv],
        |host| {
            let rig = host.rig();
            assert_eq!(create(&rig, 16, GIB, 1), Ok(HIGH));
            assert_eq!(remove(&rig, 0), Ok(0));
            assert_eq!(create(&rig, 16, GIB, 1), Ok(0));
        },
    ),
    both(
        &["D54"],
        "a device reaches what is mapped in a new window, from its first page to its last",
        &[Spapr, Device(HasEngine)],
        |host| {
            let engine = Engine::new(host, SPAPR_TCE_V2_IOMMU, 1);
            assert_eq!(create(&engine.rig, 16, GIB, 1), Ok(HIGH));
            let last = HIGH + GIB - 0x1_0000;
            for iova in [HIGH, last] {
                put(&engine.rig, iova, engine.memory.at(), 0x1_0000).unwrap();
            }
            assert!(engine.reads(HIGH, 0) && engine.writes(last + 0xfff0, 0xfff0));
            assert!(!engine.reads(HIGH + 0x1_0000, 0));
        },
    ),
    both(
        &["D54", "C44"],
        "a window has the size that was asked for",
        &[Spapr],
        |host| {
            let (rig, memory) = v2(host, 1);
            assert_eq!(create(&rig, 16, GIB, 1), Ok(HIGH));
            assert_eq!(rig.map(HIGH + GIB - 0x1_0000, &memory), Ok(0));
            assert_eq!(rig.map(HIGH + GIB, &memory), Err(Errno::NXIO));
            assert_eq!(rig.map(HIGH - 0x1_0000, &memory), Err(Errno::NXIO));
        },
    ),
    both(
        &["D54"],
        "both windows can be used at once",
        &[Pseries, Device(HasEngine)],
        |host| {
            let engine = Engine::new(host, SPAPR_TCE_V2_IOMMU, 1);
            create(&engine.rig, 16, GIB, 1).unwrap();
            put(&engine.rig, 0, engine.memory.at() + 0x2000, TCE).unwrap();
            put(&engine.rig, HIGH, engine.memory.at(), 0x1_0000).unwrap();
            assert!(engine.reads(0, 0x2000) && engine.reads(HIGH, 0));
        },
    ),
    both(
        &["D55"],
        "REMOVE forgets a default window that was not made, at no cost, and there is none",
        &[Spapr],
        |host| {
            let (rig, memory) = v2(host, 1);
            let before = host.locked();
            assert_eq!(remove(&rig, 0), Ok(0));
            assert_eq!(rig.map(0, &memory), Err(Errno::NXIO));
            assert_eq!(rig.unmap(0, TCE).0, Err(Errno::NXIO));
            assert_eq!(host.locked(), before);
            assert_eq!(remove(&rig, 0), EINVAL, "twice");
        },
    ),
    both(
        &["D55"],
        "powernv: then a large window starts at 0, and the next at 2^59",
        &[Powernv],
        |host| {
            let rig = host.rig();
            assert_eq!(remove(&rig, 0), Ok(0));
            assert_eq!(create(&rig, 16, 8 * GIB, 1), Ok(0));
            assert_eq!(create(&rig, 16, 8 * GIB, 1), Ok(HIGH));
            assert_eq!(create(&rig, 16, 8 * GIB, 1), Err(Errno::NOSPC));
        },
    ),
    both(
        &["D55"],
        "pseries: then a large window starts at 2^59",
        &[Pseries],
        |host| {
            let rig = host.rig();
            assert_eq!(remove(&rig, 0), Ok(0));
            assert_eq!(create(&rig, 16, 8 * GIB, 1), Ok(HIGH));
        },
    ),
    both(
        &["D55"],
        "powernv: a device reaches a large window at 0",
        &[Powernv, Device(HasEngine)],
        |host| {
            let engine = Engine::unmapped(host, SPAPR_TCE_V2_IOMMU, 1);
            assert_eq!(remove(&engine.rig, 0), Ok(0));
            assert_eq!(create(&engine.rig, 16, 8 * GIB, 1), Ok(0));
            let engine = engine.map_scratch(GIB);
            let far = 8 * GIB - 0x1_0000;
            put(&engine.rig, far, engine.memory.at(), 0x1_0000).unwrap();
            assert!(engine.reads(far, 0));
        },
    ),
    both(
        &["D54b", "D55"],
        "pseries: a small window of 4 KiB pages takes the default one's place",
        &[Pseries],
        |host| {
            let rig = host.rig();
            assert_eq!(remove(&rig, 0), Ok(0));
            assert_eq!(create(&rig, 12, 1 << 28, 1), Ok(0));
            let memory = host.memory(1);
            register(&rig, memory.at(), memory.len()).unwrap();
            assert_eq!(rig.map((1 << 28) - 0x1_0000, &memory), Ok(0));
        },
    ),
    both(
        &["D54b", "D55"],
        "pseries: a larger window of 4 KiB pages does not",
        &[Pseries],
        |host| {
            let rig = host.rig();
            assert_eq!(remove(&rig, 0), Ok(0));
            assert_eq!(create(&rig, 12, 2 * GIB, 1), Ok(HIGH));
        },
    ),
];

/// A container in which the default window is made, and what is accounted then.
fn priced(host: &Host) -> (crate::conformance::rig::Rig, u64) {
    let rig = host.rig();
    create(&rig, 16, GIB, 1).unwrap();
    remove(&rig, HIGH).unwrap();
    let locked = host.locked();
    (rig, locked)
}
