//! VFIO-04: more memory would be pinned than this process may lock.

use crate::address::Size;
use crate::error::Error;
use crate::kernel::{Errno, Kernel};
use crate::memlock::Account;

use super::{Diagnosis, Evidence};

/// The calls that lock memory.
const LOCKING: [&str; 4] = [
    "VFIO_IOMMU_MAP_DMA",
    "VFIO_IOMMU_ENABLE",
    "VFIO_IOMMU_SPAPR_REGISTER_MEMORY",
    "VFIO_IOMMU_SPAPR_TCE_CREATE",
];

pub(super) fn diagnose(error: &Error, kernel: &dyn Kernel) -> Option<Diagnosis> {
    let enough = error.memlock();
    let locks = LOCKING.contains(&error.operation()) && error.errno() == Some(Errno::NOMEM);
    if !(locks || enough.is_some()) || Account::read(kernel).is_exempt() {
        return None;
    }
    let limit = kernel.memlock_limit()?;
    let raise = match enough {
        Some(bytes) => format!(
            "raise the limit to {bytes} bytes: ulimit -l {}",
            bytes.div_ceil(1024)
        ),
        None => "raise the limit: ulimit -l (KiB)".to_owned(),
    };
    Some(Diagnosis {
        code: "VFIO-04",
        name: "memlock",
        cause: format!(
            "the kernel would lock more memory than the {} that this process may lock",
            Size(limit)
        ),
        evidence: vec![Evidence::new("RLIMIT_MEMLOCK", limit.to_string())],
        remedies: vec![format!(
            "{raise}, LimitMEMLOCK= of a systemd unit, /etc/security/limits.conf; sPAPR v1 locks its whole window of 1 \
             to 2 GiB at once"
        )],
    })
}
