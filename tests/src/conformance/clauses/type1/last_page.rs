//! H8: the last page of all.

use vfio_core::kernel::Errno;
use vfio_sim::Machine;
use vfio_sim::machine::Hardware;

use super::put;
use crate::conformance::clause::{Clause, simulated};
use crate::conformance::host::Host;

const NO_SUCH_IOMMU: &str = "no IOMMU of the lab's machines has addresses of 64 bits";

pub(super) const CLAUSES: &[Clause] = &[
    simulated(
        &["H8"],
        "the last page of all can be mapped, and is not found again",
        NO_SUCH_IOMMU,
        || {
            let host = wide("6.12.95");
            let (rig, memory, last) = (host.rig(), host.memory(1), host.page().wrapping_neg());
            assert_eq!(put(&rig, last, &memory, host.page()), Ok(0));
            assert_eq!(rig.unmap(last, host.page()), (Ok(0), 0));
            assert_eq!(
                put(&rig, last, &memory, host.page()),
                Ok(0),
                "not even by MAP (B22)"
            );
            drop(rig);
            assert_eq!(
                host.locked(),
                2 * host.page(),
                "nor is its account given back (B35)"
            );
        },
    ),
    simulated(
        &["H8"],
        "from 6.18 on it is a page like others",
        NO_SUCH_IOMMU,
        || {
            let host = wide("6.18.1");
            let (rig, memory, last) = (host.rig(), host.memory(1), host.page().wrapping_neg());
            assert_eq!(put(&rig, last, &memory, host.page()), Ok(0));
            assert_eq!(put(&rig, last, &memory, host.page()), Err(Errno::EXIST));
            assert_eq!(rig.unmap(last, host.page()), (Ok(0), host.page()));
            assert_eq!(host.locked(), 0);
        },
    ),
];

/// A machine whose IOMMU has every address.
fn wide(release: &str) -> Host {
    let mut machine = Machine {
        release: release.into(),
        ..Machine::x86_64()
    };
    for iommu in &mut machine.iommus {
        if let Hardware::Type1(type1) = &mut iommu.hardware {
            type1.ranges = vec![(0, u64::MAX)];
        }
    }
    Host::simulated(machine)
}
