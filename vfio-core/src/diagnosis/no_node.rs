//! VFIO-09: the host has an IOMMU, and VFIO's node for the device is missing.

use std::path::PathBuf;

use crate::container::CONTAINER_NODE;
use crate::error::{Error, ErrorKind};
use crate::group::group_node;
use crate::kernel::{Errno, Kernel};

use super::{Diagnosis, Evidence};

pub(super) fn diagnose(error: &Error, _: &dyn Kernel) -> Option<Diagnosis> {
    let (cause, evidence, remedies) = match (error.kind(), error.errno()) {
        (ErrorKind::NoVfio, _) => (
            "the kernel's VFIO is not loaded".to_owned(),
            Evidence::new(CONTAINER_NODE, "not there"),
            vec![
                "load it: modprobe vfio-pci (on POWER also vfio_iommu_spapr_tce, elsewhere \
                 vfio_iommu_type1)"
                    .to_owned(),
                "in a container: pass /dev/vfio through".to_owned(),
            ],
        ),
        (ErrorKind::NotBound, _) => {
            let bdf = error.device()?;
            let link = format!("/sys/bus/pci/devices/{bdf}/driver");
            (
                error.reason()?.to_owned(),
                Evidence::new(link, error.reason()?),
                bind_commands(&bdf.to_string()),
            )
        }
        (_, Some(Errno::NOENT)) => {
            let node: PathBuf = group_node(error.group()?);
            (
                format!(
                    "{} is not there although its device is bound to VFIO",
                    node.display()
                ),
                Evidence::new(node, "not there"),
                vec![
                    "in a container: pass the node through".to_owned(),
                    "outside: see whether udev or devtmpfs is running".to_owned(),
                    "with the kernel's noiommu mode the node is called noiommu-N".to_owned(),
                ],
            )
        }
        _ => return None,
    };
    Some(Diagnosis {
        code: "VFIO-09",
        name: "no-vfio-node",
        cause,
        evidence: vec![evidence],
        remedies,
    })
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
