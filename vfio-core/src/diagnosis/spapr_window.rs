//! VFIO-19: a DMA window of POWER that cannot be had.

use crate::error::Error;
use crate::host;
use crate::kernel::Kernel;

use super::{Diagnosis, Entry, Evidence, Examination, Patient, Remedy, Weight};

/// The calls that windows are made with, and memory for them.
const CALLS: [&str; 2] = [
    "VFIO_IOMMU_SPAPR_TCE_CREATE",
    "VFIO_IOMMU_SPAPR_REGISTER_MEMORY",
];

pub(super) const ENTRY: Entry = Entry {
    code: "VFIO-19",
    name: "spapr-window",
    of_error: diagnose,
    examine,
};

fn diagnose(error: &Error, kernel: &dyn Kernel) -> Option<Diagnosis> {
    if !CALLS.contains(&error.operation()) {
        return None;
    }
    let device = error.device();
    let fixed = device.and_then(|bdf| host::has_fixed_window(kernel, bdf));
    Some(finding(
        fixed,
        format!("the kernel refused what a DMA window needs: {error}"),
    ))
}

fn examine(patient: &Patient<'_>, examination: &mut Examination) {
    let Some(device) = patient.device else {
        return;
    };
    if let Some(bridge) = host::has_fixed_window(patient.kernel, device.bdf) {
        let cause = "the hypervisor offers no dynamic DMA windows for this device: all that it reaches at a time is the \
                     default window of 1 to 2 GiB, where the kernel can use that one at all";
        examination
            .findings
            .push(finding(Some(bridge), cause.to_owned()));
    }
}

fn finding(fixed: Option<std::path::PathBuf>, cause: String) -> Diagnosis {
    let evidence = fixed.into_iter().map(|bridge| {
        let found = "ibm,dma-window without ibm,ddw-applicable";
        Evidence::new(bridge, found)
    });
    ENTRY.found(
        Weight::Limits,
        cause,
        evidence.collect(),
        vec![
            Remedy::safe(
                "`vfioctl probe --verify` tries each page size and says which windows can be had; huge pages need memory \
                 of huge pages",
            ),
            Remedy::disrupts(
                "have the hypervisor offer them: QEMU has ddw=on as a property of its host bridge; on PowerVM the slot \
                 or its firmware decides",
            ),
        ],
    )
}
