//! VFIO-12: the device does not answer any more.

use crate::host::{attribute, attribute_file, is_dead};

use super::{Entry, Evidence, Examination, Patient, Remedy, Weight, of_no_error};

/// The vendor of GPUs that the kernel alone does not reset.
const AMD: u16 = 0x1002;
/// What says how a device sleeps.
const ATTRIBUTES: [&str; 4] = [
    "power_state",
    "power/runtime_status",
    "power/control",
    "d3cold_allowed",
];

pub(super) const ENTRY: Entry = Entry {
    code: "VFIO-12",
    name: "dead-after-reset",
    of_error: of_no_error,
    examine,
};

fn examine(patient: &Patient<'_>, examination: &mut Examination) {
    let kernel = patient.kernel;
    let Some(bdf) = patient.device.map(|device| device.bdf) else {
        return;
    };
    if is_dead(kernel, bdf) != Some(true) {
        return;
    }
    let mut evidence = vec![Evidence::new(attribute_file(bdf, "config"), "ones")];
    evidence.extend(ATTRIBUTES.iter().filter_map(|name| {
        let value = attribute(kernel, bdf, name)?;
        Some(Evidence::new(attribute_file(bdf, name), value))
    }));
    let mut remedies = Vec::new();
    if patient.device.is_some_and(|device| device.vendor == AMD) {
        remedies.push(Remedy::safe(
            "GPUs of some years come back from a reset with the module vendor-reset alone",
        ));
    }
    remedies.push(Remedy::disrupts(format!(
        "have the kernel look for it again: echo 1 > {}; echo 1 > /sys/bus/pci/rescan; and keep it awake then, with each \
         function of its group: echo 0 > {}; echo on > {}",
        attribute_file(bdf, "remove"),
        attribute_file(bdf, "d3cold_allowed"),
        attribute_file(bdf, "power/control"),
    )));
    remedies.push(Remedy::disrupts(
        "switch the machine off and on: a warm reboot is not enough for some devices",
    ));
    examination.findings.push(ENTRY.found(
        Weight::Blocks,
        format!(
            "{bdf} does not answer: a reset or a sleep (D3cold) that it did not come back from"
        ),
        evidence,
        remedies,
    ));
}
