//! VFIO-03: a bridge that does not keep devices apart has put them into one group.

use crate::host::{Acs, Bdf, PciDevice, acs, attribute_file, bridges_above};

use super::{Entry, Evidence, Examination, Patient, Remedy, Weight, of_no_error};

/// A bridge between PCI buses, without its programming interface.
const BRIDGE: u32 = 0x0604;

pub(super) const ENTRY: Entry = Entry {
    code: "VFIO-03",
    name: "acs-grouping",
    of_error: of_no_error,
    examine,
};

fn examine(patient: &Patient<'_>, examination: &mut Examination) {
    let Some((device, group)) = patient.grouped() else {
        return;
    };
    let kernel = patient.kernel;
    let strangers: Vec<&PciDevice> = group
        .devices
        .iter()
        .filter(|other| other.class >> 8 != BRIDGE && !are_functions_of_one(device.bdf, other.bdf))
        .collect();
    if strangers.is_empty() {
        return;
    }
    // The first on the way that all of them are not behind keeps nobody apart who is in the group.
    for bridge in bridges_above(kernel, device.bdf) {
        let config = attribute_file(bridge, "config");
        match acs(kernel, bridge) {
            Acs::Apart => {}
            Acs::Unknown => {
                let why = format!(
                    "whether {bridge} has ACS is in {config}, of which only root is shown enough"
                );
                examination.unknown.push(ENTRY.unknown(why));
                return;
            }
            Acs::Together => {
                let names: Vec<_> = strangers.iter().map(ToString::to_string).collect();
                examination.findings.push(ENTRY.found(
                    Weight::Limits,
                    format!(
                        "{} shares group {} with {}: the bridge {bridge} does not keep them apart (no ACS)",
                        device.bdf,
                        group.id,
                        names.join(", ")
                    ),
                    vec![Evidence::new(config, "no ACS, or not on")],
                    remedies(device.bdf),
                ));
                return;
            }
        }
    }
}

fn remedies(bdf: Bdf) -> Vec<Remedy> {
    vec![
        Remedy::disrupts(format!(
            "give the whole group away, to one program: vfioctl bind --group {bdf}"
        )),
        Remedy::disrupts("use another slot: those at the processor often have ports with ACS"),
        Remedy::disrupts("switch ACS on in the firmware's setup, if it has such a switch"),
        Remedy::gives_up_safety(
            "a kernel with the ACS override patch only says that they are apart: the devices still reach each other \
             without the IOMMU, and one guest's can write to another's",
        ),
    ]
}

fn are_functions_of_one(one: Bdf, other: Bdf) -> bool {
    let slot = |bdf: Bdf| bdf.to_string().split('.').next().map(str::to_owned);
    slot(one) == slot(other)
}
