//! C37, D57: several groups in one container.

use std::os::fd::OwnedFd;

use vfio_core::kernel::Errno;
use vfio_core::uapi::{SPAPR_TCE_IOMMU, SPAPR_TCE_V2_IOMMU};

use super::calls::{HIGH, TCE, create, default_window, put, register, remove, v1, v2};
use super::engine::Engine;
use crate::conformance::clause::Needs::{Device, Powernv, Pseries, Spapr, TwoGroups};
use crate::conformance::clause::{Clause, Trait, both};
use crate::conformance::host::Host;
use crate::conformance::memory::Memory;
use crate::conformance::raw::{join, leave, set_iommu, status};
use crate::conformance::rig::Rig;

const GIB: u64 = 1 << 30;
/// Of a group that can be used.
const VIABLE: u32 = 1;

pub(super) const CLAUSES: &[Clause] = &[
    both(
        &["C37"],
        "version 1 takes one group, the second is EBUSY and stays outside",
        &[Spapr, TwoGroups],
        |host| {
            let rig = v1(host);
            let second = host.group(1);
            assert_eq!(
                join(rig.kernel(), &second, &rig.container),
                Err(Errno::BUSY)
            );
            assert_eq!(status(rig.kernel(), &second), Ok(VIABLE));
        },
    ),
    both(
        &["C37", "A5"],
        "version 1 is EBUSY for a container of two groups, version 2 is not",
        &[Spapr, TwoGroups],
        |host| {
            let kernel = &**host.kernel();
            let (container, groups) = (host.container(), [host.group(0), host.group(1)]);
            for group in &groups {
                join(kernel, group, &container).unwrap();
            }
            assert_eq!(
                set_iommu(kernel, &container, SPAPR_TCE_IOMMU),
                Err(Errno::BUSY)
            );
            assert_eq!(set_iommu(kernel, &container, SPAPR_TCE_V2_IOMMU), Ok(0));
        },
    ),
    both(
        &["C37"],
        "version 2 takes a second group",
        &[Spapr, TwoGroups],
        |host| {
            let (_rig, _second) = two(host);
        },
    ),
    both(
        &["D57"],
        "pseries: with a window, a second group is EPERM and stays outside",
        &[Pseries, TwoGroups],
        |host| {
            for default in [true, false] {
                let (rig, memory) = v2(host, 1);
                let window = match default {
                    true => 0,
                    false => {
                        remove(&rig, 0).unwrap();
                        create(&rig, 16, GIB, 1).unwrap()
                    }
                };
                rig.map(window, &memory).unwrap();
                let second = host.group(1);
                assert_eq!(
                    join(rig.kernel(), &second, &rig.container),
                    Err(Errno::PERM)
                );
                assert_eq!(status(rig.kernel(), &second), Ok(VIABLE));
                assert_eq!(
                    rig.map(window, &memory),
                    Ok(0),
                    "the first has its window still"
                );
            }
        },
    ),
    both(
        &["D57"],
        "pseries: a group that was refused can join another container",
        &[Pseries, TwoGroups],
        |host| {
            let (rig, memory) = v2(host, 1);
            rig.map(0, &memory).unwrap();
            let second = host.group(1);
            assert_eq!(
                join(rig.kernel(), &second, &rig.container),
                Err(Errno::PERM)
            );
            drop(second);
            let other = Rig::new(host.kernel(), host.group_id(1), SPAPR_TCE_V2_IOMMU);
            assert_eq!(create(&other, 16, GIB, 1), Ok(HIGH));
        },
    ),
    both(
        &["D57", "C43"],
        "pseries: for two groups no default window is made, MAP and UNMAP are EPERM",
        &[Pseries, TwoGroups],
        |host| {
            let (rig, second) = two(host);
            let memory = host.memory(1);
            register(&rig, memory.at(), memory.len()).unwrap();
            let before = host.locked();
            assert_eq!(rig.map(0, &memory), Err(Errno::PERM));
            assert_eq!(rig.unmap(0, TCE).0, Err(Errno::PERM));
            assert_eq!(host.locked(), before);
            leave(rig.kernel(), &second).unwrap();
            assert_eq!(rig.map(0, &memory), Ok(0), "for one it is");
        },
    ),
    both(
        &["D57", "D54"],
        "pseries: for two groups no window is made, CREATE is EPERM and costs nothing",
        &[Pseries, TwoGroups],
        |host| {
            let (rig, second) = two(host);
            remove(&rig, 0).unwrap();
            let before = host.locked();
            assert_eq!(create(&rig, 16, GIB, 1), Err(Errno::PERM));
            assert_eq!(create(&rig, 12, 1 << 28, 1), Err(Errno::PERM));
            assert_eq!(host.locked(), before);
            leave(rig.kernel(), &second).unwrap();
            assert_eq!(create(&rig, 16, GIB, 1), Ok(HIGH), "for one it is");
        },
    ),
    both(
        &["D57"],
        "powernv: a second group takes the windows that there are, at no cost",
        &[Powernv, TwoGroups],
        |host| {
            let (rig, memory) = v2(host, 1);
            rig.map(0, &memory).unwrap();
            create(&rig, 16, GIB, 1).unwrap();
            let before = host.locked();
            let second = host.group(1);
            assert_eq!(join(rig.kernel(), &second, &rig.container), Ok(0));
            assert_eq!(host.locked(), before);
            assert_eq!(rig.map(HIGH, &memory), Ok(0));
        },
    ),
    both(
        &["D57", "D54"],
        "powernv: windows of two groups are made and accounted once",
        &[Powernv, TwoGroups],
        |host| {
            let (rig, _second) = two(host);
            let before = host.locked();
            assert_eq!(create(&rig, 16, 8 * GIB, 1), Ok(HIGH));
            assert_eq!(host.locked() - before, default_window(host).1 + (2 << 20));
            assert_eq!(remove(&rig, HIGH), Ok(0));
            assert_eq!(host.locked() - before, default_window(host).1);
        },
    ),
    both(
        &["D57", "A7"],
        "powernv: the windows stay when the first group leaves",
        &[Powernv, TwoGroups],
        |host| {
            let (rig, _second) = two(host);
            let memory = host.memory(1);
            register(&rig, memory.at(), memory.len()).unwrap();
            rig.map(0, &memory).unwrap();
            let before = host.locked();
            leave(rig.kernel(), &rig.group).unwrap();
            assert_eq!(host.locked(), before);
            assert_eq!(rig.map(0, &memory), Ok(0));
        },
    ),
    both(
        &["D57"],
        "powernv: a device of a second group reaches what was mapped before it came",
        &[Powernv, TwoGroups, Device(Trait::Engine)],
        |host| {
            let (engine, _first) = joined(host);
            assert!(engine.reads(0, 0));
        },
    ),
    both(
        &["D57b"],
        "powernv: a group that leaves takes along what the others reach, and they can map again",
        &[Powernv, TwoGroups, Device(Trait::Engine)],
        |host| {
            let (engine, first) = joined(host);
            assert!(engine.reads(0, 0));
            let before = host.locked();
            leave(engine.rig.kernel(), &first).unwrap();
            assert_eq!(host.locked(), before, "the windows stay");
            assert!(!engine.reads(0, 0));
            fill(&engine.rig, &engine.memory);
            assert!(engine.reads(0, 0));
        },
    ),
];

/// The engine, whose group has joined one that had windows and mappings already; and that one.
fn joined(host: &Host) -> (Engine, OwnedFd) {
    let memory = host.memory(2);
    let (rig, first) = host.joined_by_the_engine(SPAPR_TCE_V2_IOMMU, |rig| {
        register(rig, memory.at(), memory.len()).unwrap();
        create(rig, 16, GIB, 1).unwrap();
        fill(rig, &memory);
    });
    (Engine::inside(host, rig, memory, HIGH), first)
}

/// Maps a part of the memory's first page in one window, and its last page in the other.
fn fill(rig: &Rig, memory: &Memory) {
    put(rig, 0, memory.at(), TCE).unwrap();
    put(rig, HIGH, memory.at() + 0x1_0000, 0x1_0000).unwrap();
}

/// A container of two groups, without a window.
fn two(host: &Host) -> (Rig, OwnedFd) {
    let rig = host.rig_of(SPAPR_TCE_V2_IOMMU);
    let second = host.group(1);
    assert_eq!(join(rig.kernel(), &second, &rig.container), Ok(0));
    (rig, second)
}
