//! VFIO-20: guests whose memory the host cannot read are given devices through iommufd alone.

use crate::host::{self, parameter_file};

use super::{Entry, Evidence, Examination, Patient, Remedy, Weight, of_no_error};

/// Parameters that say whether the host can run such guests.
const SWITCHES: [(&str, &str); 2] = [("kvm_intel", "tdx"), ("kvm_amd", "sev_snp")];

pub(super) const ENTRY: Entry = Entry {
    code: "VFIO-20",
    name: "confidential-needs-iommufd",
    of_error: of_no_error,
    examine,
};

fn examine(patient: &Patient<'_>, examination: &mut Examination) {
    let kernel = patient.kernel;
    if patient.surroundings.interfaces().iommufd {
        return;
    }
    let on = SWITCHES.into_iter().filter(|(module, name)| {
        let value = host::module_parameter(kernel, module, name);
        matches!(value.as_deref(), Some("Y" | "1"))
    });
    let mut evidence: Vec<_> = on
        .map(|(module, name)| Evidence::new(parameter_file(module, name), "Y"))
        .collect();
    if evidence.is_empty() {
        return;
    }
    evidence.push(Evidence::new("/sys/class/misc/iommu", "not there"));
    examination.findings.push(ENTRY.found(
        Weight::Harmless,
        "this host runs confidential guests (TDX, SEV-SNP), and devices come to those through iommufd alone, which this \
         kernel does not have, or has not loaded",
        evidence,
        vec![
            Remedy::safe("load it, as root: modprobe iommufd"),
            Remedy::safe("for other guests it does not matter"),
            Remedy::disrupts("if it is not there: a kernel with CONFIG_IOMMUFD and CONFIG_VFIO_DEVICE_CDEV"),
        ],
    ));
}
