//! VFIO-17: the kernel's noiommu mode: devices are given away without an IOMMU.

use super::{Entry, Evidence, Examination, Patient, Remedy, Weight, of_no_error};
use crate::host::{self, parameter_file};
use crate::kernel::Kernel;

const MODULE: (&str, &str) = ("vfio", "enable_unsafe_noiommu_mode");
const GROUPS: &str = "/sys/kernel/iommu_groups";

pub(super) const ENTRY: Entry = Entry {
    code: "VFIO-17",
    name: "noiommu",
    of_error: of_no_error,
    examine,
};

/// Whether the mode is on.
pub(super) fn is_on(kernel: &dyn Kernel) -> bool {
    host::module_parameter(kernel, MODULE.0, MODULE.1).as_deref() == Some("Y")
}

fn examine(patient: &Patient<'_>, examination: &mut Examination) {
    let kernel = patient.kernel;
    let mut evidence = Vec::new();
    match (patient.device, patient.group) {
        (_, Some(group)) => {
            let file = format!("{GROUPS}/{}/name", group.id);
            if host::text(kernel, &file).as_deref() != Ok("vfio-noiommu") {
                return;
            }
            evidence.push(Evidence::new(file, "vfio-noiommu"));
        }
        // It gets such a group when it is bound, even if there is an IOMMU in front of others.
        (Some(_), None) if is_on(kernel) => {}
        (None, None) if is_on(kernel) && host::iommus(kernel).is_empty() => {}
        _ => return,
    }
    if is_on(kernel) {
        evidence.push(Evidence::new(parameter_file(MODULE.0, MODULE.1), "Y"));
    }
    examination.findings.push(ENTRY.found(
        Weight::Blocks,
        "there is no IOMMU, and VFIO is told to give devices away all the same: nothing keeps their DMA inside a program's \
         memory, and no program can map memory for them",
        evidence,
        vec![
            Remedy::disrupts("give the host an IOMMU: `vfioctl explain VFIO-01` says how it is switched on"),
            Remedy::gives_up_safety(
                "a program that computes physical addresses itself (DPDK) works as root: its device can write to all \
                 memory of the host, the kernel's included",
            ),
        ],
    ));
}
