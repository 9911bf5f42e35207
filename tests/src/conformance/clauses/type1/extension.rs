//! B18: what type1 advertises.

use vfio_core::uapi::{
    DMA_CC_IOMMU, TYPE1_IOMMU, TYPE1_NESTING_IOMMU, TYPE1V2_IOMMU, UNMAP_ALL, UPDATE_VADDR,
};
use vfio_sim::Machine;

use crate::conformance::clause::Needs::Type1;
use crate::conformance::clause::{Clause, both, simulated};
use crate::conformance::host::Host;
use crate::conformance::raw::extension;

const ALWAYS: [u32; 3] = [TYPE1_IOMMU, TYPE1V2_IOMMU, UNMAP_ALL];

pub(super) const CLAUSES: &[Clause] = &[
    both(
        &["B18"],
        "versions 1 and 2 and unmapping all are advertised before an IOMMU is set",
        &[Type1],
        |host| assert_eq!(ALWAYS.map(|number| before(host, number)), [1, 1, 1]),
    ),
    both(
        &["B18"],
        "they are advertised once one of either version is set",
        &[Type1],
        |host| {
            for version in [TYPE1_IOMMU, TYPE1V2_IOMMU] {
                assert_eq!(ALWAYS.map(|number| after(host, version, number)), [1, 1, 1]);
            }
        },
    ),
    both(
        &["B18"],
        "nesting is advertised before an IOMMU is set and after",
        &[Type1],
        |host| {
            assert_eq!(before(host, TYPE1_NESTING_IOMMU), 1);
            assert_eq!(after(host, TYPE1V2_IOMMU, TYPE1_NESTING_IOMMU), 1);
        },
    ),
    simulated(
        &["B18"],
        "later kernels do not advertise nesting",
        "the lab runs 6.12",
        || {
            let machine = Machine {
                release: "7.3.0".into(),
                ..Machine::x86_64()
            };
            let host = Host::simulated(machine);
            assert_eq!(before(&host, TYPE1_NESTING_IOMMU), 0);
        },
    ),
    both(
        &["B18"],
        "new addresses are advertised once an IOMMU is set, of either version",
        &[Type1],
        |host| {
            assert_eq!(before(host, UPDATE_VADDR), 0);
            for version in [TYPE1_IOMMU, TYPE1V2_IOMMU] {
                assert_eq!(after(host, version, UPDATE_VADDR), 1);
            }
        },
    ),
    both(
        &["B18"],
        "coherent caches are not advertised before an IOMMU is set",
        &[Type1],
        |host| assert_eq!(before(host, DMA_CC_IOMMU), 0),
    ),
    both(
        &["B18"],
        "coherent caches are not advertised by an IOMMU that cannot force them",
        &[Type1],
        |host| assert_eq!(after(host, TYPE1V2_IOMMU, DMA_CC_IOMMU), 0),
    ),
    both(&["B18"], "nothing else is advertised", &[Type1], |host| {
        let container = host.container();
        let asked = |number: &u32| extension(&**host.kernel(), &container, *number) != 0;
        let advertised: Vec<_> = (0..64).filter(asked).collect();
        assert_eq!(advertised, [1, 3, 6, 9]);
    }),
];

fn before(host: &Host, number: u32) -> u32 {
    extension(&**host.kernel(), &host.container(), number)
}

fn after(host: &Host, version: u32, number: u32) -> u32 {
    let rig = host.rig_of(version);
    extension(rig.kernel(), &rig.container, number)
}
