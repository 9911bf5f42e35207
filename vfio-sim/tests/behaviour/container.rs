//! Containers that are described by hand, and who is open.

use vfio_core::CONTAINER_NODE;
use vfio_core::kernel::{Errno, Kernel};
use vfio_core::uapi::{SPAPR_TCE_IOMMU, SPAPR_TCE_V2_IOMMU};
use vfio_sim::{Machine, Object, SimKernel};

use crate::door::{extension, joined, open_container, open_device, set_iommu};

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
