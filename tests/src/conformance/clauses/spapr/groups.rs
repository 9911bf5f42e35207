//! C37, D57: several groups in one container.

use vfio_core::kernel::Errno;
use vfio_core::uapi::{SPAPR_TCE_IOMMU, SPAPR_TCE_V2_IOMMU};

use super::calls::{HIGH, VERSIONS, create, default_window, put, ready, remove, v2};
use super::engine::Engine;
use crate::conformance::clause::Needs::{Device, Powernv, Pseries, Spapr, TwoGroups};
use crate::conformance::clause::{Clause, Trait::Engine as HasEngine, both};
use crate::conformance::host::Host;
use crate::conformance::raw::{join, leave, set_iommu, status};

const GIB: u64 = 1 << 30;

pub(super) const CLAUSES: &[Clause] = &[both(&["C37"], "EXPLORE", &[Spapr, TwoGroups], |host| {
    let (rig, memory) = v2(host, 1);
    let second = host.group(1);
    eprintln!("join {:?}", join(rig.kernel(), &second, &rig.container));
    let before = host.locked();
    eprintln!("map {:?}", rig.map(0, &memory));
    eprintln!("cost {:x}", host.locked() - before);
    eprintln!("create {:?}", create(&rig, 16, 1 << 30, 1));
    eprintln!("cost {:x}", host.locked() - before);
    eprintln!("remove {:?}", remove(&rig, 0));
    eprintln!("create {:?}", create(&rig, 16, 1 << 30, 1));
    eprintln!("cost {:x}", host.locked() - before);
    drop(second);
    drop(rig);
    let (rig, memory) = v2(host, 1);
    let second = host.group(1);
    eprintln!("map {:?}", rig.map(0, &memory));
    let before = host.locked();
    eprintln!("join {:?}", join(rig.kernel(), &second, &rig.container));
    eprintln!("status {:?}", status(rig.kernel(), &second));
    eprintln!("cost {:x}", host.locked() - before);
    eprintln!("create {:?}", create(&rig, 16, 1 << 30, 1));
    drop(second);
    drop(rig);
    let (rig, memory) = v2(host, 1);
    let second = host.group(1);
    eprintln!("create {:?}", create(&rig, 16, 1 << 30, 1));
    eprintln!("remove {:?}", remove(&rig, 0));
    eprintln!("join {:?}", join(rig.kernel(), &second, &rig.container));
    eprintln!("map {:?}", rig.map(1 << 59, &memory));
    drop(second);
    drop(rig);
    let (rig, memory) = v2(host, 1);
    let second = host.group(1);
    eprintln!("remove {:?}", remove(&rig, 0));
    eprintln!("join {:?}", join(rig.kernel(), &second, &rig.container));
    eprintln!("create {:?}", create(&rig, 16, 1 << 30, 1));
    eprintln!("map {:?}", rig.map(0, &memory));
    eprintln!("map {:?}", rig.map(1 << 59, &memory));
    drop(second);
    drop(rig);
    let rig2 =
        crate::conformance::rig::Rig::new(host.kernel(), host.group_id(1), SPAPR_TCE_V2_IOMMU);
    super::calls::register(&rig2, memory.at(), memory.len()).unwrap();
    eprintln!("second alone: map {:?}", rig2.map(0, &memory));
    eprintln!("create {:?}", create(&rig2, 16, 1 << 30, 1));
})];
