//! The part of sysfs that `vfio_core::host` reads, made from a machine's description.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use vfio_core::kernel::{Errno, Result};

use crate::machine::{Device, Machine};

const GROUPS: &str = "/sys/kernel/iommu_groups";
const DEVICES: &str = "/sys/bus/pci/devices";
const DRIVERS: &str = "/sys/bus/pci/drivers";

/// Paths and what is there.
#[derive(Debug, Default)]
pub(crate) struct HostTree(BTreeMap<PathBuf, Node>);

#[derive(Debug)]
enum Node {
    Directory,
    File(String),
    Link(PathBuf),
}

impl HostTree {
    pub(crate) fn of(machine: &Machine) -> Self {
        let mut tree = Self::default();
        for directory in [GROUPS, DEVICES, DRIVERS] {
            tree.insert(directory, Node::Directory);
        }
        for device in &machine.ungrouped {
            tree.insert_device(device);
        }
        for group in &machine.groups {
            let group_directory = format!("{GROUPS}/{}", group.id);
            tree.insert(format!("{group_directory}/devices"), Node::Directory);
            for device in &group.devices {
                tree.insert_device(device);
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

    fn insert_device(&mut self, device: &Device) {
        let directory = format!("{DEVICES}/{}", device.bdf);
        let mut id = |name, text| self.insert(format!("{directory}/{name}"), Node::File(text));
        id("vendor", format!("{:#06x}\n", device.vendor));
        id("device", format!("{:#06x}\n", device.device));
        id("class", format!("{:#08x}\n", device.class));
        let node = device
            .numa_node
            .map_or("-1".to_owned(), |node| node.to_string());
        id("numa_node", format!("{node}\n"));
        if let Some(driver) = &device.driver {
            self.link(format!("{directory}/driver"), format!("{DRIVERS}/{driver}"));
        }
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
            Node::File(text) => Ok(text.as_bytes().to_vec()),
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
}
