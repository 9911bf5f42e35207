//! VFIO-04: more memory would be pinned than this process may lock.

use crate::address::Size;
use crate::error::Error;
use crate::kernel::{Errno, Kernel};

use super::{Diagnosis, Evidence};

pub(super) fn diagnose(error: &Error, kernel: &dyn Kernel) -> Option<Diagnosis> {
    if error.errno() != Some(Errno::NOMEM) {
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
