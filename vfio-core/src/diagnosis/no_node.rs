//! VFIO-09: the host has an IOMMU, and VFIO's node for the device is missing.

use crate::container::CONTAINER_NODE;
use crate::error::{Error, ErrorKind};
use crate::group::group_node;
use crate::host::{self, Bdf, IommuGroup, PciDevice};
use crate::kernel::{Errno, Kernel};

use super::{Diagnosis, Evidence};

/// The base class of bridges, which vfio-pci does not take.
const BRIDGE: u32 = 0x06;

/// What is missing, what shows it, what helps.
type Missing = (String, Vec<Evidence>, Vec<String>);

pub(super) fn diagnose(error: &Error, kernel: &dyn Kernel) -> Option<Diagnosis> {
    let (cause, evidence, remedies) = match (error.kind(), error.errno(), error.operation()) {
        (ErrorKind::NoVfio, ..) => no_vfio(),
        (ErrorKind::NotBound, ..) => match error.device() {
            Some(bdf) => device_not_bound(bdf, error.reason()?),
            None => group_not_bound(&host::group(kernel, error.group()?).ok()?),
        },
        (_, Some(Errno::NOENT), "open") => {
            let group = host::group(kernel, error.group()?).ok()?;
            if group.devices.iter().any(PciDevice::is_bound_to_vfio) {
                no_group_node(group.id)
            } else {
                group_not_bound(&group)
            }
        }
        _ => return None,
    };
    Some(Diagnosis {
        code: "VFIO-09",
        name: "no-vfio-node",
        cause,
        evidence,
        remedies,
    })
}

fn no_vfio() -> Missing {
    (
        "the kernel's VFIO is not loaded".to_owned(),
        vec![Evidence::new(CONTAINER_NODE, "not there")],
        vec![
            "load it: modprobe vfio-pci (on POWER also vfio_iommu_spapr_tce, elsewhere \
             vfio_iommu_type1)"
                .to_owned(),
            "in a container: pass /dev/vfio through".to_owned(),
        ],
    )
}

fn device_not_bound(bdf: Bdf, why: &str) -> Missing {
    (
        why.to_owned(),
        vec![Evidence::new(driver_link(bdf), why)],
        bind_commands(&bdf.to_string()),
    )
}

fn group_not_bound(group: &IommuGroup) -> Missing {
    let evidence = group.devices.iter().map(|device| {
        let driver = device.driver.as_deref().unwrap_or("no driver");
        Evidence::new(driver_link(device.bdf), driver)
    });
    let mut remedies: Vec<_> = group
        .devices
        .iter()
        .filter(|device| device.class >> 16 != BRIDGE)
        .flat_map(|device| bind_commands(&device.bdf.to_string()))
        .collect();
    if remedies.is_empty() {
        remedies.push("use another group: this one has no device that can be bound".to_owned());
    }
    (
        format!("no member of group {} is bound to VFIO", group.id),
        evidence.collect(),
        remedies,
    )
}

fn no_group_node(id: u32) -> Missing {
    let node = group_node(id);
    (
        format!(
            "{} is not there although its device is bound to VFIO",
            node.display()
        ),
        vec![Evidence::new(node, "not there")],
        vec![
            "in a container: pass the node through".to_owned(),
            "outside: see whether udev or devtmpfs is running".to_owned(),
            "with the kernel's noiommu mode the node is called noiommu-N".to_owned(),
        ],
    )
}

fn driver_link(bdf: Bdf) -> String {
    format!("/sys/bus/pci/devices/{bdf}/driver")
}

/// How one device comes to vfio-pci.
pub(super) fn bind_commands(bdf: &str) -> Vec<String> {
    vec![format!(
        "bind it, if nothing on this host needs it:\n\
             modprobe vfio-pci\n\
             echo vfio-pci > /sys/bus/pci/devices/{bdf}/driver_override\n\
             echo {bdf} > /sys/bus/pci/devices/{bdf}/driver/unbind   # if it has a driver\n\
             echo {bdf} > /sys/bus/pci/drivers_probe"
    )]
}
