//! VFIO-01: no IOMMU is at work on this host, or none in front of this device.

use crate::error::{Error, ErrorKind};
use crate::kernel::Kernel;

use super::{Diagnosis, Evidence, listing, names};

const GROUPS: &str = "/sys/kernel/iommu_groups";
const IOMMUS: &str = "/sys/class/iommu";
const ACPI_TABLES: &str = "/sys/firmware/acpi/tables";

pub(super) fn diagnose(error: &Error, kernel: &dyn Kernel) -> Option<Diagnosis> {
    let no_groups = names(kernel, GROUPS).is_empty();
    let applies = match error.kind() {
        ErrorKind::NoGroup => true,
        ErrorKind::NoVfio => no_groups,
        _ => false,
    };
    if !applies {
        return None;
    }
    let (arch, _) = kernel.identity();
    let table = firmware_table(kernel);
    let mut evidence = vec![listing(kernel, GROUPS), listing(kernel, IOMMUS)];
    if is_x86(&arch) || table.is_some() {
        let found = table.map_or("no DMAR, IVRS or IORT".to_owned(), |name| {
            format!("{name} is there")
        });
        evidence.push(Evidence::new(ACPI_TABLES, found));
    }
    let cause = match (no_groups, table) {
        (false, _) => "the host has an IOMMU, but not in front of this device",
        (true, Some(_)) => "the firmware describes an IOMMU and the kernel does not use it",
        (true, None) => "this host has no IOMMU that the kernel knows of",
    };
    Some(Diagnosis {
        code: "VFIO-01",
        name: "iommu-off",
        cause: cause.to_owned(),
        evidence,
        remedies: remedies(&arch, no_groups, table.is_some()),
    })
}

/// The ACPI table that describes an IOMMU.
fn firmware_table(kernel: &dyn Kernel) -> Option<&'static str> {
    let tables = names(kernel, ACPI_TABLES);
    ["DMAR", "IVRS", "IORT"]
        .into_iter()
        .find(|name| tables.iter().any(|table| table == name))
}

fn remedies(arch: &str, no_groups: bool, described: bool) -> Vec<String> {
    if !no_groups {
        return vec!["use another slot, or a device behind an IOMMU".to_owned()];
    }
    let mut remedies = Vec::new();
    if !described {
        remedies.push(match arch {
            arch if is_x86(arch) => {
                "switch the IOMMU on in the firmware's setup (VT-d, AMD-Vi, \"IOMMU\")".to_owned()
            }
            "aarch64" => "switch the SMMU on in the firmware's setup, if it has one".to_owned(),
            _ => {
                "this machine's firmware must describe an IOMMU for its PCI host bridges".to_owned()
            }
        });
    }
    if is_x86(arch) {
        remedies
            .push("boot the kernel with intel_iommu=on (Intel; AMD needs no argument)".to_owned());
    }
    remedies.push(
        "in a virtual machine: give the machine a virtual IOMMU (QEMU: -device intel-iommu, \
         iommu=smmuv3, or virtio-iommu-pci)"
            .to_owned(),
    );
    remedies
}

fn is_x86(arch: &str) -> bool {
    matches!(arch, "x86_64" | "i686")
}
