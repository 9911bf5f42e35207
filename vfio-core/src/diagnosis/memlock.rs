//! VFIO-04: more memory would be pinned than this process may lock.

use crate::address::Size;
use crate::error::Error;
use crate::host::User;
use crate::kernel::{Errno, Kernel};
use crate::memlock::{Account, for_guest};

use super::{Diagnosis, Entry, Evidence, Examination, Patient, Remedy, Weight};

/// The calls that lock memory.
const LOCKING: [&str; 4] = [
    "VFIO_IOMMU_MAP_DMA",
    "VFIO_IOMMU_ENABLE",
    "VFIO_IOMMU_SPAPR_REGISTER_MEMORY",
    "VFIO_IOMMU_SPAPR_TCE_CREATE",
];

pub(super) const ENTRY: Entry = Entry {
    code: "VFIO-04",
    name: "memlock",
    of_error: diagnose,
    examine,
};

fn diagnose(error: &Error, kernel: &dyn Kernel) -> Option<Diagnosis> {
    let enough = error.memlock();
    let locks = LOCKING.contains(&error.operation()) && error.errno() == Some(Errno::NOMEM);
    if !(locks || enough.is_some()) || Account::read(kernel).is_exempt() {
        return None;
    }
    let limit = kernel.memlock_limit()?;
    Some(finding(kernel, limit, enough, Weight::Blocks))
}

fn examine(patient: &Patient<'_>, examination: &mut Examination) {
    let kernel = patient.kernel;
    let Some(limit) = kernel.memlock_limit() else {
        return;
    };
    let account = Account::read(kernel);
    let Some(locked) = account.locked() else {
        examination
            .unknown
            .push(ENTRY.unknown("/proc/self/status does not say what this process has locked"));
        return;
    };
    let enough = locked.saturating_add(for_guest(patient.guest_memory));
    if account.is_exempt() || enough <= limit {
        return;
    }
    let weight = match patient.guest_memory {
        Some(_) => Weight::Blocks,
        None => Weight::Limits, // a program may need less
    };
    let finding = finding(kernel, limit, Some(enough), weight);
    examination.findings.push(finding);
}

fn finding(kernel: &dyn Kernel, limit: u64, enough: Option<u64>, weight: Weight) -> Diagnosis {
    let who =
        User::of(kernel).map_or_else(|| "this user".to_owned(), |it| format!("user {}", it.id));
    let mut cause = format!(
        "the kernel would lock more memory than the {} that this process may lock",
        Size(limit)
    );
    let (bytes, kilobytes) = match enough {
        Some(bytes) => (bytes.to_string(), bytes.div_ceil(1024).to_string()),
        None => ("BYTES".to_owned(), "KIB".to_owned()),
    };
    if let Some(enough) = enough {
        cause = format!(
            "{cause}; {} would do",
            Size(enough.next_multiple_of(1 << 20))
        );
    }
    ENTRY.found(
        weight,
        cause,
        vec![Evidence::new("RLIMIT_MEMLOCK", format!("{limit} bytes, for {who}"))],
        vec![
            Remedy::safe(format!(
                "raise the limit to {bytes} bytes; of a systemd unit: LimitMEMLOCK={bytes}"
            )),
            Remedy::safe(format!(
                "of a user, for the next login: `USER - memlock {kilobytes}` (KiB) in /etc/security/limits.conf"
            )),
            Remedy::safe(format!(
                "of a process that runs, as root: prlimit --memlock={bytes} --pid PID"
            )),
        ],
    )
}
