//! C45, C46, D52: what MAP does with memory.

use vfio_core::kernel::Errno;
use vfio_core::uapi::{SPAPR_TCE_IOMMU, SPAPR_TCE_V2_IOMMU};

use super::calls::{EINVAL, TCE, VERSIONS, put, ready, register, unregister, v1, v2};
use super::engine::Engine;
use crate::conformance::clause::Needs::{Device, Pseries, Spapr};
use crate::conformance::clause::{Clause, Trait::Engine as HasEngine, both};
use crate::conformance::raw::{READ, map};

pub(super) const CLAUSES: &[Clause] = &[
    both(
        &["C45"],
        "MAP of nothing answers 0, whatever the memory",
        &[Spapr],
        |host| {
            for version in VERSIONS {
                let (rig, memory) = ready(host, version, 1);
                assert_eq!(put(&rig, 0, memory.at(), 0), Ok(0));
                assert_eq!(put(&rig, 0, 0, 0), Ok(0));
            }
        },
    ),
    both(
        &["C45"],
        "MAP of nothing leaves what is there",
        &[Pseries, Device(HasEngine)],
        |host| {
            let engine = Engine::new(host, SPAPR_TCE_IOMMU, 1);
            put(&engine.rig, 0, engine.memory.at(), TCE).unwrap();
            assert_eq!(put(&engine.rig, 0, engine.memory.at() + TCE, 0), Ok(0));
            assert!(engine.reads(0, 0));
        },
    ),
    both(
        &["C45"],
        "MAP over a mapping replaces it",
        &[Spapr, Device(HasEngine)],
        |host| {
            for version in VERSIONS {
                let engine = Engine::new(host, version, 1);
                let at = engine.memory.at();
                put(&engine.rig, 0, at, 3 * TCE).unwrap();
                assert_eq!(put(&engine.rig, TCE, at + 8 * TCE, TCE), Ok(0));
                assert!(engine.reads(0, 0) && engine.reads(2 * TCE, 0x2000));
                assert!(engine.reads(TCE, 0x8000) && !engine.reads(TCE, 0x1000));
            }
        },
    ),
    both(
        &["C45", "D51"],
        "what was replaced is not in use any more",
        &[Spapr],
        |host| {
            let before = host.locked();
            let (rig, memory) = v2(host, 1);
            let other = host.memory(1);
            register(&rig, other.at(), other.len()).unwrap();
            rig.map(0, &memory).unwrap();
            rig.map(0, &other).unwrap();
            let locked = host.locked();
            assert_eq!(unregister(&rig, memory.at(), memory.len()), Ok(0));
            assert_eq!(locked - host.locked(), memory.len());
            drop(rig);
            assert_eq!(host.locked(), before);
        },
    ),
    both(
        &["C45"],
        "one page can be mapped at many places",
        &[Pseries, Device(HasEngine)],
        |host| {
            let engine = Engine::new(host, SPAPR_TCE_V2_IOMMU, 1);
            for n in 0..3 {
                assert_eq!(put(&engine.rig, n * TCE, engine.memory.at(), TCE), Ok(0));
            }
            assert!(engine.reads(0, 0) && engine.reads(2 * TCE, 0));
        },
    ),
    both(
        &["C46"],
        "version 1: memory that is not there is EFAULT",
        &[Spapr],
        |host| {
            assert_eq!(put(&v1(host), 0, 0, TCE), Err(Errno::FAULT));
        },
    ),
    both(
        &["C46"],
        "version 1: memory that cannot be written is EFAULT, whichever right is asked for",
        &[Spapr],
        |host| {
            let (rig, memory) = (v1(host), host.memory(1));
            memory.freeze(0..0x1_0000);
            for flags in [READ, crate::conformance::raw::WRITE] {
                let range = (0, memory.at(), TCE);
                let answer = map(rig.kernel(), &rig.container, range, flags);
                assert_eq!(answer, Err(Errno::FAULT));
            }
        },
    ),
    both(
        &["C46"],
        "version 1: a MAP that fails half way clears what it had set",
        &[Pseries, Device(HasEngine)],
        |host| {
            let engine = Engine::new(host, SPAPR_TCE_IOMMU, 2);
            engine.memory.lose(0x1_0000..0x2_0000);
            let half = engine.memory.at() + 0xe000;
            assert_eq!(put(&engine.rig, 0, half, 4 * TCE), Err(Errno::FAULT));
            assert!(!engine.reads(0, 0xe000) && !engine.reads(TCE, 0xf000));
        },
    ),
    both(
        &["C46"],
        "version 1: it clears also what was there before, and nothing behind the failure",
        &[Spapr, Device(HasEngine)],
        |host| {
            let engine = Engine::new(host, SPAPR_TCE_IOMMU, 2);
            engine.memory.lose(0x1_0000..0x2_0000);
            let at = engine.memory.at();
            put(&engine.rig, 0, at, 4 * TCE).unwrap();
            assert_eq!(put(&engine.rig, 0, at + 0xe000, 4 * TCE), Err(Errno::FAULT));
            let reads = [0, 1, 2, 3]
                .map(|n: u16| engine.reads(u64::from(n) * TCE, usize::from(n) * 0x1000));
            assert_eq!(reads, [false, false, true, true]);
            assert!(!engine.reads(0, 0xe000) && !engine.reads(TCE, 0xf000));
        },
    ),
    both(
        &["C46"],
        "version 1: pages stay pinned when the memory is gone",
        &[Spapr],
        |host| {
            let (rig, memory) = (v1(host), host.memory(1));
            rig.map(0, &memory).unwrap();
            drop(memory);
            assert_eq!(rig.unmap(0, 0x1_0000).0, Ok(0));
        },
    ),
    both(
        &["D52"],
        "version 2: memory that is not registered is EINVAL",
        &[Spapr],
        |host| {
            let (rig, _memory) = v2(host, 1);
            let other = host.memory(1);
            assert_eq!(rig.map(0, &other), EINVAL);
            assert_eq!(put(&rig, 0, 0, TCE), EINVAL, "nor what is not there");
        },
    ),
    both(
        &["D52"],
        "version 2: memory of which a part is not registered is EINVAL",
        &[Spapr],
        |host| {
            let rig = host.rig_of(SPAPR_TCE_V2_IOMMU);
            let memory = host.memory(2);
            register(&rig, memory.at(), host.page()).unwrap();
            assert_eq!(rig.map(0, &memory), EINVAL);
        },
    ),
    both(
        &["D52", "C46"],
        "version 2: a MAP that fails half way clears what it had set, and what was there before",
        &[Spapr, Device(HasEngine)],
        |host| {
            let engine = Engine::new(host, SPAPR_TCE_V2_IOMMU, 1);
            let (at, size) = (engine.memory.at(), engine.memory.len());
            put(&engine.rig, 0, at, 4 * TCE).unwrap();
            // The memory ends with the page of the scratch, behind which nothing is registered.
            assert_eq!(put(&engine.rig, 0, at + size - 2 * TCE, 4 * TCE), EINVAL);
            let reads = [0, 1, 2, 3]
                .map(|n: u16| engine.reads(u64::from(n) * TCE, usize::from(n) * 0x1000));
            assert_eq!(reads, [false, false, true, true]);
            assert!(!engine.reads(0, 0x1_e000) && !engine.reads(TCE, 0x1_f000));
        },
    ),
    both(
        &["D52"],
        "version 2: a MAP may go from one registration to the next",
        &[Spapr],
        |host| {
            let rig = host.rig_of(SPAPR_TCE_V2_IOMMU);
            let memory = host.memory(2);
            for n in 0..2 {
                register(&rig, memory.at() + n * host.page(), host.page()).unwrap();
            }
            assert_eq!(rig.map(0, &memory), Ok(0));
        },
    ),
    both(
        &["D52"],
        "version 2: after UNREGISTER it is EINVAL",
        &[Spapr],
        |host| {
            let (rig, memory) = v2(host, 1);
            unregister(&rig, memory.at(), memory.len()).unwrap();
            assert_eq!(rig.map(0, &memory), EINVAL, "and not EPERM");
        },
    ),
];
