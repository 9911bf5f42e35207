//! VFIO-15: as many mappings as the kernel allows.

use crate::error::Error;
use crate::host::{self, parameter_file};
use crate::kernel::{Errno, Kernel};

use super::{Diagnosis, Entry, Evidence, Examination, Patient, Remedy, Weight};

const MODULE: &str = "vfio_iommu_type1";
const LIMIT: &str = "dma_entry_limit";
/// What the kernel has if nobody says otherwise (`U16_MAX`).
const USUAL: u64 = 65535;

pub(super) const ENTRY: Entry = Entry {
    code: "VFIO-15",
    name: "mapping-count",
    of_error: diagnose,
    examine,
};

fn diagnose(error: &Error, kernel: &dyn Kernel) -> Option<Diagnosis> {
    let is_full = error.operation() == "VFIO_IOMMU_MAP_DMA" && error.errno() == Some(Errno::NOSPC);
    is_full.then(|| {
        finding(
            host::module_parameter(kernel, MODULE, LIMIT),
            Weight::Blocks,
        )
    })
}

fn examine(patient: &Patient<'_>, examination: &mut Examination) {
    let limit = host::module_parameter(patient.kernel, MODULE, LIMIT);
    let number = limit.as_ref().and_then(|limit| limit.parse::<u64>().ok());
    if number.is_some_and(|number| number < USUAL) {
        examination.findings.push(finding(limit, Weight::Limits));
    }
}

fn finding(limit: Option<String>, weight: Weight) -> Diagnosis {
    let shown = limit.as_deref().unwrap_or("65535");
    let evidence = limit
        .as_deref()
        .map(|limit| Evidence::new(parameter_file(MODULE, LIMIT), limit));
    ENTRY.found(
        weight,
        format!("a container can have {shown} mappings, and a guest in small pieces needs more"),
        evidence.into_iter().collect(),
        vec![
            Remedy::safe("map memory in larger pieces: huge pages, and neighbours together"),
            Remedy::safe(
                "raise the limit, before containers are opened: options vfio_iommu_type1 dma_entry_limit=N in \
                 /etc/modprobe.d (each mapping takes memory of the kernel's)",
            ),
        ],
    )
}
