//! VFIO-16: a device is meant for VFIO, and another driver has it, or none.

use crate::host::{attribute, attribute_file};

use super::{Entry, Evidence, Examination, Patient, Remedy, Weight, of_no_error};

pub(super) const ENTRY: Entry = Entry {
    code: "VFIO-16",
    name: "bind-did-not-take",
    of_error: of_no_error,
    examine,
};

/// The driver that a device is meant for, if that is one of VFIO's.
pub(super) fn meant_for(patient: &Patient<'_>) -> Option<String> {
    let device = patient.device.filter(|device| !device.is_bound_to_vfio())?;
    attribute(patient.kernel, device.bdf, "driver_override").filter(|name| name.contains("vfio"))
}

fn examine(patient: &Patient<'_>, examination: &mut Examination) {
    let (Some(device), Some(wanted)) = (patient.device, meant_for(patient)) else {
        return;
    };
    if !patient.surroundings.interfaces().pci_driver {
        return; // nothing could take it
    }
    let bdf = device.bdf;
    let has_it = match &device.driver {
        Some(driver) => format!("{driver} has it"),
        None => "no driver has it".to_owned(),
    };
    let driver = device.driver.as_deref().unwrap_or("not there");
    examination.findings.push(ENTRY.found(
        Weight::Blocks,
        format!("{bdf} is meant for {wanted}, and {has_it}: the binding did not take"),
        vec![
            Evidence::new(attribute_file(bdf, "driver_override"), wanted.as_str()),
            Evidence::new(attribute_file(bdf, "driver"), driver),
        ],
        vec![
            Remedy::safe(format!("the kernel's log says what {wanted} had against it: dmesg | grep {bdf}")),
            Remedy::disrupts(format!(
                "vfioctl bind {bdf}, which loads {wanted} if it is not, and says why it did not take"
            )),
            Remedy::disrupts(format!("or leave it to its own driver: vfioctl unbind {bdf}")),
        ],
    ));
}
