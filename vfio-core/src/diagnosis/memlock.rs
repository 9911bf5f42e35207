//! VFIO-04: more memory would be pinned than this process may lock.

use crate::address::Size;
use crate::error::Error;
use crate::kernel::{Errno, Kernel};

use super::{Diagnosis, Evidence};

/// The calls that lock memory.
const LOCKING: [&str; 4] = [
    "VFIO_IOMMU_MAP_DMA",
    "VFIO_IOMMU_ENABLE",
    "VFIO_IOMMU_SPAPR_REGISTER_MEMORY",
    "VFIO_IOMMU_SPAPR_TCE_CREATE",
];

pub(super) fn diagnose(error: &Error, kernel: &dyn Kernel) -> Option<Diagnosis> {
    let locks = LOCKING.contains(&error.operation());
    if !locks || error.errno() != Some(Errno::NOMEM) || is_exempt(kernel) {
        return None;
    }
    let limit = kernel.memlock_limit()?;
    Some(Diagnosis {
        code: "VFIO-04",
        name: "memlock",
        cause: format!(
            "the kernel would lock more memory than the {} that this process may lock",
            Size(limit)
        ),
        evidence: vec![Evidence::new("RLIMIT_MEMLOCK", limit.to_string())],
        remedies: vec![
            "raise the limit: ulimit -l (KiB), LimitMEMLOCK= of a systemd unit, \
             /etc/security/limits.conf; sPAPR v1 locks its whole window of 1 to 2 GiB at once"
                .to_owned(),
        ],
    })
}

/// Whether this process has `CAP_IPC_LOCK`: then the limit is not for it.
fn is_exempt(kernel: &dyn Kernel) -> bool {
    const CAP_IPC_LOCK: u32 = 14;

    let status = kernel
        .read("/proc/self/status".as_ref())
        .unwrap_or_default();
    String::from_utf8_lossy(&status)
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|set| u64::from_str_radix(set.trim(), 16).ok())
        .is_some_and(|set| set & 1 << CAP_IPC_LOCK != 0)
}
