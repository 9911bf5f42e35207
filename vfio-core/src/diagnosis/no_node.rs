//! VFIO-09: the host has an IOMMU, and VFIO's node for the device is missing.

use crate::container::CONTAINER_NODE;
use crate::error::{Error, ErrorKind};
use crate::group::group_node;
use crate::host::{self, Bdf, IommuGroup, PciDevice, attribute_file};
use crate::kernel::{Errno, Kernel};

use super::bind_did_not_take::meant_for;
use super::{Diagnosis, Entry, Evidence, Examination, Patient, Remedy, Weight};

/// The base class of bridges, which vfio-pci does not take.
const BRIDGE: u32 = 0x06;

pub(super) const ENTRY: Entry = Entry {
    code: "VFIO-09",
    name: "no-vfio-node",
    of_error: diagnose,
    examine,
};

fn diagnose(error: &Error, kernel: &dyn Kernel) -> Option<Diagnosis> {
    let diagnosis = match (error.kind(), error.errno(), error.operation()) {
        (ErrorKind::NoVfio, ..) => no_vfio(kernel),
        (ErrorKind::NotBound, ..) => match error.device() {
            Some(bdf) => device_not_bound(&host::device(kernel, bdf).ok()?),
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
    Some(diagnosis)
}

fn examine(patient: &Patient<'_>, examination: &mut Examination) {
    let kernel = patient.kernel;
    let no_groups = !patient.surroundings.has_groups();
    if no_groups || patient.device.is_some_and(|device| device.group.is_none()) {
        return; // without an IOMMU, that is what is wrong
    }
    let interfaces = patient.surroundings.interfaces();
    let has_a_way_in = interfaces.container || interfaces.cdev || interfaces.iommufd;
    // A variant of vfio-pci needs none beside it.
    let has_a_driver = interfaces.pci_driver || patient.bound().is_some();
    if !has_a_way_in || !has_a_driver {
        examination.findings.push(no_vfio(kernel));
        return;
    }
    if interfaces.container && kernel.node(CONTAINER_NODE.as_ref()).is_err() {
        examination.findings.push(no_container_node());
    }
    let Some(device) = patient.device.filter(|_| meant_for(patient).is_none()) else {
        return;
    };
    if !device.is_bound_to_vfio() {
        examination.findings.push(device_not_bound(device));
    } else if let Some(group) = patient.group {
        let node = group_node(group.id);
        if interfaces.container && kernel.node(&node).is_err() && !is_noiommu(kernel, group.id) {
            examination.findings.push(no_group_node(group.id));
        }
    }
}

fn is_noiommu(kernel: &dyn Kernel, group: u32) -> bool {
    let node = format!("/dev/vfio/noiommu-{group}");
    kernel.node(node.as_ref()).is_ok()
}

fn no_vfio(kernel: &dyn Kernel) -> Diagnosis {
    let iommu = match kernel.identity().0.as_str() {
        "ppc64le" | "ppc64" => "modprobe -a vfio-pci vfio_iommu_spapr_tce",
        _ => "modprobe -a vfio-pci vfio_iommu_type1",
    };
    let missing = |place: &str| Evidence::new(place, "not there");
    ENTRY.found(
        Weight::Blocks,
        "the kernel's VFIO is not loaded",
        vec![
            missing("/sys/class/misc/vfio"),
            missing("/sys/bus/pci/drivers/vfio-pci"),
        ]
        .into_iter()
        .filter(|it| !host::exists(kernel, &it.place))
        .chain(
            [missing(CONTAINER_NODE)]
                .into_iter()
                .filter(|it| kernel.node(&it.place).is_err()),
        )
        .collect(),
        vec![
            Remedy::safe(format!("load it, as root: {iommu}")),
            Remedy::safe("in a container: load it on the host, and pass /dev/vfio through"),
        ],
    )
}

fn no_container_node() -> Diagnosis {
    ENTRY.found(
        Weight::Blocks,
        format!("the kernel has VFIO, and {CONTAINER_NODE} is not there"),
        vec![Evidence::new(CONTAINER_NODE, "not there")],
        vec![
            Remedy::safe("in a container: pass /dev/vfio through (docker: --device /dev/vfio)"),
            Remedy::safe("outside: see whether udev or devtmpfs is running"),
        ],
    )
}

fn device_not_bound(device: &PciDevice) -> Diagnosis {
    let bdf = device.bdf;
    let (has, driver) = match &device.driver {
        Some(driver) => (
            format!("bound to {driver}, which is no driver of VFIO's"),
            driver.as_str(),
        ),
        None => ("bound to no driver".to_owned(), "not there"),
    };
    ENTRY.found(
        Weight::Blocks,
        format!("{bdf} is {has}"),
        vec![Evidence::new(attribute_file(bdf, "driver"), driver)],
        vec![bind([bdf])],
    )
}

fn group_not_bound(group: &IommuGroup) -> Diagnosis {
    let evidence = group.devices.iter().map(|device| {
        let driver = device.driver.as_deref().unwrap_or("no driver");
        Evidence::new(attribute_file(device.bdf, "driver"), driver)
    });
    let endpoints: Vec<_> = group
        .devices
        .iter()
        .filter(|device| device.class >> 16 != BRIDGE)
        .map(|device| device.bdf)
        .collect();
    let remedy = match endpoints.is_empty() {
        true => Remedy::safe("use another group: this one has no device that can be bound"),
        false => bind(endpoints),
    };
    ENTRY.found(
        Weight::Blocks,
        format!("no member of group {} is bound to VFIO", group.id),
        evidence.collect(),
        vec![remedy],
    )
}

fn no_group_node(id: u32) -> Diagnosis {
    let node = group_node(id);
    ENTRY.found(
        Weight::Blocks,
        format!(
            "{} is not there although its device is bound to VFIO",
            node.display()
        ),
        vec![Evidence::new(&node, "not there")],
        vec![
            Remedy::safe(format!(
                "in a container: pass the node through (docker: --device {})",
                node.display()
            )),
            Remedy::safe("outside: see whether udev or devtmpfs is running"),
            Remedy::safe("with the kernel's noiommu mode the node is called noiommu-N"),
        ],
    )
}

/// How devices come to vfio-pci.
fn bind(bdfs: impl IntoIterator<Item = Bdf>) -> Remedy {
    let bdfs: Vec<_> = bdfs.into_iter().map(|bdf| bdf.to_string()).collect();
    Remedy::disrupts(format!(
        "bind it, as root, if nothing on this host needs it: vfioctl bind {}",
        bdfs.join(" ")
    ))
}
