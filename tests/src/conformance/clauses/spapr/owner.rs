//! C37, C38: who may ask.

use vfio_core::kernel::{Errno, Opcode, Result};
use vfio_core::uapi::{self, SPAPR_TCE_IOMMU, SPAPR_TCE_V2_IOMMU};
use vfio_sim::Machine;

use super::calls::{
    EINVAL, VERSIONS, changed, create, disable, enable, plain, register, remove, v1, v2,
};
use crate::conformance::clause::Needs::Spapr;
use crate::conformance::clause::{Clause, both, simulated};
use crate::conformance::host::Host;
use crate::conformance::raw::{join, set_iommu};
use crate::conformance::rig::Rig;

/// Every call that an IOMMU of either version knows, and one that it does not.
const CALLS: [Opcode; 9] = [
    uapi::SPAPR_TCE_GET_INFO,
    uapi::IOMMU_MAP_DMA,
    uapi::IOMMU_UNMAP_DMA,
    uapi::SPAPR_ENABLE,
    uapi::SPAPR_REGISTER_MEMORY,
    uapi::SPAPR_UNREGISTER_MEMORY,
    uapi::SPAPR_TCE_CREATE,
    uapi::SPAPR_TCE_REMOVE,
    uapi::vfio(90),
];

const PLATFORMS: &str = "every platform of the lab makes windows";

pub(super) const CLAUSES: &[Clause] = &[
    simulated(
        &["C37"],
        "without dynamic windows version 2 is EINVAL, and version 1 is not",
        PLATFORMS,
        || {
            let host = changed(Machine::pseries(), |spapr| spapr.windows = 0);
            let (container, group) = (host.container(), host.group(0));
            let kernel = &**host.kernel();
            join(kernel, &group, &container).unwrap();
            assert_eq!(set_iommu(kernel, &container, SPAPR_TCE_V2_IOMMU), EINVAL);
            assert_eq!(set_iommu(kernel, &container, SPAPR_TCE_IOMMU), Ok(0));
        },
    ),
    both(
        &["C38"],
        "after ENABLE every call from another process is EPERM",
        &[Spapr],
        |host| {
            assert_refused(host, &v1(host));
        },
    ),
    both(
        &["C38"],
        "after ENABLE another process cannot even DISABLE",
        &[Spapr],
        |host| {
            let (rig, memory) = (v1(host), host.memory(1));
            assert_eq!(elsewhere(host, &rig, uapi::SPAPR_DISABLE), Err(Errno::PERM));
            assert_eq!(rig.map(0, &memory), Ok(0));
        },
    ),
    both(
        &["C38"],
        "after REGISTER every call from another process is EPERM",
        &[Spapr],
        |host| {
            let (rig, _memory) = v2(host, 1);
            assert_refused(host, &rig);
        },
    ),
    both(
        &["C38"],
        "after a REGISTER that fails, too",
        &[Spapr],
        |host| {
            let rig = host.rig_of(SPAPR_TCE_V2_IOMMU);
            assert_eq!(register(&rig, 1, host.page()), EINVAL);
            assert_refused(host, &rig);
        },
    ),
    both(
        &["C38"],
        "after CREATE every call from another process is EPERM",
        &[Spapr],
        |host| {
            let rig = host.rig_of(SPAPR_TCE_V2_IOMMU);
            create(&rig, 16, 1 << 30, 1).unwrap();
            assert_refused(host, &rig);
        },
    ),
    both(
        &["C38"],
        "after REMOVE every call from another process is EPERM",
        &[Spapr],
        |host| {
            let rig = host.rig_of(SPAPR_TCE_V2_IOMMU);
            assert_eq!(remove(&rig, 0), Ok(0));
            assert_refused(host, &rig);
        },
    ),
    both(
        &["C38", "C41"],
        "after an ENABLE that is over the limit, too",
        &[Spapr],
        |host| {
            let rig = host.rig_of(SPAPR_TCE_IOMMU);
            let limit = host.limit(host.locked());
            assert_eq!(enable(&rig), Err(Errno::NOMEM));
            drop(limit);
            assert_refused(host, &rig);
        },
    ),
    both(
        &["C38"],
        "before, another process may ask",
        &[Spapr],
        |host| {
            for version in VERSIONS {
                let rig = host.rig_of(version);
                // A null pointer: it came as far as that.
                let info = elsewhere(host, &rig, uapi::SPAPR_TCE_GET_INFO);
                assert_eq!(info, Err(Errno::FAULT));
            }
        },
    ),
    both(
        &["C38", "C42"],
        "DISABLE and UNREGISTER make nobody an owner",
        &[Spapr],
        |host| {
            let rig = host.rig_of(SPAPR_TCE_IOMMU);
            assert_eq!(disable(&rig), Ok(0));
            assert_eq!(elsewhere(host, &rig, uapi::SPAPR_DISABLE), Ok(()));
            drop(rig);
            let rig = host.rig_of(SPAPR_TCE_V2_IOMMU);
            let unregister = uapi::SPAPR_UNREGISTER_MEMORY;
            assert_eq!(plain(&rig, unregister), Err(Errno::PERM));
            assert_eq!(elsewhere(host, &rig, unregister), Err(Errno::PERM));
            assert_eq!(register(&rig, 0, host.page()), Err(Errno::FAULT));
        },
    ),
    both(
        &["C38"],
        "whoever enables first is the owner, also when it has ended",
        &[Spapr],
        |host| {
            let rig = host.rig_of(SPAPR_TCE_IOMMU);
            assert_eq!(elsewhere(host, &rig, uapi::SPAPR_ENABLE), Ok(()));
            assert_eq!([enable(&rig), disable(&rig)], [Err(Errno::PERM); 2]);
        },
    ),
    both(
        &["C38"],
        "extensions are told to any process",
        &[Spapr],
        |host| {
            let rig = v1(host);
            assert_eq!(elsewhere(host, &rig, uapi::CHECK_EXTENSION), Ok(()));
        },
    ),
];

/// Answers of the call with a null pointer, from another process.
fn elsewhere(host: &Host, rig: &Rig, opcode: Opcode) -> Result<()> {
    host.elsewhere(&rig.container, opcode)
}

fn assert_refused(host: &Host, rig: &Rig) {
    for opcode in CALLS {
        assert_eq!(
            elsewhere(host, rig, opcode),
            Err(Errno::PERM),
            "{opcode:#x}"
        );
    }
}
