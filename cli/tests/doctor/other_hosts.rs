//! Hosts of other kinds than the lab's, where something is not what it looks like.

use serde_json::Value;

use crate::DISK;
use crate::fixture::Fixture;

/// What the doctor says of [`DISK`] there.
fn answer(edits: &str) -> Value {
    let said = Fixture::edited(edits).doctor(DISK, true);
    serde_json::from_str(&said.stdout).unwrap()
}

/// The codes, and everything that is said.
fn said(edits: &str) -> (Vec<String>, String) {
    let answer = answer(edits);
    let codes = crate::codes(&answer).into_iter().map(str::to_owned);
    (codes.collect(), answer.to_string())
}

/// `mlx5_vfio_pci` and others like it need `vfio-pci-core`, and not the module `vfio-pci`.
#[test]
fn a_variant_driver_needs_no_vfio_pci_beside_it() {
    let (codes, said) = said(
        "base healthy\n\
         gone /sys/bus/pci/drivers/vfio-pci\n\
         directory /sys/bus/pci/drivers/mlx5_vfio_pci\n\
         link /sys/devices/pci0000:00/0000:00:04.0/driver ../../../bus/pci/drivers/mlx5_vfio_pci\n",
    );
    assert_eq!(codes, [""; 0], "{said}");
}

/// VFIO gives it away in a group without an IOMMU as soon as it is bound.
#[test]
fn a_device_without_a_group_is_not_ready_because_noiommu_mode_is_on() {
    let (codes, said) = said(
        "base healthy\n\
         gone /sys/devices/pci0000:00/0000:00:04.0/iommu_group\n\
         gone /sys/devices/pci0000:00/0000:00:04.0/driver\n\
         file /sys/devices/pci0000:00/0000:00:04.0/driver_override (null)\\n\n\
         file /sys/module/vfio/parameters/enable_unsafe_noiommu_mode Y\\n\n",
    );
    assert_eq!(codes, ["VFIO-17"], "{said}");
}

/// The kernel names what its drivers of framebuffers hold after them.
#[test]
fn a_console_of_drm_is_a_console() {
    for holder in ["simpledrm", "efidrm", "vesadrm", "ofdrm", "offb"] {
        let (codes, said) = said(&format!(
            "base healthy\n\
             file /proc/iomem 00000000-00000000 : PCI Bus 0000:00\\n  00000000-00000000 : 0000:00:04.0\\n    \
             00000000-00000000 : {holder}\\n\n"
        ));
        assert_eq!(codes, ["VFIO-07"], "{said}");
    }
}

#[test]
fn what_switches_remapping_on_is_not_said_to_switch_it_off() {
    let (codes, text) = said("base no-remapping\nfile /proc/cmdline intremap=on\\n\n");
    assert_eq!(codes, ["VFIO-05"]);
    assert!(!text.contains("take intremap=on"), "{text}");
    let (_, text) = said("base no-remapping\nfile /proc/cmdline intremap=nosid,off\\n\n");
    assert!(text.contains("take intremap=nosid,off"), "{text}");
    // It is on unless it is switched off: to say so to the kernel changes nothing.
    let (_, text) = said("base no-remapping\nfile /proc/cmdline quiet\\n\n");
    assert!(!text.contains("add intremap=on"), "{text}");
}

const NO_TABLE: &str = "base no-IOMMU\n\
    gone /sys/firmware/acpi/tables/DMAR\n\
    file /proc/cmdline quiet\\n\n";

#[test]
fn what_is_said_of_intel_is_not_said_of_amd() {
    let (codes, text) = said(&format!("{NO_TABLE}file /sys/firmware/acpi/tables/IVRS \n"));
    assert_eq!(codes, ["VFIO-01"]);
    assert!(text.contains("IVRS is there"), "{text}");
    assert!(!text.contains("intel_iommu"), "{text}");
}

/// Since 6.9 Linux makes an empty tree where the firmware has none.
#[test]
fn a_device_tree_alone_is_no_iommu() {
    let empty = "file /sys/firmware/devicetree/base/compatible none\n\
                 link /proc/device-tree /sys/firmware/devicetree/base\n";
    let (_, text) = said(&format!("{NO_TABLE}{empty}"));
    assert!(text.contains("no IOMMU that the kernel knows of"), "{text}");
    let (_, text) = said(&format!(
        "{NO_TABLE}{empty}file /sys/firmware/devicetree/base/soc/iommu@15000000/#iommu-cells 1\n"
    ));
    assert!(text.contains("the kernel does not use it"), "{text}");
    assert!(
        !text.contains("acpi/tables\",\"found\":\"device tree"),
        "{text}"
    );
}

#[test]
fn suse_has_a_grub_of_its_own_name() {
    let (_, text) = said(&format!(
        "{NO_TABLE}file /etc/os-release ID_LIKE=\"suse opensuse\"\\n\n"
    ));
    assert!(
        text.contains("grub2-mkconfig -o /boot/grub2/grub.cfg"),
        "{text}"
    );
}

#[test]
fn an_iommu_is_not_switched_off_by_what_lets_other_devices_past_it() {
    let (_, text) = said(&format!(
        "{NO_TABLE}file /proc/cmdline arm-smmu.disable_bypass=0 iommu=pt,off\\n\n"
    ));
    assert!(!text.contains("take arm-smmu"), "{text}");
    assert!(text.contains("take iommu=pt,off"), "{text}");
}
