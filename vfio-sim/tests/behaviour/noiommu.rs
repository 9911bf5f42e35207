//! A3, A10, A12, A14: groups without an IOMMU.

use std::path::Path;

use vfio_core::kernel::{Arg, Errno, Kernel};
use vfio_core::uapi::{self, NOIOMMU_IOMMU, TYPE1_IOMMU, TYPE1V2_IOMMU};
use vfio_sim::machine::{Group, IommuDriver};
use vfio_sim::{Machine, Rights, SimKernel, Why};

use crate::door::{
    extension, ioctl, join, map, open_container, open_device, open_group, set_iommu,
};
use crate::memory::Memory;
use crate::probe;
use crate::rig::Open;

const NODE: &str = "/dev/vfio/noiommu-0";
const NAME: &std::ffi::CStr = c"0000:00:04.0";
const USER: Rights = Rights {
    raw_io: false,
    ..Rights::ROOT
};

/// A group with an IOMMU and one without.
fn mixed() -> Machine {
    let mut machine = Machine::x86_64();
    machine
        .iommus
        .extend::<Vec<IommuDriver>>(Machine::noiommu().iommus);
    machine
        .groups
        .push(Group::new(0, [probe::device("0000:00:09.0")]).without_iommu());
    machine
}

#[test]
fn a12_the_node_has_another_name() {
    let sim = SimKernel::new(Machine::noiommu());
    assert_eq!(open_group(&sim, 0).err(), Some(Errno::NOENT));
    let group = sim.open(Path::new(NODE)).unwrap();
    assert_eq!(sim.open(Path::new(NODE)).err(), Some(Errno::BUSY));
    drop(group);
    sim.set_rights(USER);
    assert_eq!(
        sim.open(Path::new(NODE)).err(),
        Some(Errno::PERM),
        "CAP_SYS_RAWIO"
    );
}

#[test]
fn a3_only_its_own_driver_is_asked() {
    let sim = SimKernel::new(mixed());
    let container = open_container(&sim);
    let advertised = || [TYPE1_IOMMU, NOIOMMU_IOMMU].map(|it| extension(&sim, &container, it));
    assert_eq!(advertised(), [1, 1], "without a group, both");
    let group = sim.open(Path::new(NODE)).unwrap();
    join(&sim, &group, &container).unwrap();
    assert_eq!(advertised(), [0, 1]);
    assert_eq!(
        set_iommu(&sim, &container, TYPE1V2_IOMMU),
        Err(Errno::NODEV)
    );
    assert_eq!(set_iommu(&sim, &container, NOIOMMU_IOMMU), Ok(0));
}

#[test]
fn a10_the_two_kinds_do_not_mix() {
    let sim = SimKernel::new(mixed());
    let container = open_container(&sim);
    let without = sim.open(Path::new(NODE)).unwrap();
    let with = open_group(&sim, 2).unwrap();
    join(&sim, &without, &container).unwrap();
    assert_eq!(join(&sim, &with, &container), Err(Errno::PERM));
    let other = open_container(&sim);
    join(&sim, &with, &other).unwrap();
    assert_eq!(extension(&sim, &other, NOIOMMU_IOMMU), 0);
    assert_eq!(set_iommu(&sim, &other, NOIOMMU_IOMMU), Err(Errno::NODEV));
}

#[test]
fn every_step_wants_the_capability() {
    let sim = SimKernel::new(Machine::noiommu());
    let user = sim.process(USER);
    let container = open_container(&sim);
    let group = sim.open(Path::new(NODE)).unwrap();
    assert_eq!(join(&user, &group, &container), Err(Errno::PERM));
    join(&sim, &group, &container).unwrap();
    assert_eq!(
        set_iommu(&user, &container, NOIOMMU_IOMMU),
        Err(Errno::PERM)
    );
    set_iommu(&sim, &container, NOIOMMU_IOMMU).unwrap();
    assert_eq!(open_device(&user, &group, NAME).err(), Some(Errno::PERM));
    assert!(open_device(&sim, &group, NAME).is_ok());
}

#[test]
fn a6_nothing_is_mapped_and_nothing_is_reached() {
    let machine = Machine::noiommu().with_devices([probe::device(probe::NAME)]);
    let sim = SimKernel::new(machine);
    let container = open_container(&sim);
    let group = sim.open(Path::new(NODE)).unwrap();
    join(&sim, &group, &container).unwrap();
    set_iommu(&sim, &container, NOIOMMU_IOMMU).unwrap();
    let memory = Memory::new(&sim, 1);
    let range = (0, memory.at(), memory.len());
    assert_eq!(map(&sim, &container, range, 3), Err(Errno::NOTTY));
    let info = ioctl(&sim, &container, uapi::IOMMU_GET_INFO, Arg::None);
    assert_eq!(info, Err(Errno::NOTTY));
    let device = Open {
        device: open_device(&sim, &group, NAME).unwrap(),
        sim: sim.clone(),
    };
    device.master(true);
    assert!(
        !device.dma_write(memory.at(), &[1]),
        "physical addresses are nobody's here"
    );
    assert_eq!(sim.take_faults()[0].why, Why::Blocked);
}
