//! What is in a capture: this table, and nothing else.
//!
//! A query may read what it likes: a file without a rule here is left out of the archive, and said to be. To have it in,
//! add it, with what is to be kept of it. Every file of the table is looked at for a capture, so that a host can later be
//! asked what the program that captured it did not ask yet.

use std::path::Path;

/// What is kept of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// All of it: it says the same of every host that has this hardware and these settings.
    Whole,
    /// The words of a command line that the queries know.
    CommandLine,
    /// The lines about rights and locked memory.
    Status,
    /// What lies on PCI buses.
    PciMemory,
    /// Which chips interrupts pass.
    InterruptChips,
    /// The header and the capabilities that have no number of this one device in them.
    Config,
    /// Which distribution it is.
    Distribution,
}

/// Files: the directory, in which `*` is any name and `**` any number of names, their names, and what is kept.
const FILES: &[(&str, &[&str], Keep)] = &[
    (
        "/sys/bus/pci/devices/*",
        &[
            "vendor",
            "device",
            "class",
            "subsystem_vendor",
            "subsystem_device",
            "revision",
            "driver_override",
            "numa_node",
            "resource",
            "reset_method",
            "power_state",
            "d3cold_allowed",
            "boot_vga",
            "enable",
        ],
        Keep::Whole,
    ),
    ("/sys/bus/pci/devices/*", &["config"], Keep::Config),
    (
        "/sys/bus/pci/devices/*/power",
        &["control", "runtime_status"],
        Keep::Whole,
    ),
    (
        "/sys/class/iommu/*/intel-iommu",
        &["version", "cap", "ecap"],
        Keep::Whole,
    ),
    (
        "/sys/kernel/iommu_groups/*",
        &["reserved_regions", "type", "name"],
        Keep::Whole,
    ),
    ("/sys/module/vfio/parameters", &["*"], Keep::Whole),
    (
        "/sys/module/vfio_iommu_type1/parameters",
        &["*"],
        Keep::Whole,
    ),
    (
        "/sys/module/vfio_iommu_spapr_tce/parameters",
        &["*"],
        Keep::Whole,
    ),
    ("/sys/module/vfio_pci/parameters", &["*"], Keep::Whole),
    ("/sys/module/kvm_intel/parameters", &["*"], Keep::Whole),
    ("/sys/module/kvm_amd/parameters", &["*"], Keep::Whole),
    (
        "/sys/firmware/devicetree/base/**",
        &[
            "#address-cells",
            "#iommu-cells",
            "#size-cells",
            "device_type",
            "ranges",
            "ibm,ddw-applicable",
            "ibm,dma-window",
            "ibm,opal-m64-window",
        ],
        Keep::Whole,
    ),
    ("/proc", &["cmdline"], Keep::CommandLine),
    ("/proc", &["iomem"], Keep::PciMemory),
    ("/proc", &["interrupts"], Keep::InterruptChips),
    ("/proc/self", &["status"], Keep::Status),
    ("/etc", &["os-release"], Keep::Distribution),
    ("/usr/lib", &["os-release"], Keep::Distribution),
];

/// Links, in the same form. Any link of sysfs that a query reads is kept: it leads to another place in sysfs.
const LINKS: &[(&str, &[&str])] = &[
    ("/sys/bus/pci/devices", &["*"]),
    (
        "/sys/bus/pci/devices/*",
        &["driver", "iommu_group", "physfn"],
    ),
    ("/sys/kernel/iommu_groups/*/devices", &["*"]),
];

/// Directories that are listed beside those that a `*` stands in.
const DIRECTORIES: &[(&str, &[&str])] = &[
    ("/sys/bus/pci/drivers", &["*"]),
    ("/sys/class/iommu", &["*"]),
    ("/sys/class/iommu/*", &["devices"]),
    ("/sys/class/misc", &["vfio", "iommu"]),
    ("/sys/class/vfio-dev", &["*"]),
    ("/sys/bus/pci/devices/*", &["vfio-dev"]),
    ("/sys/firmware/acpi", &["tables"]),
    ("/dev/vfio", &["devices"]),
];

/// What is kept of that file; `None`: no rule says that it holds nothing secret.
pub(super) fn rule(path: &Path) -> Option<Keep> {
    let path = path.to_str()?;
    let (directory, name) = path.rsplit_once('/')?;
    FILES.iter().find_map(|(pattern, names, keep)| {
        let fits = names.iter().any(|known| ["*", name].contains(known));
        (fits && matches(pattern, directory)).then_some(*keep)
    })
}

/// Whether the names in a directory may be told: the kernel has named what is in it.
pub(super) fn may_list(directory: &Path) -> bool {
    ["/sys", "/proc", "/dev/vfio"]
        .iter()
        .any(|known| directory.starts_with(known))
}

/// Files whose place is known, with their directory.
pub(super) fn files() -> impl Iterator<Item = (&'static str, &'static [&'static str])> {
    FILES
        .iter()
        .map(|(directory, names, _)| (*directory, *names))
        .filter(|(directory, _)| !directory.contains("**"))
}

pub(super) fn links() -> impl Iterator<Item = (&'static str, &'static [&'static str])> {
    LINKS.iter().copied()
}

pub(super) fn directories() -> impl Iterator<Item = (&'static str, &'static [&'static str])> {
    DIRECTORIES.iter().copied()
}

fn matches(pattern: &str, path: &str) -> bool {
    fn fits<'a>(
        mut pattern: impl Iterator<Item = &'a str> + Clone,
        mut path: impl Iterator<Item = &'a str> + Clone,
    ) -> bool {
        loop {
            match (pattern.next(), path.next()) {
                (None, None) => return true,
                (Some("**"), _) => return true, // it stands at the end
                (Some("*"), Some(_)) => {}
                (Some(wanted), Some(name)) if wanted == name => {}
                _ => return false,
            }
        }
    }
    fits(pattern.split('/'), path.split('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_the_rule_of_its_place_or_none() {
        let rule = |path: &str| rule(path.as_ref());
        let device = "/sys/bus/pci/devices/0000:00:01.0";
        assert_eq!(rule(&format!("{device}/vendor")), Some(Keep::Whole));
        assert_eq!(rule(&format!("{device}/config")), Some(Keep::Config));
        assert_eq!(rule(&format!("{device}/vpd")), None);
        assert_eq!(rule(&format!("{device}/net/eth0/vendor")), None);
        assert_eq!(
            rule("/sys/module/vfio/parameters/anything"),
            Some(Keep::Whole)
        );
        assert_eq!(rule("/sys/module/other/parameters/anything"), None);
        let tree = "/sys/firmware/devicetree/base";
        assert_eq!(rule(&format!("{tree}/ranges")), Some(Keep::Whole));
        assert_eq!(rule(&format!("{tree}/pci@8/ranges")), Some(Keep::Whole));
        assert_eq!(rule(&format!("{tree}/serial-number")), None);
        assert_eq!(rule("/proc/self/status"), Some(Keep::Status));
        assert_eq!(rule("/proc/1/status"), None);
        assert_eq!(rule("/etc/hostname"), None);
    }
}
