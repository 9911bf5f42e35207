//! VFIO-18: a virtual function whose physical one is a program's is opened with a token.

use crate::error::Error;
use crate::host::{self, Bdf, attribute_file};
use crate::kernel::{Errno, Kernel};

use super::{Diagnosis, Entry, Evidence, Examination, Patient, Remedy, Weight};

pub(super) const ENTRY: Entry = Entry {
    code: "VFIO-18",
    name: "vf-token",
    of_error: diagnose,
    examine,
};

fn diagnose(error: &Error, kernel: &dyn Kernel) -> Option<Diagnosis> {
    let refused = error.operation() == "VFIO_GROUP_GET_DEVICE_FD"
        && matches!(error.errno(), Some(Errno::ACCESS));
    finding(kernel, error.device().filter(|_| refused)?, Weight::Blocks)
}

fn examine(patient: &Patient<'_>, examination: &mut Examination) {
    if let Some(device) = patient.bound() {
        let finding = finding(patient.kernel, device.bdf, Weight::Limits);
        examination.findings.extend(finding);
    }
}

fn finding(kernel: &dyn Kernel, bdf: Bdf, weight: Weight) -> Option<Diagnosis> {
    let physical = host::physical_function(kernel, bdf)?;
    let driver = host::device(kernel, physical).ok()?.driver?;
    if !driver.contains("vfio") {
        return None;
    }
    Some(ENTRY.found(
        weight,
        format!("{bdf} is a virtual function of {physical}, which a program may have: it is opened with that program's token"),
        vec![
            Evidence::new(attribute_file(bdf, "physfn"), physical.to_string()),
            Evidence::new(attribute_file(physical, "driver"), driver),
        ],
        vec![
            Remedy::safe("give both programs the same token (QEMU: vf-token=UUID; DPDK: --vfio-vf-token=UUID)"),
            Remedy::disrupts(format!("or leave {physical} to its own driver: vfioctl unbind {physical}")),
        ],
    ))
}
