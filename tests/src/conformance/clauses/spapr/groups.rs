//! C37, D57: several groups in one container.

use vfio_core::kernel::Errno;
use vfio_core::uapi::{SPAPR_TCE_IOMMU, SPAPR_TCE_V2_IOMMU};

use super::calls::{HIGH, TCE, create, default_window, put, register, remove, v1, v2};
use super::engine::LEN;
use crate::conformance::clause::Needs::{Device, Powernv, Pseries, Spapr, TwoGroups};
use crate::conformance::clause::{Clause, Trait, both};
use crate::conformance::host::Host;
use crate::conformance::memory::{Memory, random};
use crate::conformance::raw::{join, leave, set_iommu, status};
use crate::conformance::rig::{Open, Rig};

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
            let joined = Joined::new(host);
            assert!(joined.arrives());
        },
    ),
    both(
        &["D57b"],
        "powernv: a group that leaves takes along what the others reach, and they can map again",
        &[Powernv, TwoGroups, Device(Trait::Engine)],
        |host| {
            let joined = Joined::new(host);
            assert!(joined.arrives());
            let before = host.locked();
            leave(joined.rig.kernel(), &joined.rig.group).unwrap();
            assert_eq!(host.locked(), before, "the windows stay");
            assert!(!joined.arrives());
            fill(&joined.rig, &joined.memory);
            assert!(joined.arrives());
        },
    ),
];

/// A group that has windows, and a device that copies, whose group has joined it since.
struct Joined {
    device: Open,
    /// Its group stays in the container until this goes.
    _engines: Rig,
    rig: Rig,
    memory: Memory,
}

impl Joined {
    fn new(host: &Host) -> Self {
        let (its, engine) = Trait::Engine.find(host.machine()).unwrap();
        let mut others = host.machine().groups.iter().map(|group| group.id);
        let first = others.find(|id| *id != its).unwrap();
        let rig = Rig::new(host.kernel(), first, SPAPR_TCE_V2_IOMMU);
        let memory = host.memory(1);
        register(&rig, memory.at(), memory.len()).unwrap();
        create(&rig, 16, GIB, 1).unwrap();
        fill(&rig, &memory);
        let group = host.kernel().open(&vfio_core::group_node(its)).unwrap();
        join(rig.kernel(), &group, &rig.container).unwrap();
        let engines = Rig::from(host.kernel(), group, rig.container.try_clone().unwrap());
        let device = engines.open(&engine.bdf);
        device.master(true);
        Self {
            device,
            _engines: engines,
            rig,
            memory,
        }
    }

    /// Whether the device copies from one window to the other.
    fn arrives(&self) -> bool {
        let bytes = random(LEN);
        self.memory.put(0, &bytes);
        self.device.copy(0, HIGH + 0x8000, LEN as u64);
        self.memory.get(0x8000..0x8000 + LEN) == bytes
    }
}

/// Maps a part of the memory in one window, and all of it in the other.
fn fill(rig: &Rig, memory: &Memory) {
    put(rig, 0, memory.at(), TCE).unwrap();
    put(rig, HIGH, memory.at(), 0x1_0000).unwrap();
}

/// A container of two groups, without a window.
fn two(host: &Host) -> (Rig, std::os::fd::OwnedFd) {
    let rig = host.rig_of(SPAPR_TCE_V2_IOMMU);
    let second = host.group(1);
    assert_eq!(join(rig.kernel(), &second, &rig.container), Ok(0));
    (rig, second)
}
