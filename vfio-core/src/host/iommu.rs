//! What sysfs, proc and the firmware's tables say of the IOMMU, before anything is attached.

use crate::kernel::Kernel;

use super::text::{hex, names, text};

const IOMMUS: &str = "/sys/class/iommu";
const ACPI_TABLES: &str = "/sys/firmware/acpi/tables";
const DEVICE_TREE: &str = "/sys/firmware/devicetree/base";
const INTERRUPTS: &str = "/proc/interrupts";

/// The IOMMUs that the kernel has a driver for, by name: `dmar0`, `ivhd0`, `smmu3.0x...`, `iommu-phb0000`. Linux before 6.9
/// names none on POWER.
pub fn iommus(kernel: &dyn Kernel) -> Vec<String> {
    names(kernel, IOMMUS).unwrap_or_default()
}

/// What an IOMMU is, by its name in sysfs.
pub fn iommu_kind(name: &str) -> &'static str {
    const KINDS: [(&str, &str); 6] = [
        ("dmar", "Intel VT-d"),
        ("ivhd", "AMD-Vi"),
        ("smmu3", "Arm SMMUv3"),
        ("smmu", "Arm SMMU"),
        ("iommu-phb", "POWER host bridge (TCE)"),
        ("virtio", "virtio-iommu"),
    ];
    let kind = KINDS.iter().find(|(prefix, _)| name.starts_with(prefix));
    match kind {
        Some((_, kind)) => kind,
        // It is named after its PCI device.
        None if name.parse::<super::Bdf>().is_ok() => "virtio-iommu",
        None => "unknown kind",
    }
}

/// How the firmware tells the kernel of an IOMMU: an ACPI table (`DMAR`, `IVRS`, `IORT`, `VIOT`), or the device tree.
/// `None`: not at all, as far as can be seen.
pub fn firmware_table(kernel: &dyn Kernel) -> Option<&'static str> {
    let tables = names(kernel, ACPI_TABLES).unwrap_or_default();
    let acpi = ["DMAR", "IVRS", "IORT", "VIOT"];
    let found = acpi
        .into_iter()
        .find(|name| tables.iter().any(|it| it == name));
    found.or_else(|| tree_describes_one(kernel).then_some("device tree"))
}

/// Whether the device tree has an IOMMU. That there is a tree says nothing: since 6.9 Linux makes an empty one where the
/// firmware has none.
fn tree_describes_one(kernel: &dyn Kernel) -> bool {
    let children = |dir: &str| {
        let names = names(kernel, dir).unwrap_or_default().into_iter();
        names
            .map(|name| format!("{dir}/{name}"))
            .collect::<Vec<_>>()
    };
    let is_one = |node: &String| kernel.read(format!("{node}/#iommu-cells").as_ref()).is_ok();
    let nodes = children(DEVICE_TREE);
    // Every host bridge of POWER is one, and an IOMMU of others is at the top or on a bus there.
    is_power(&kernel.identity().0) && !nodes.is_empty()
        || nodes.iter().any(is_one)
        || nodes.iter().any(|node| children(node).iter().any(is_one))
}

/// Whether the interrupts of devices are remapped, by the names of the chips in `/proc/interrupts`; `None` where that
/// does not tell: on other processors than x86, or if no device has such interrupts.
pub fn interrupt_remapping(kernel: &dyn Kernel) -> Option<bool> {
    if !is_x86(&kernel.identity().0) {
        return None;
    }
    let table = text(kernel, INTERRUPTS).ok()?;
    let mut plain = false;
    for word in table.split_whitespace() {
        if word.starts_with("IR-") || word.starts_with("AMD-IR") {
            return Some(true);
        }
        plain |= word.starts_with("PCI-MSI") || word.starts_with("IO-APIC");
    }
    plain.then_some(false)
}

/// How many bits the addresses of VT-d have, by its capability registers: the least of all its units. `None` elsewhere.
pub fn vtd_address_bits(kernel: &dyn Kernel) -> Option<(String, u32)> {
    let units = iommus(kernel)
        .into_iter()
        .filter(|name| name.starts_with("dmar"));
    let bits = units.filter_map(|name| {
        let file = format!("{IOMMUS}/{name}/intel-iommu/cap");
        let capabilities = hex(&text(kernel, &file).ok()?)?;
        Some((file, address_bits(capabilities)?))
    });
    bits.min_by_key(|(_, bits)| *bits)
}

/// The widest page table that the unit walks, and no more than the addresses that it takes (VT-d, capability register:
/// MGAW and SAGAW).
fn address_bits(capabilities: u64) -> Option<u32> {
    let taken = u32::try_from(capabilities >> 16 & 0x3f).ok()? + 1;
    let walked = [(4, 64), (3, 57), (2, 48), (1, 39)];
    let widest = walked
        .iter()
        .find(|(bit, _)| capabilities >> (8 + bit) & 1 == 1);
    Some(widest.map_or(taken, |(_, bits)| taken.min(*bits)))
}

/// The words of the kernel's command line that switch one of these off: `iommu=pt,off`.
pub(crate) fn switched_off(kernel: &dyn Kernel, names: &[&str]) -> Vec<String> {
    let mut words = boot_arguments(kernel, names);
    words.retain(|word| {
        word.split_once('=')
            .is_some_and(|(_, values)| values.split(',').any(|value| value == "off"))
    });
    words
}

/// The words of the kernel's command line that begin with one of these.
pub fn boot_arguments(kernel: &dyn Kernel, names: &[&str]) -> Vec<String> {
    let line = text(kernel, "/proc/cmdline").unwrap_or_default();
    let wanted = |word: &&str| {
        // To the kernel `-` and `_` are the same in a name.
        let name = word.split('=').next().unwrap_or(word).replace('-', "_");
        names.iter().any(|known| known.replace('-', "_") == name)
    };
    line.split_whitespace()
        .filter(wanted)
        .map(str::to_owned)
        .collect()
}

pub(crate) fn is_x86(arch: &str) -> bool {
    matches!(arch, "x86_64" | "i686")
}

fn is_power(arch: &str) -> bool {
    matches!(arch, "ppc64le" | "ppc64")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vtd_has_as_many_bits_as_its_tables_and_its_addresses() {
        // QEMU's `intel-iommu` with aw-bits=48 and 39.
        assert_eq!(address_bits(0x00d2_008c_222f_0606), Some(48));
        assert_eq!(address_bits(0x00d2_008c_2226_0206), Some(39));
        assert_eq!(address_bits(0), Some(1));
        assert_eq!(address_bits(u64::MAX), Some(64));
    }
}
