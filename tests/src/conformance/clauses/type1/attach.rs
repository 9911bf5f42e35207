//! B19, H7: groups that join.

use vfio_core::kernel::Errno;
use vfio_core::uapi::{DMA_MAP_FLAG_VADDR, DMA_UNMAP_FLAG_VADDR, TYPE1_IOMMU, TYPE1V2_IOMMU};

use super::reach::Engine;
use super::{entries_left, put, take};
use crate::conformance::clause::Needs::{Device, NoRemapping, TwoGroups, Type1};
use crate::conformance::clause::{Clause, Trait, both};
use crate::conformance::host::Host;
use crate::conformance::raw::{join, leave, map, set_iommu};
use crate::conformance::rig::Rig;

const ENGINE: crate::conformance::clause::Needs = Device(Trait::Engine);

pub(super) const CLAUSES: &[Clause] = &[
    both(
        &["B19", "H7"],
        "no group joins while an address is forgotten",
        &[Type1, TwoGroups],
        |host| {
            let (rig, memory) = (host.rig(), host.memory(1));
            rig.map(0, &memory).unwrap();
            take(&rig, (0, memory.len()), DMA_UNMAP_FLAG_VADDR)
                .0
                .unwrap();
            let second = host.group(1);
            assert_eq!(
                join(rig.kernel(), &second, &rig.container),
                Err(Errno::BUSY)
            );
        },
    ),
    both(
        &["B19", "H7"],
        "one forgotten address of many is enough",
        &[Type1, TwoGroups],
        |host| {
            let (rig, memory) = (host.rig(), host.memory(1));
            for n in 0..3 {
                rig.map(n * host.page(), &memory).unwrap();
            }
            take(&rig, (host.page(), host.page()), DMA_UNMAP_FLAG_VADDR)
                .0
                .unwrap();
            let second = host.group(1);
            assert_eq!(
                join(rig.kernel(), &second, &rig.container),
                Err(Errno::BUSY)
            );
        },
    ),
    both(
        &["B19", "H7"],
        "a group joins once the address is given anew",
        &[Type1, TwoGroups],
        |host| {
            let (rig, memory) = (host.rig(), host.memory(1));
            rig.map(0, &memory).unwrap();
            take(&rig, (0, memory.len()), DMA_UNMAP_FLAG_VADDR)
                .0
                .unwrap();
            let range = (0, memory.at(), memory.len());
            map(rig.kernel(), &rig.container, range, DMA_MAP_FLAG_VADDR).unwrap();
            let second = host.group(1);
            assert_eq!(join(rig.kernel(), &second, &rig.container), Ok(0));
        },
    ),
    both(
        &["B19", "H7"],
        "a group joins once the mapping without address is gone",
        &[Type1, TwoGroups],
        |host| {
            let (rig, memory) = (host.rig(), host.memory(1));
            rig.map(0, &memory).unwrap();
            take(&rig, (0, memory.len()), DMA_UNMAP_FLAG_VADDR)
                .0
                .unwrap();
            assert_eq!(rig.unmap(0, memory.len()), (Ok(0), memory.len()));
            let second = host.group(1);
            assert_eq!(join(rig.kernel(), &second, &rig.container), Ok(0));
        },
    ),
    both(
        &["B19", "H7"],
        "a group that could not join can join another container",
        &[Type1, TwoGroups],
        |host| {
            let (rig, memory) = (host.rig(), host.memory(1));
            rig.map(0, &memory).unwrap();
            take(&rig, (0, memory.len()), DMA_UNMAP_FLAG_VADDR)
                .0
                .unwrap();
            let (second, other) = (host.group(1), host.container());
            join(rig.kernel(), &second, &rig.container).unwrap_err();
            assert_eq!(
                leave(rig.kernel(), &second),
                Err(Errno::INVAL),
                "it is in none"
            );
            assert_eq!(join(rig.kernel(), &second, &other), Ok(0));
        },
    ),
    both(
        &["B19"],
        "where interrupts are not remapped no group is attached, in either version",
        &[NoRemapping],
        |host| {
            with_unsafe_interrupts(host, false, |host| {
                for version in [TYPE1_IOMMU, TYPE1V2_IOMMU] {
                    let (container, group) = (host.container(), host.group(0));
                    join(&**host.kernel(), &group, &container).unwrap();
                    let answer = set_iommu(&**host.kernel(), &container, version);
                    assert_eq!(answer, Err(Errno::PERM));
                }
            });
        },
    ),
    both(
        &["B19"],
        "unless the module allows it",
        &[NoRemapping],
        |host| {
            with_unsafe_interrupts(host, true, |host| {
                let (rig, memory) = (host.rig(), host.memory(1));
                assert_eq!(rig.map(0, &memory), Ok(0));
            });
        },
    ),
    both(
        &["B19"],
        "a group that is there already is refused",
        &[Type1],
        |host| {
            let rig = host.rig();
            let again = join(rig.kernel(), &rig.group, &rig.container);
            assert_eq!(again, Err(Errno::INVAL));
        },
    ),
    both(
        &["B19"],
        "what was mapped before is reached by the newcomer",
        &[Type1, TwoGroups, ENGINE],
        |host| {
            let memory = host.memory(1);
            let (rig, _first) = host.joined_by_the_engine(TYPE1V2_IOMMU, |rig| {
                rig.map(0, &memory).unwrap();
            });
            let engine = Engine::inside(rig, host);
            assert!(engine.reaches(0, &memory, 0));
        },
    ),
    both(
        &["B19"],
        "what is mapped later is reached by every group",
        &[Type1, TwoGroups, ENGINE],
        |host| {
            let memory = host.memory(1);
            let (rig, _first) = host.joined_by_the_engine(TYPE1V2_IOMMU, |_| ());
            let engine = Engine::inside(rig, host);
            engine.rig.map(0, &memory).unwrap();
            assert!(engine.reaches(0, &memory, 0));
        },
    ),
    both(
        &["B19"],
        "what was unmapped before is not reached by the newcomer",
        &[Type1, TwoGroups, ENGINE],
        |host| {
            let memory = host.memory(1);
            let (rig, _first) = host.joined_by_the_engine(TYPE1V2_IOMMU, |rig| {
                rig.map(0, &memory).unwrap();
                rig.unmap(0, memory.len()).0.unwrap();
            });
            let engine = Engine::inside(rig, host);
            assert!(!engine.reaches(0, &memory, 0));
        },
    ),
    both(
        &["B19", "B27"],
        "a mapping is accounted and counted once for all groups",
        &[Type1, TwoGroups],
        |host| {
            let (rig, memory) = (host.rig(), host.memory(4));
            rig.map(0, &memory).unwrap();
            let before = (host.locked(), entries_left(&rig));
            let second = host.group(1);
            join(rig.kernel(), &second, &rig.container).unwrap();
            assert_eq!((host.locked(), entries_left(&rig)), before);
        },
    ),
    both(
        &["B19"],
        "a group joins although nothing more may be locked",
        &[Type1, TwoGroups],
        |host| {
            let (rig, memory) = (host.rig(), host.memory(4));
            rig.map(0, &memory).unwrap();
            let _limit = host.limit(0);
            let second = host.group(1);
            assert_eq!(join(rig.kernel(), &second, &rig.container), Ok(0));
        },
    ),
    both(
        &["B19"],
        "what the groups map together they cannot map twice",
        &[Type1, TwoGroups],
        |host| {
            let (rig, memory) = (host.rig(), host.memory(1));
            rig.map(0, &memory).unwrap();
            let second = host.group(1);
            join(rig.kernel(), &second, &rig.container).unwrap();
            assert_eq!(put(&rig, 0, &memory, host.page()), Err(Errno::EXIST));
        },
    ),
    both(
        &["B19", "A7"],
        "a mapping of two containers is two mappings",
        &[Type1, TwoGroups, ENGINE],
        |host| {
            let memory = host.memory(1);
            let engine = Engine::new(host);
            let (_, other) = host.engine_and_another();
            let other = Rig::new(host.kernel(), other, TYPE1V2_IOMMU);
            other.map(0, &memory).unwrap();
            assert!(!engine.reaches(0, &memory, 0));
            engine.rig.map(0, &memory).unwrap();
            assert!(engine.reaches(0, &memory, 0));
        },
    ),
];

/// While the module allows interrupts that are not remapped, or does not.
fn with_unsafe_interrupts(host: &Host, allowed: bool, ask: impl FnOnce(&Host)) {
    host.with_parameter(
        ("allow_unsafe_interrupts", if allowed { "Y" } else { "N" }),
        |type1| type1.allows_unsafe_interrupts = allowed,
        ask,
    );
}
