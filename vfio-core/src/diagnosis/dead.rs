//! VFIO-12: the device does not answer any more.

use crate::host::{attribute, attribute_file, is_dead};

use super::{Entry, Evidence, Examination, Patient, Remedy, Weight, of_no_error};

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
    let mut evidence = vec![Evidence::new(
        attribute_file(bdf, "config"),
        "ones, or not to be read",
    )];
    evidence.extend(ATTRIBUTES.iter().filter_map(|name| {
        let value = attribute(kernel, bdf, name)?;
        Some(Evidence::new(attribute_file(bdf, name), value))
    }));
    examination.findings.push(ENTRY.found(
        Weight::Blocks,
        format!("{bdf} does not answer: a reset or a sleep (D3cold) that it did not come back from"),
        evidence,
        vec![
            Remedy::disrupts(format!(
                "have the kernel look for it again: echo 1 > {}; echo 1 > /sys/bus/pci/rescan",
                attribute_file(bdf, "remove")
            )),
            Remedy::disrupts("switch the machine off and on: a warm reboot is not enough for some devices"),
            Remedy::safe(format!(
                "afterwards keep it awake, and each function of its group: echo 0 > {}; echo on > {}",
                attribute_file(bdf, "d3cold_allowed"),
                attribute_file(bdf, "power/control"),
            )),
            Remedy::safe("AMD GPUs of some years need the module vendor-reset"),
        ],
    ));
}
