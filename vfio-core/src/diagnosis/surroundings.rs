//! What is the same whichever device is looked at: the host is asked for it once.

use std::cell::OnceCell;
use std::path::Path;

use crate::host::{
    self, Bdf, Holder, Holders, Interfaces, PciDevice, Placed, below, holders_of, with_bridges,
};
use crate::kernel::Kernel;

use super::names;

/// A host has thousands of devices and of processes: what is of all of them is not asked again for each device.
#[derive(Debug)]
pub(super) struct Surroundings<'a> {
    kernel: &'a dyn Kernel,
    interfaces: OnceCell<Interfaces>,
    /// Of every node of VFIO.
    holders: OnceCell<Holders>,
    devices: OnceCell<Vec<Placed>>,
    bound: OnceCell<usize>,
    has_groups: OnceCell<bool>,
}

impl<'a> Surroundings<'a> {
    pub(super) fn of(kernel: &'a dyn Kernel) -> Self {
        Self {
            kernel,
            interfaces: OnceCell::new(),
            holders: OnceCell::new(),
            devices: OnceCell::new(),
            bound: OnceCell::new(),
            has_groups: OnceCell::new(),
        }
    }

    pub(super) fn kernel(&self) -> &'a dyn Kernel {
        self.kernel
    }

    pub(super) fn interfaces(&self) -> Interfaces {
        *self.interfaces.get_or_init(|| Interfaces::of(self.kernel))
    }

    /// Who has that node of VFIO open, and how many processes cannot be looked into.
    pub(super) fn holders(&self, node: &Path) -> (Vec<Holder>, usize) {
        let holders = self
            .holders
            .get_or_init(|| holders_of(self.kernel, &|node| node.starts_with("/dev/vfio")));
        let found = holders.found.iter().filter(|it| it.node == node);
        (found.cloned().collect(), holders.unseen)
    }

    /// As [`host::reset_with_the_bus`].
    pub(super) fn reset_with_the_bus(&self, bdf: Bdf) -> Vec<Bdf> {
        let bridge = host::bridges_above(self.kernel, bdf).first().copied();
        let devices = || self.devices.get_or_init(|| with_bridges(self.kernel));
        bridge.map_or_else(Vec::new, |bridge| below(devices(), bridge))
    }

    /// Whether there is any IOMMU group.
    pub(super) fn has_groups(&self) -> bool {
        let has = || !names(self.kernel, "/sys/kernel/iommu_groups").is_empty();
        *self.has_groups.get_or_init(has)
    }

    /// How many devices VFIO has.
    pub(super) fn bound(&self) -> usize {
        *self.bound.get_or_init(|| {
            let groups = host::groups(self.kernel).unwrap_or_default();
            let devices = groups.iter().flat_map(|group| &group.devices);
            devices.filter(|it| PciDevice::is_bound_to_vfio(it)).count()
        })
    }
}
