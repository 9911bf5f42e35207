//! What a device can do, and can be asked, while its group is frozen or in a reset (D58).

use vfio_core::kernel::{Errno, Result};

use crate::iommu::{Access, AccessKind, Instead};
use crate::machine::{Hardware, Spapr};
use crate::world::World;

impl World {
    /// Whether an access does not pass, and what it answers then if it is a load.
    pub(super) fn stops(
        &mut self,
        bdf: &str,
        kind: AccessKind,
        address: u64,
        len: usize,
    ) -> Option<Instead> {
        let group = self.isolated(bdf)?;
        let len = len as u64;
        let unit = self.units.of(group);
        let was_frozen = unit.is_frozen();
        let stops = unit.stops(Access { kind, address, len });
        if !was_frozen && unit.is_frozen() {
            self.show_frozen(group);
        }
        stops
    }

    /// Whether config space cannot be reached.
    pub(super) fn blocks_config(&mut self, bdf: &str) -> bool {
        let group = self.isolated(bdf);
        group.is_some_and(|group| self.units.of(group).blocks_config())
    }

    pub(super) fn passes_messages(&mut self, bdf: &str) -> bool {
        let group = self.isolated(bdf);
        group.is_none_or(|group| self.units.of(group).passes_messages())
    }

    /// A device did what its IOMMU does not allow: real hardware freezes its group.
    pub(super) fn has_erred(&mut self, bdf: &str) {
        if self.isolation().is_some_and(|hardware| hardware.freezes) {
            if let Some(group) = self.isolated(bdf) {
                self.units.of(group).freeze();
                self.show_frozen(group);
            }
        }
    }

    /// Freezes the group of a device, as an error would.
    pub(crate) fn freeze(&mut self, bdf: &str) -> Result<()> {
        let group = self.isolated(bdf).ok_or(Errno::NODEV)?;
        self.units.of(group).freeze();
        self.show_frozen(group);
        Ok(())
    }

    /// D58b, H12: a device that is opened or closed thaws its group. In a reset it cannot be opened.
    pub(super) fn may_change_owner(&mut self, bdf: &str) -> Result<()> {
        let Some(group) = self.isolated(bdf) else {
            return Ok(());
        };
        let unit = self.units.of(group);
        if unit.blocks_config() {
            return Err(Errno::NODEV);
        }
        unit.change_owner();
        self.show_frozen(group);
        Ok(())
    }

    /// What follows for devices from an operation on their groups.
    pub(crate) fn units_have_changed(&mut self) -> Result<()> {
        for group in self.units.take_reset() {
            for bdf in self.members(group) {
                let state = self.state(&bdf);
                state.config.after_reset();
                state.reset_model();
                state.show_enabled();
                state.show_memory()?;
            }
        }
        let groups: Vec<_> = self.machine.groups.iter().map(|group| group.id).collect();
        groups.into_iter().for_each(|group| self.show_frozen(group));
        Ok(())
    }

    /// Mapped memory of the devices of a group answers ones, or what is in it.
    fn show_frozen(&mut self, group: u32) {
        let frozen = self.units.of(group).stops_mmio();
        for bdf in self.members(group) {
            if let Some(state) = self.devices.get_mut(&bdf) {
                let memory = state.memory.iter_mut().flatten();
                for memory in memory {
                    let shown = memory.freeze(frozen);
                    debug_assert!(shown.is_ok(), "{shown:?}"); // a file of ours, in memory
                }
            }
        }
    }

    fn members(&self, group: u32) -> Vec<String> {
        let devices = self.machine.group(group).map(|group| &group.devices);
        let devices = devices.into_iter().flatten();
        devices.map(|device| device.bdf.clone()).collect()
    }

    /// The group of a device, if errors are isolated here.
    fn isolated(&self, bdf: &str) -> Option<u32> {
        self.isolation()?;
        let mut groups = self.machine.groups.iter();
        let has = |device: &crate::machine::Device| device.bdf == bdf;
        Some(groups.find(|group| group.devices.iter().any(has))?.id)
    }

    /// What isolates errors here.
    fn isolation(&self) -> Option<&Spapr> {
        self.machine
            .iommus
            .iter()
            .find_map(|driver| match &driver.hardware {
                Hardware::Spapr(hardware) if hardware.eeh => Some(hardware),
                _ => None,
            })
    }
}
