//! VFIO-05: the IOMMU does not remap interrupts, so the kernel refuses to give a device away.

use crate::error::Error;
use crate::host::{self, parameter_file};
use crate::kernel::{Errno, Kernel};

use super::{Diagnosis, Entry, Evidence, Examination, Patient, Remedy, Weight};

const MODULE: &str = "vfio_iommu_type1";
const SWITCH: &str = "allow_unsafe_interrupts";

pub(super) const ENTRY: Entry = Entry {
    code: "VFIO-05",
    name: "unsafe-interrupts",
    of_error: diagnose,
    examine,
};

fn diagnose(error: &Error, kernel: &dyn Kernel) -> Option<Diagnosis> {
    if error.operation() != "VFIO_SET_IOMMU" || error.errno() != Some(Errno::PERM) {
        return None;
    }
    // Only with type1 is this the reason.
    let switch = host::module_parameter(kernel, MODULE, SWITCH)?;
    let others = switch == "Y" || host::interrupt_remapping(kernel) == Some(true);
    (!others).then(|| finding(kernel))
}

fn examine(patient: &Patient<'_>, examination: &mut Examination) {
    let kernel = patient.kernel;
    if host::iommus(kernel).is_empty() || !host::is_x86(&kernel.identity().0) {
        return; // without an IOMMU that is what is wrong; elsewhere the interrupt controller does it
    }
    let allowed = host::module_parameter(kernel, MODULE, SWITCH).as_deref() == Some("Y");
    match host::interrupt_remapping(kernel) {
        Some(false) if !allowed => examination.findings.push(finding(kernel)),
        Some(_) => {}
        None => examination
            .unknown
            .push(ENTRY.unknown("/proc/interrupts does not say whether interrupts are remapped")),
    }
}

fn finding(kernel: &dyn Kernel) -> Diagnosis {
    let mut evidence = Vec::new();
    if host::interrupt_remapping(kernel) == Some(false) {
        evidence.push(Evidence::new(
            "/proc/interrupts",
            "no chip with IR- in its name",
        ));
    }
    if let Some(switch) = host::module_parameter(kernel, MODULE, SWITCH) {
        evidence.push(Evidence::new(parameter_file(MODULE, SWITCH), switch));
    }
    let mut off = host::switched_off(kernel, &["intremap"]);
    off.extend(host::boot_arguments(kernel, &["nointremap"]));
    let mut remedies = Vec::new();
    if off.is_empty() {
        remedies.push(Remedy::disrupts(
            "switch interrupt remapping on in the firmware's setup (VT-d with x2APIC; AMD: IOMMU)",
        ));
        remedies.push(Remedy::disrupts(
            "in a virtual machine: -device intel-iommu,intremap=on with -machine q35,kernel-irqchip=split",
        ));
    } else {
        evidence.push(Evidence::new("/proc/cmdline", off.join(" ")));
        remedies.push(Remedy::disrupts(format!(
            "take {} from the kernel's command line in the boot loader, and reboot",
            off.join(" ")
        )));
    }
    remedies.push(Remedy::gives_up_safety(
        "last, and only where everything that uses the device is trusted with the whole host: \
         the module parameter allow_unsafe_interrupts=1 of vfio_iommu_type1",
    ));
    ENTRY.found(
        Weight::Blocks,
        "the IOMMU does not remap interrupts: a device could forge those of others",
        evidence,
        remedies,
    )
}
