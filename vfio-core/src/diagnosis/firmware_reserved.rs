//! VFIO-06: the firmware wants some of the device's memory mapped one to one.

use crate::error::Error;
use crate::host::{self, reserved_file};
use crate::kernel::{Errno, Kernel};

use super::{Diagnosis, Entry, Evidence, Examination, Patient, Remedy, Weight};

pub(super) const ENTRY: Entry = Entry {
    code: "VFIO-06",
    name: "firmware-reserved",
    of_error: diagnose,
    examine,
};

/// Older kernels answer EPERM (Intel), newer ones EINVAL.
fn diagnose(error: &Error, kernel: &dyn Kernel) -> Option<Diagnosis> {
    let joins = matches!(
        error.operation(),
        "VFIO_SET_IOMMU" | "VFIO_GROUP_SET_CONTAINER"
    );
    let refused = matches!(error.errno(), Some(Errno::PERM | Errno::INVAL));
    finding(kernel, error.group().filter(|_| joins && refused)?)
}

fn examine(patient: &Patient<'_>, examination: &mut Examination) {
    if let Some((_, group)) = patient.grouped() {
        examination
            .findings
            .extend(finding(patient.kernel, group.id));
    }
}

fn finding(kernel: &dyn Kernel, group: u32) -> Option<Diagnosis> {
    let regions = host::reserved_regions(kernel, group).ok()?;
    let direct = regions.iter().filter(|region| region.kind == "direct");
    let evidence: Vec<_> = direct
        .map(|region| {
            let found = format!("{:#x}-{:#x} direct", region.first, region.last);
            Evidence::new(reserved_file(group), found)
        })
        .collect();
    if evidence.is_empty() {
        return None;
    }
    Some(ENTRY.found(
        Weight::Blocks,
        "the firmware demands that memory of its own stays mapped for this device (RMRR, IVMD), so the kernel gives it to \
         nobody else",
        evidence,
        vec![
            Remedy::disrupts(
                "a setting of the firmware: HPE has one a slot for RMRR; AMD: \"Pre-boot DMA Protection\" off; a newer \
                 firmware",
            ),
            Remedy::disrupts("use another slot, or another device"),
            Remedy::gives_up_safety(
                "a kernel that is patched to ignore the demand: the firmware goes on using that memory, and the device \
                 of a guest writes to it",
            ),
        ],
    ))
}
