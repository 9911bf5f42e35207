//! The lab's machines.

use vfio_core::host;
use vfio_core::kernel::{Errno, Kernel};
use vfio_core::uapi::{SPAPR_TCE_IOMMU, SPAPR_TCE_V2_IOMMU, TYPE1_IOMMU, TYPE1V2_IOMMU};
use vfio_sim::{Machine, SimKernel};

use crate::door::{extension, join, open_container, open_group, set_iommu};

/// The machines, with their architecture and the types that can be set.
fn machines() -> [(Machine, &'static str, [u32; 2]); 4] {
    const TYPE1: [u32; 2] = [TYPE1_IOMMU, TYPE1V2_IOMMU];
    const SPAPR: [u32; 2] = [SPAPR_TCE_IOMMU, SPAPR_TCE_V2_IOMMU];
    [
        (Machine::x86_64(), "x86_64", TYPE1),
        (Machine::aarch64(), "aarch64", TYPE1),
        (Machine::pseries(), "ppc64le", SPAPR),
        (Machine::powernv9(), "ppc64le", SPAPR),
    ]
}

/// A fresh container with the machine's first group: what SET_IOMMU answers.
fn set(sim: &SimKernel, iommu: u32) -> Result<u32, Errno> {
    let container = open_container(sim);
    let group = host::groups(sim).unwrap().remove(0);
    let group = open_group(sim, group.id).unwrap();
    join(sim, &group, &container).unwrap();
    set_iommu(sim, &container, iommu)
}

#[test]
fn each_takes_the_iommus_of_its_architecture_and_no_other() {
    for (machine, arch, settable) in machines() {
        let sim = SimKernel::new(machine);
        assert_eq!(sim.identity().0, arch);
        let taken: Vec<_> = (0..12).filter(|iommu| set(&sim, *iommu).is_ok()).collect();
        assert_eq!(taken, settable, "{arch}");
        assert!(sim.is_idle());
    }
}

#[test]
fn b18_nesting_is_advertised_and_refused() {
    let sim = SimKernel::new(Machine::x86_64());
    assert_eq!(extension(&sim, &open_container(&sim), 6), 1);
    assert_eq!(set(&sim, 6), Err(Errno::INVAL));
}

#[test]
fn every_device_is_ready_for_use() {
    for (machine, arch, _) in machines() {
        let sim = SimKernel::new(machine);
        assert!(
            host::groups(&sim)
                .unwrap()
                .iter()
                .all(host::IommuGroup::is_ready),
            "{arch}"
        );
    }
}

#[test]
fn power_has_large_pages() {
    assert_eq!(SimKernel::new(Machine::powernv9()).page_size(), 65536);
    assert_eq!(SimKernel::new(Machine::aarch64()).page_size(), 4096);
}
