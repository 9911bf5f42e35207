//! A1 to A9.

use vfio_core::CONTAINER_NODE;
use vfio_core::kernel::{Arg, Errno, Kernel};
use vfio_core::uapi::{self, SPAPR_TCE_IOMMU, SPAPR_TCE_V2_IOMMU, TYPE1_IOMMU, TYPE1V2_IOMMU};
use vfio_sim::machine::IommuDriver;
use vfio_sim::{Machine, Object, SimKernel};

use crate::door::{
    extension, ioctl, join, joined, leave, open_container, open_device, open_group, set_iommu,
};

/// Two type1 drivers that refuse version 1, the first with EPERM, the second with EBUSY, and sPAPR.
fn several_drivers() -> Machine {
    let of = |machine: Machine| machine.iommus.into_iter().next().unwrap();
    let refusing = |errno| IommuDriver {
        refuses: vec![(TYPE1_IOMMU, errno)],
        ..of(Machine::x86_64())
    };
    Machine {
        iommus: vec![
            refusing(Errno::PERM),
            refusing(Errno::BUSY),
            of(Machine::pseries()),
        ],
        ..Machine::pseries()
    }
}

#[test]
fn a1_every_open_is_a_new_container() {
    let sim = SimKernel::new(Machine::pseries());
    let _both = (open_container(&sim), open_container(&sim));
    assert_eq!(
        sim.open_objects(),
        [Object::Container(0), Object::Container(1)]
    );
}

#[test]
fn a_host_without_vfio_has_no_node() {
    let sim = SimKernel::new(Machine {
        container_node: Err(Errno::NOENT),
        ..Machine::pseries()
    });
    assert_eq!(sim.open(CONTAINER_NODE.as_ref()).unwrap_err(), Errno::NOENT);
    assert!(sim.is_idle());
}

#[test]
fn a2_a3_version_and_extensions() {
    let sim = SimKernel::new(Machine::powernv9());
    let container = open_container(&sim);
    assert_eq!(
        ioctl(&sim, &container, uapi::GET_API_VERSION, Arg::None),
        Ok(0)
    );
    let advertised: Vec<_> = (0..12)
        .filter(|n| extension(&sim, &container, *n) > 0)
        .collect();
    assert_eq!(advertised, [SPAPR_TCE_IOMMU, 5, SPAPR_TCE_V2_IOMMU]);
}

#[test]
fn a4_once_set_only_the_chosen_driver_is_asked() {
    let sim = SimKernel::new(several_drivers());
    let (container, _group) = joined(&sim);
    let both = || [TYPE1V2_IOMMU, SPAPR_TCE_IOMMU].map(|n| extension(&sim, &container, n));
    assert_eq!(both(), [1, 1]);
    set_iommu(&sim, &container, SPAPR_TCE_IOMMU).unwrap();
    assert_eq!(both(), [0, 1]);
}

#[test]
fn a5_set_iommu() {
    let sim = SimKernel::new(several_drivers());
    let container = open_container(&sim);
    let set = |iommu| set_iommu(&sim, &container, iommu);
    assert_eq!(set(SPAPR_TCE_IOMMU), Err(Errno::INVAL), "no group");
    let group = open_group(&sim, 0).unwrap();
    join(&sim, &group, &container).unwrap();
    assert_eq!(set(22), Err(Errno::NODEV), "not advertised");
    assert_eq!(set(TYPE1_IOMMU), Err(Errno::BUSY), "the last driver's");
    assert_eq!(set(SPAPR_TCE_IOMMU), Ok(0));
    assert_eq!(set(SPAPR_TCE_IOMMU), Err(Errno::INVAL), "twice");
}

#[test]
fn a5_a_refusal_that_the_machine_describes() {
    let sim = SimKernel::new(Machine::pseries().refuse(SPAPR_TCE_V2_IOMMU, Errno::INVAL));
    let (container, _group) = joined(&sim);
    assert_eq!(extension(&sim, &container, SPAPR_TCE_V2_IOMMU), 1);
    assert_eq!(
        set_iommu(&sim, &container, SPAPR_TCE_V2_IOMMU),
        Err(Errno::INVAL)
    );
    assert_eq!(
        set_iommu(&sim, &container, SPAPR_TCE_IOMMU),
        Ok(0),
        "it is still unset"
    );
}

#[test]
fn a6_other_calls() {
    let sim = SimKernel::new(Machine::pseries());
    let (container, _group) = joined(&sim);
    let other = || ioctl(&sim, &container, uapi::vfio(90), Arg::None);
    assert_eq!(other(), Err(Errno::INVAL));
    set_iommu(&sim, &container, SPAPR_TCE_IOMMU).unwrap();
    assert_eq!(other(), Err(Errno::NOTTY));
}

#[test]
fn a7_the_iommu_goes_with_the_last_group() {
    let sim = SimKernel::new(Machine::powernv9());
    let (container, first) = joined(&sim);
    let second = open_group(&sim, 1).unwrap();
    set_iommu(&sim, &container, SPAPR_TCE_V2_IOMMU).unwrap();
    join(&sim, &second, &container).unwrap(); // A9
    leave(&sim, &first).unwrap();
    assert_eq!(
        set_iommu(&sim, &container, SPAPR_TCE_V2_IOMMU),
        Err(Errno::INVAL),
        "still set"
    );
    leave(&sim, &second).unwrap();
    join(&sim, &first, &container).unwrap();
    assert_eq!(set_iommu(&sim, &container, SPAPR_TCE_V2_IOMMU), Ok(0));
}

#[test]
fn a9_an_iommu_may_refuse_another_group() {
    let sim = SimKernel::new(Machine::powernv9());
    let (container, _first) = joined(&sim);
    let second = open_group(&sim, 1).unwrap();
    set_iommu(&sim, &container, SPAPR_TCE_IOMMU).unwrap();
    assert_eq!(
        join(&sim, &second, &container),
        Err(Errno::BUSY),
        "v1 takes one (C37)"
    );
}

#[test]
fn a8_a_group_keeps_its_container_alive() {
    let sim = SimKernel::new(Machine::pseries());
    let (container, group) = joined(&sim);
    set_iommu(&sim, &container, SPAPR_TCE_IOMMU).unwrap();
    drop(container);
    assert_eq!(sim.open_objects(), [Object::Group(0), Object::Container(0)]);
    open_device(&sim, &group, c"0000:00:00.0").unwrap();
    drop(group);
    assert!(sim.is_idle());
}
