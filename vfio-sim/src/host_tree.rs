//! The part of sysfs and proc that `vfio_core` reads, made from a machine's description.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use vfio_core::kernel::{Errno, Result};

use crate::device::config_space;
use crate::machine::{Bar, Device, Hardware, Machine, Type1};

const GROUPS: &str = "/sys/kernel/iommu_groups";
const DEVICES: &str = "/sys/bus/pci/devices";
const DRIVERS: &str = "/sys/bus/pci/drivers";
const IOMMUS: &str = "/sys/class/iommu";
const ACPI_TABLES: &str = "/sys/firmware/acpi/tables";
const DEVICE_TREE: &str = "/sys/firmware/devicetree/base";
const VFIO: &str = "/sys/class/misc/vfio";
const TYPE1: &str = "/sys/module/vfio_iommu_type1/parameters";

/// Paths and what is there.
#[derive(Debug, Default)]
pub(crate) struct HostTree(BTreeMap<PathBuf, Node>);

#[derive(Debug)]
enum Node {
    Directory,
    File(Vec<u8>),
    Link(PathBuf),
}

impl HostTree {
    pub(crate) fn of(machine: &Machine) -> Self {
        let mut tree = Self::default();
        for directory in [GROUPS, DEVICES, DRIVERS, IOMMUS] {
            tree.insert(directory, Node::Directory);
        }
        // Another error is one of opening the node, which is there.
        if machine.container_node != Err(Errno::NOENT) {
            tree.insert(VFIO, Node::Directory);
            tree.insert(format!("{DRIVERS}/vfio-pci"), Node::Directory);
        }
        for (number, iommu) in machine.iommus.iter().enumerate() {
            tree.insert_iommu(machine, &iommu.hardware, number);
        }
        for device in &machine.ungrouped {
            tree.insert_device(machine, device);
        }
        for group in &machine.groups {
            let group_directory = format!("{GROUPS}/{}", group.id);
            tree.insert(format!("{group_directory}/devices"), Node::Directory);
            tree.file(
                format!("{group_directory}/reserved_regions"),
                reserved_regions(machine),
            );
            if group.without_iommu {
                tree.file(format!("{group_directory}/name"), "vfio-noiommu\n");
            }
            for device in &group.devices {
                tree.insert_device(machine, device);
                let directory = format!("{DEVICES}/{}", device.bdf);
                tree.link(format!("{directory}/iommu_group"), &group_directory);
                tree.link(
                    format!("{group_directory}/devices/{}", device.bdf),
                    directory,
                );
            }
        }
        tree
    }

    /// What an IOMMU is called, and what its driver for VFIO can be told.
    fn insert_iommu(&mut self, machine: &Machine, hardware: &Hardware, number: usize) {
        let name = match hardware {
            Hardware::Type1(type1) => {
                self.insert_type1(type1);
                let (name, table) = match machine.arch.as_str() {
                    "x86_64" => (format!("dmar{number}"), "DMAR"),
                    _ => (format!("smmu3.{number}"), "IORT"),
                };
                self.file(format!("{ACPI_TABLES}/{table}"), "");
                name
            }
            Hardware::Spapr(_) => {
                self.file(format!("{DEVICE_TREE}/#address-cells"), [0, 0, 0, 2]);
                format!("iommu-phb{number:04x}")
            }
            Hardware::None => {
                let switch = "/sys/module/vfio/parameters/enable_unsafe_noiommu_mode";
                self.file(switch, "Y\n");
                return;
            }
        };
        self.insert(format!("{IOMMUS}/{name}"), Node::Directory);
        if let ("x86_64", Hardware::Type1(type1)) = (machine.arch.as_str(), hardware) {
            let chip = if type1.remaps_interrupts {
                "IR-PCI-MSI"
            } else {
                "PCI-MSI"
            };
            self.file("/proc/interrupts", format!(" 24:  0  {chip}  0-edge\n"));
        }
    }

    fn insert_type1(&mut self, type1: &Type1) {
        let allowed = if type1.allows_unsafe_interrupts {
            "Y\n"
        } else {
            "N\n"
        };
        self.file(format!("{TYPE1}/allow_unsafe_interrupts"), allowed);
        let limit = format!("{}\n", type1.entry_limit);
        self.file(format!("{TYPE1}/dma_entry_limit"), limit);
    }

    fn insert_device(&mut self, machine: &Machine, device: &Device) {
        let directory = format!("{DEVICES}/{}", device.bdf);
        let mut file = |name, text: String| self.file(format!("{directory}/{name}"), text);
        file("vendor", format!("{:#06x}\n", device.vendor));
        file("device", format!("{:#06x}\n", device.device));
        file("class", format!("{:#08x}\n", device.class));
        let node = device
            .numa_node
            .map_or("-1".to_owned(), |node| node.to_string());
        file("numa_node", format!("{node}\n"));
        let only = device.driver_override.as_deref().unwrap_or("(null)");
        file("driver_override", format!("{only}\n"));
        file("power_state", "D0\n".to_owned());
        file("power/runtime_status", "active\n".to_owned());
        let methods = reset_methods(machine, device);
        if !methods.is_empty() {
            file("reset_method", format!("{methods}\n"));
        }
        self.insert(
            format!("{directory}/config"),
            Node::File(config_space(device, machine)),
        );
        self.file(format!("{directory}/resource"), resources(device, machine));
        if let Some(driver) = &device.own_driver {
            self.insert(format!("{DRIVERS}/{driver}"), Node::Directory);
        }
        if let Some(driver) = &device.driver {
            let place = format!("{DRIVERS}/{driver}");
            self.insert(&place, Node::Directory);
            self.link(format!("{directory}/driver"), place);
        }
    }

    fn file(&mut self, path: impl Into<PathBuf>, text: impl Into<Vec<u8>>) {
        self.insert(path, Node::File(text.into()));
    }

    fn link(&mut self, path: String, target: impl Into<PathBuf>) {
        self.insert(path, Node::Link(target.into()));
    }

    /// Adds a node, and the directories that it is in.
    fn insert(&mut self, path: impl Into<PathBuf>, node: Node) {
        let path = path.into();
        for parent in path.ancestors().skip(1) {
            self.0.entry(parent.into()).or_insert(Node::Directory);
        }
        self.0.insert(path, node);
    }

    fn node(&self, path: &Path) -> Result<&Node> {
        self.0.get(path).ok_or(Errno::NOENT)
    }

    pub(crate) fn read(&self, path: &Path) -> Result<Vec<u8>> {
        match self.node(path)? {
            Node::File(bytes) => Ok(bytes.clone()),
            Node::Directory | Node::Link(_) => Err(Errno::ISDIR), // every link leads to a directory
        }
    }

    pub(crate) fn list(&self, path: &Path) -> Result<Vec<OsString>> {
        match self.node(path)? {
            Node::Directory => Ok(self
                .0
                .keys()
                .filter(|child| child.parent() == Some(path))
                .filter_map(|child| child.file_name().map(ToOwned::to_owned))
                .collect()),
            Node::Link(target) => self.list(target),
            Node::File(_) => Err(Errno::NOTDIR),
        }
    }

    pub(crate) fn read_link(&self, path: &Path) -> Result<PathBuf> {
        match self.node(path)? {
            Node::Link(target) => Ok(target.clone()),
            Node::Directory | Node::File(_) => Err(Errno::INVAL),
        }
    }

    /// Whether something is there: a file, a directory.
    pub(crate) fn has(&self, path: &Path) -> bool {
        self.0.contains_key(path)
    }
}

/// What is between the ranges that can be mapped is the interrupts' own.
fn reserved_regions(machine: &Machine) -> String {
    let type1 = machine
        .iommus
        .iter()
        .find_map(|iommu| match &iommu.hardware {
            Hardware::Type1(type1) => Some(type1),
            _ => None,
        });
    let ranges = type1.map_or(&[][..], |type1| &type1.ranges);
    let gaps = ranges.windows(2).filter_map(|pair| match pair {
        [(_, last), (first, _)] => Some(format!("{:#018x} {:#018x} msi\n", last + 1, first - 1)),
        _ => None,
    });
    gaps.collect()
}

/// The ways in which the kernel can reset a device, in the order in which it tries them.
fn reset_methods(machine: &Machine, device: &Device) -> String {
    let own = match device.has_function_level_reset() {
        true => "flr",
        false => "pm",
    };
    let ways = [
        (device.function_reset, own),
        (machine.on_reset_bus_of(device) == 1, "bus"),
    ];
    let there = ways.into_iter().filter(|(is_there, _)| *is_there);
    there.map(|(_, way)| way).collect::<Vec<_>>().join(" ")
}

/// First and last address and flags of each BAR; zeros where there is none, and for ports on a host that has none.
fn resources(device: &Device, machine: &Machine) -> String {
    const IO: u64 = 0x100;
    const MEMORY: u64 = 0x200;
    let line = |number| {
        let is_placed = |bar: &Bar| machine.io_space || bar.is_memory_space();
        let (first, last, flags) = match device.bar(number).filter(is_placed) {
            Some(bar) => {
                let start = device.address(number);
                let kind = if bar.is_memory_space() { MEMORY } else { IO };
                (start, start + bar.size - 1, kind)
            }
            None => (0, 0, 0),
        };
        format!("{first:#018x} {last:#018x} {flags:#018x}\n")
    };
    (0..device.bars.len()).map(line).collect()
}
