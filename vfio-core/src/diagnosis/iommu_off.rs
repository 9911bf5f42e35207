//! VFIO-01: no IOMMU is at work on this host, or none in front of this device.

use crate::error::{Error, ErrorKind};
use crate::host::{self, Distribution, is_x86};
use crate::kernel::Kernel;

use super::{
    Diagnosis, Entry, Evidence, Examination, Patient, Remedy, Weight, listing, names, noiommu,
};

const GROUPS: &str = "/sys/kernel/iommu_groups";
const IOMMUS: &str = "/sys/class/iommu";
const ACPI_TABLES: &str = "/sys/firmware/acpi/tables";
const DEVICE_TREE: &str = "/sys/firmware/devicetree/base";

/// What switches an IOMMU on or off at boot.
const SWITCHES: [&str; 3] = ["intel_iommu", "amd_iommu", "iommu"];

pub(super) const ENTRY: Entry = Entry {
    code: "VFIO-01",
    name: "iommu-off",
    of_error: diagnose,
    examine,
};

fn diagnose(error: &Error, kernel: &dyn Kernel) -> Option<Diagnosis> {
    let no_groups = names(kernel, GROUPS).is_empty();
    let applies = match error.kind() {
        ErrorKind::NoGroup => true,
        ErrorKind::NoVfio => no_groups,
        _ => false,
    };
    applies.then(|| finding(kernel, no_groups))
}

fn examine(patient: &Patient<'_>, examination: &mut Examination) {
    let kernel = patient.kernel;
    let no_groups = !patient.surroundings.has_groups();
    let lacks_one = |device: &host::PciDevice| device.group.is_none();
    if !(no_groups || patient.device.is_some_and(lacks_one)) || noiommu::is_on(kernel) {
        return;
    }
    let iommus = host::iommus(kernel);
    let may_come = |name: &String| host::iommu_kind(name) == "virtio-iommu";
    let is_unbound = patient.device.is_some_and(|device| device.driver.is_none());
    if is_unbound && iommus.iter().any(may_come) {
        let why = "the device has no group yet: this IOMMU (virtio-iommu) makes one when a driver takes the device";
        examination.unknown.push(ENTRY.unknown(why));
        return;
    }
    examination.findings.push(finding(kernel, no_groups));
}

fn finding(kernel: &dyn Kernel, no_groups: bool) -> Diagnosis {
    let (arch, _) = kernel.identity();
    let table = host::firmware_table(kernel);
    let off = host::switched_off(kernel, &SWITCHES);
    let mut evidence = vec![listing(kernel, GROUPS), listing(kernel, IOMMUS)];
    match table {
        Some("device tree") => evidence.push(Evidence::new(DEVICE_TREE, "it describes an IOMMU")),
        Some(name) => evidence.push(Evidence::new(ACPI_TABLES, format!("{name} is there"))),
        None if is_x86(&arch) => evidence.push(Evidence::new(ACPI_TABLES, "no DMAR, IVRS or IORT")),
        None => {}
    }
    if !off.is_empty() {
        evidence.push(Evidence::new("/proc/cmdline", off.join(" ")));
    }
    let cause = match (no_groups, table) {
        (false, _) => "the host has an IOMMU, but not in front of this device",
        (true, Some(_)) => "the firmware describes an IOMMU and the kernel does not use it",
        (true, None) => "this host has no IOMMU that the kernel knows of",
    };
    let remedies = if no_groups {
        remedies(kernel, &arch, table, &off)
    } else {
        vec![Remedy::disrupts(
            "use another slot, or a device behind an IOMMU",
        )]
    };
    ENTRY.found(Weight::Blocks, cause, evidence, remedies)
}

fn remedies(kernel: &dyn Kernel, arch: &str, table: Option<&str>, off: &[String]) -> Vec<Remedy> {
    let mut remedies = Vec::new();
    if !off.is_empty() {
        let words = off.join(" ");
        remedies.push(Remedy::disrupts(format!(
            "take {words} from the kernel's command line in the boot loader, and reboot"
        )));
    }
    if table.is_none() {
        remedies.push(Remedy::disrupts(match arch {
            arch if is_x86(arch) => {
                "switch the IOMMU on in the firmware's setup (VT-d, AMD-Vi, \"IOMMU\")"
            }
            "aarch64" => "switch the SMMU on in the firmware's setup, if it has one",
            _ => "this machine's firmware must describe an IOMMU for its PCI host bridges",
        }));
    }
    if is_x86(arch) && off.is_empty() {
        let how = Distribution::of(kernel).add_boot_argument("intel_iommu=on");
        match table {
            Some("DMAR") => remedies.push(Remedy::disrupts(how)),
            Some("IVRS") => remedies.push(Remedy::safe(
                "AMD needs no argument: the kernel's log says what it has against it: dmesg | grep AMD-Vi",
            )),
            _ => remedies.push(Remedy::disrupts(format!(
                "Intel (AMD needs no argument): {how}"
            ))),
        }
    }
    remedies.push(Remedy::disrupts(
        "in a virtual machine: give the machine a virtual IOMMU (QEMU: -device intel-iommu, \
         iommu=smmuv3, or virtio-iommu-pci)",
    ));
    remedies
}
