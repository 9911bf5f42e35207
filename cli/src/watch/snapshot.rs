//! What is watched, as it is at one moment.

use std::collections::BTreeMap;
use std::fmt;

use vfio_core::host::{self, Bdf};
use vfio_core::kernel::Kernel;
use vfio_core::{ErrorKind, Result, group_node};

/// The devices with their groups and drivers, and the groups' nodes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Snapshot {
    devices: BTreeMap<Bdf, Place>,
    nodes: BTreeMap<u32, NodeState>,
}

/// Where a device is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    group: Option<u32>,
    driver: Option<String>,
}

/// A group's node: whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct NodeState {
    mode: u32,
    owner: u32,
    group: u32,
}

impl Snapshot {
    pub(super) fn of(kernel: &dyn Kernel) -> Result<Self> {
        let mut snapshot = Self::default();
        for bdf in host::devices(kernel) {
            let device = match host::device(kernel, bdf) {
                // It went away meanwhile.
                Err(error) if error.kind() == ErrorKind::NoSuchDevice => continue,
                device => device?,
            };
            let node = device.group.map(|id| (id, kernel.node(&group_node(id))));
            if let Some((id, Ok(node))) = node {
                let state = NodeState {
                    mode: node.mode,
                    owner: node.owner,
                    group: node.group,
                };
                snapshot.nodes.insert(id, state);
            }
            let place = Place {
                group: device.group,
                driver: device.driver,
            };
            snapshot.devices.insert(bdf, place);
        }
        Ok(snapshot)
    }

    /// What is otherwise than it was, a line each.
    pub(super) fn since(&self, before: &Self) -> Vec<String> {
        let mut changes = Vec::new();
        for bdf in all(&self.devices, &before.devices) {
            changes.extend(device(*bdf, before.devices.get(bdf), self.devices.get(bdf)));
        }
        for id in all(&self.nodes, &before.nodes) {
            changes.extend(node(*id, before.nodes.get(id), self.nodes.get(id)));
        }
        changes
    }
}

/// The keys of both, once.
fn all<'a, K: Ord, V>(one: &'a BTreeMap<K, V>, other: &'a BTreeMap<K, V>) -> Vec<&'a K> {
    let mut keys: Vec<_> = one.keys().chain(other.keys()).collect();
    keys.sort();
    keys.dedup();
    keys
}

fn device(bdf: Bdf, before: Option<&Place>, now: Option<&Place>) -> Option<String> {
    match (before, now) {
        (None, Some(now)) => Some(format!("{bdf}  came: {now}")),
        (Some(before), None) => Some(format!("{bdf}  went: {before}")),
        (Some(before), Some(now)) if before != now => Some(format!("{bdf}  {before} -> {now}")),
        _ => None,
    }
}

fn node(id: u32, before: Option<&NodeState>, now: Option<&NodeState>) -> Option<String> {
    let node = group_node(id);
    let node = node.display();
    match (before, now) {
        (None, Some(now)) => Some(format!("{node}  came: {now}")),
        (Some(_), None) => Some(format!("{node}  went")),
        (Some(before), Some(now)) if before != now => Some(format!("{node}  {before} -> {now}")),
        _ => None,
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (devices, nodes) = (self.devices.len(), self.nodes.len());
        write!(f, "{devices} devices, {nodes} nodes of groups")
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let driver = self.driver.as_deref().unwrap_or("no driver");
        match self.group {
            Some(id) => write!(f, "{driver} in group {id}"),
            None => write!(f, "{driver} in no group"),
        }
    }
}

impl fmt::Display for NodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "mode {:04o} user {} group {}",
            self.mode, self.owner, self.group
        )
    }
}

#[cfg(test)]
mod tests {
    use vfio_sim::{Machine, SimKernel};

    use super::*;

    #[test]
    fn a_device_that_changes_its_driver_takes_the_node_along() {
        let sim = SimKernel::new(Machine::x86_64());
        let bdf = "0000:00:04.0";
        let bound = Snapshot::of(&sim).unwrap();
        assert_eq!(bound.to_string(), "2 devices, 2 nodes of groups");
        assert_eq!(bound.since(&bound), Vec::<String>::new());
        sim.unbind(bdf).unwrap();
        let unbound = Snapshot::of(&sim).unwrap();
        let went = [
            "0000:00:04.0  vfio-pci in group 2 -> no driver in group 2",
            "/dev/vfio/2  went",
        ];
        assert_eq!(unbound.since(&bound), went);
        let came = [
            "0000:00:04.0  no driver in group 2 -> vfio-pci in group 2",
            "/dev/vfio/2  came: mode 0600 user 0 group 0",
        ];
        assert_eq!(bound.since(&unbound), came);
        let nothing = Snapshot::default();
        assert_eq!(bound.since(&nothing).len(), 4);
        assert_eq!(nothing.since(&bound).len(), 4);
    }
}
