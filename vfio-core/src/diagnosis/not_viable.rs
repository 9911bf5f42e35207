//! VFIO-02: another member of the group belongs to a driver of the kernel's own.

use crate::error::{Error, ErrorKind};
use crate::host;
use crate::kernel::Kernel;

use super::no_node::bind_commands;
use super::{Diagnosis, Evidence};

pub(super) fn diagnose(error: &Error, kernel: &dyn Kernel) -> Option<Diagnosis> {
    let id = match error.kind() {
        ErrorKind::NotViable => error.group()?,
        _ => return None,
    };
    let group = host::group(kernel, id).ok()?;
    let spoilers: Vec<_> = group.spoilers().collect();
    let names: Vec<_> = spoilers.iter().map(ToString::to_string).collect();
    let evidence = spoilers.iter().map(|device| {
        Evidence::new(
            format!("/sys/bus/pci/devices/{}/driver", device.bdf),
            device.driver.as_deref().unwrap_or("no driver"),
        )
    });
    let mut remedies: Vec<_> = spoilers
        .iter()
        .flat_map(|device| bind_commands(&device.bdf.to_string()))
        .collect();
    remedies
        .push("or move one of the devices to another slot, so that the groups differ".to_owned());
    Some(Diagnosis {
        code: "VFIO-02",
        name: "group-not-viable",
        cause: match names.is_empty() {
            false => format!(
                "group {id} can only be given away whole, and in the way is {}",
                names.join(", ")
            ),
            true => format!(
                "group {id} can only be given away whole, and somebody has a part of it who is no driver of \
                 a PCI device: another user of VFIO, or a device on another bus"
            ),
        },
        evidence: evidence.collect(),
        remedies,
    })
}
