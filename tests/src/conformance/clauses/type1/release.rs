//! B35: what goes with the last group.

use vfio_core::uapi::TYPE1_IOMMU;

use super::reach::Engine;
use super::{entries_left, rig};
use crate::conformance::clause::Needs::{Device, TwoGroups, Type1};
use crate::conformance::clause::{Clause, Trait, both};
use crate::conformance::raw::{join, leave, set_iommu};

pub(super) const CLAUSES: &[Clause] = &[
    both(
        &["B35"],
        "what was accounted is given back when the last group leaves",
        &[Type1],
        |host| {
            for version in [TYPE1_IOMMU, host.iommu()] {
                let (rig, memory) = (host.rig_of(version), host.memory(4));
                rig.map(0, &memory).unwrap();
                rig.map(1 << 24, &memory).unwrap();
                assert_eq!(host.locked(), 2 * memory.len());
                leave(rig.kernel(), &rig.group).unwrap();
                assert_eq!(host.locked(), 0);
            }
        },
    ),
    both(
        &["B35"],
        "it is given back when everything is closed",
        &[Type1],
        |host| {
            let (rig, memory) = rig(host, 4);
            rig.map(0, &memory).unwrap();
            drop(rig);
            assert_eq!(host.locked(), 0);
        },
    ),
    both(
        &["B35"],
        "closing the container alone gives nothing back",
        &[Type1],
        |host| {
            let (rig, memory) = rig(host, 4);
            rig.map(0, &memory).unwrap();
            let crate::conformance::rig::Rig {
                group, container, ..
            } = rig;
            drop(container);
            assert_eq!(host.locked(), memory.len());
            drop(group);
            assert_eq!(host.locked(), 0);
        },
    ),
    both(
        &["B35", "A7"],
        "in the container's next life nothing is mapped",
        &[Type1],
        |host| {
            let (rig, memory) = rig(host, 1);
            rig.map(0, &memory).unwrap();
            leave(rig.kernel(), &rig.group).unwrap();
            join(rig.kernel(), &rig.group, &rig.container).unwrap();
            set_iommu(rig.kernel(), &rig.container, host.iommu()).unwrap();
            assert_eq!(entries_left(&rig), 65535);
            assert_eq!(rig.unmap(0, memory.len()), (Ok(0), 0));
            assert_eq!(rig.map(0, &memory), Ok(0));
        },
    ),
    both(
        &["B35"],
        "a group that is not the last takes nothing with it",
        &[Type1, TwoGroups],
        |host| {
            let (rig, memory) = rig(host, 4);
            rig.map(0, &memory).unwrap();
            let second = host.group(1);
            join(rig.kernel(), &second, &rig.container).unwrap();
            leave(rig.kernel(), &rig.group).unwrap();
            assert_eq!((host.locked(), entries_left(&rig)), (memory.len(), 65534));
            assert_eq!(rig.unmap(0, memory.len()), (Ok(0), memory.len()));
        },
    ),
    both(
        &["B35"],
        "after it has left, the others' devices reach what is mapped",
        &[Type1, TwoGroups, Device(Trait::Engine)],
        |host| {
            let (engine, memory) = (Engine::new(host), host.memory(1));
            let used = Trait::Engine.find(host.machine()).unwrap().0;
            let other = (0..2).find(|n| host.group_id(*n) != used).unwrap();
            let second = host.group(other);
            join(engine.rig.kernel(), &second, &engine.rig.container).unwrap();
            engine.rig.map(0, &memory).unwrap();
            leave(engine.rig.kernel(), &second).unwrap();
            assert!(engine.reaches(0, &memory, 0));
        },
    ),
    both(
        &["B35"],
        "a device that comes back does not reach what it reached before",
        &[Type1, Device(Trait::Engine)],
        |host| {
            let memory = host.memory(1);
            let engine = Engine::new(host);
            engine.rig.map(0, &memory).unwrap();
            assert!(engine.reaches(0, &memory, 0));
            drop(engine);
            let engine = Engine::new(host);
            assert!(!engine.reaches(0, &memory, 0));
        },
    ),
    both(
        &["B35", "B32"],
        "what was forgotten is given back too",
        &[Type1],
        |host| {
            let (rig, memory) = rig(host, 2);
            rig.map(0, &memory).unwrap();
            super::take(
                &rig,
                (0, memory.len()),
                vfio_core::uapi::DMA_UNMAP_FLAG_VADDR,
            )
            .0
            .unwrap();
            leave(rig.kernel(), &rig.group).unwrap();
            assert_eq!(host.locked(), 0);
        },
    ),
];
