//! H8: the last page of all.

use vfio_core::kernel::Errno;
use vfio_core::uapi::{DMA_UNMAP_FLAG_ALL, TYPE1_IOMMU};
use vfio_sim::Machine;
use vfio_sim::machine::Hardware;

use super::take;
use crate::conformance::clause::{Clause, simulated};
use crate::conformance::host::Host;
use crate::conformance::raw::leave;

const NO_SUCH_IOMMU: &str = "no IOMMU of the lab's machines has addresses of 64 bits";
/// The page of all machines here that is the last.
const LAST: u64 = 4096_u64.wrapping_neg();

pub(super) const CLAUSES: &[Clause] = &[
    simulated(
        &["H8"],
        "an unmap of the last page takes nothing, and its account is never given back",
        NO_SUCH_IOMMU,
        || {
            let host = wide("6.12.95");
            for (n, version) in [(1, TYPE1_IOMMU), (2, host.iommu())] {
                let (rig, memory) = (host.rig_of(version), host.memory(1));
                assert_eq!(rig.map(LAST, &memory), Ok(0));
                assert_eq!(rig.unmap(LAST, memory.len()), (Ok(0), 0));
                leave(rig.kernel(), &rig.group).unwrap();
                assert_eq!(host.locked(), n * host.page());
            }
        },
    ),
    simulated(
        &["H8"],
        "nothing is found in a range that ends with it; what ends before it is",
        NO_SUCH_IOMMU,
        || {
            let host = wide("6.12.95");
            let (rig, memory) = (host.rig(), host.memory(1));
            let page = host.page();
            rig.map(LAST - page, &memory).unwrap();
            rig.map(0, &memory).unwrap();
            assert_eq!(rig.unmap(LAST - page, 2 * page), (Ok(0), 0));
            assert_eq!(rig.unmap(0, LAST), (Ok(0), 2 * page));
        },
    ),
    simulated(
        &["H8", "B31"],
        "ALL does not take it",
        NO_SUCH_IOMMU,
        || {
            let host = wide("6.12.95");
            let (rig, memory) = (host.rig(), host.memory(1));
            rig.map(LAST, &memory).unwrap();
            assert_eq!(take(&rig, (0, 0), DMA_UNMAP_FLAG_ALL), (Ok(0), 0));
            assert_eq!(host.locked(), host.page());
        },
    ),
    simulated(
        &["H8"],
        "from 6.18 on it is a page like others",
        NO_SUCH_IOMMU,
        || {
            let host = wide("6.18.1");
            let (rig, memory) = (host.rig(), host.memory(1));
            assert_eq!(rig.map(LAST, &memory), Ok(0));
            assert_eq!(rig.map(LAST, &memory), Err(Errno::EXIST));
            assert_eq!(rig.unmap(LAST, host.page()), (Ok(0), host.page()));
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
