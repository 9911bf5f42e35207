//! Calls are counted by name.

use std::sync::Arc;

use vfio_sim::Machine;
use vfio_sim::wrap::Counting;

use crate::session::{first, session, watched};

#[test]
fn calls_are_counted_by_what_they_are_called_there() {
    let machines = [
        (Machine::x86_64(), "VFIO_IOMMU_GET_INFO", 0),
        (Machine::powernv9(), "VFIO_IOMMU_SPAPR_TCE_GET_INFO", 1),
    ];
    for (machine, info, registered) in machines {
        let counting = Arc::new(Counting::default());
        let bdf = first(&machine);
        let (kernel, sim) = watched(machine, &counting);
        session(&kernel, &bdf, 1 << 16).unwrap();
        assert!(sim.is_idle());

        assert_eq!(counting.of("VFIO_GROUP_GET_DEVICE_FD"), 1);
        assert_eq!(counting.of("VFIO_DEVICE_SET_IRQS"), 2);
        assert_eq!(counting.of("VFIO_IOMMU_MAP_DMA"), 1);
        assert_eq!(counting.of("VFIO_IOMMU_SPAPR_REGISTER_MEMORY"), registered);
        assert_eq!(counting.of("VFIO_IOMMU_DIRTY_PAGES"), 0);
        assert!(counting.of(info) > 0);
        assert_eq!(counting.of("open"), 2);
        assert_eq!(counting.of("map_region"), 1);
        assert_eq!(counting.of("eventfd"), 1);
        assert_eq!(counting.of("pread"), 1);

        let ioctls = counting.ioctls();
        let counts = counting.take();
        let named = counts.iter().filter(|(name, _)| name.starts_with("VFIO_"));
        assert_eq!(named.map(|(_, count)| count).sum::<u64>(), ioctls);
        assert!(counting.counts().is_empty());
        assert_eq!(counting.ioctls(), 0);
    }
}

#[test]
fn a_call_that_fails_is_counted_too() {
    let counting = Arc::new(Counting::default());
    let (kernel, _) = watched(Machine::x86_64(), &counting);
    kernel.open("/dev/vfio/77".as_ref()).unwrap_err();
    assert_eq!(counting.of("open"), 1);
}
