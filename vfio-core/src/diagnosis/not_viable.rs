//! VFIO-02: another member of the group belongs to a driver of the kernel's own.

use crate::error::{Error, ErrorKind};
use crate::host::{self, IommuGroup, PciDevice, attribute_file};
use crate::kernel::Kernel;

use super::{Diagnosis, Entry, Evidence, Examination, Patient, Remedy, Weight};

pub(super) const ENTRY: Entry = Entry {
    code: "VFIO-02",
    name: "group-not-viable",
    of_error: diagnose,
    examine,
};

fn diagnose(error: &Error, kernel: &dyn Kernel) -> Option<Diagnosis> {
    let id = match error.kind() {
        ErrorKind::NotViable => error.group()?,
        _ => return None,
    };
    let group = host::group(kernel, id).ok()?;
    let spoilers: Vec<_> = group.spoilers().collect();
    Some(finding(&group, &spoilers))
}

fn examine(patient: &Patient<'_>, examination: &mut Examination) {
    let Some((device, group)) = patient.grouped() else {
        return;
    };
    // That it is not bound itself is another matter.
    let others: Vec<_> = group.spoilers().filter(|it| it.bdf != device.bdf).collect();
    if !others.is_empty() {
        examination.findings.push(finding(group, &others));
    }
}

fn finding(group: &IommuGroup, spoilers: &[&PciDevice]) -> Diagnosis {
    let id = group.id;
    let names: Vec<_> = spoilers.iter().map(ToString::to_string).collect();
    let evidence = spoilers.iter().map(|device| {
        let driver = device.driver.as_deref().unwrap_or("no driver");
        Evidence::new(attribute_file(device.bdf, "driver"), driver)
    });
    let bdfs: Vec<_> = spoilers
        .iter()
        .map(|device| device.bdf.to_string())
        .collect();
    let mut remedies = Vec::new();
    if !bdfs.is_empty() {
        remedies.push(Remedy::disrupts(format!(
            "give them away too, if nothing on this host needs them: vfioctl bind {}",
            bdfs.join(" ")
        )));
    }
    remedies.push(Remedy::disrupts(
        "or move one of the devices to another slot, so that the groups differ",
    ));
    let cause = match names.is_empty() {
        false => format!(
            "group {id} can only be given away whole, and in the way is {}",
            names.join(", ")
        ),
        true => format!(
            "group {id} can only be given away whole, and somebody has a part of it who is no driver of \
             a PCI device: another user of VFIO, or a device on another bus"
        ),
    };
    ENTRY.found(Weight::Blocks, cause, evidence.collect(), remedies)
}
