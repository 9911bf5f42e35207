//! What calls can be about, on one machine.

use vfio_core::host::PciDevice;
use vfio_sim::Machine;
use vfio_sim::machine::{Hardware, IommuDriver};

use crate::engine;

/// What calls can be about.
#[derive(Debug, Clone)]
pub(in crate::differential) struct Places {
    pub(super) page: u64,
    /// The group of each device, by its order among the groups.
    pub(super) groups_of: Vec<usize>,
    /// Which of them can be told to do DMA.
    pub(super) engines: Vec<bool>,
    /// Where the MSI-X table of each device is: the BAR, and how far into it.
    pub(super) tables: Vec<Option<(u32, u64)>>,
    /// Addresses where something begins or ends for the IOMMU.
    pub(super) borders: Vec<u64>,
    pub(in crate::differential) spapr: bool,
}

impl Places {
    pub(in crate::differential) fn of(machine: &Machine, devices: &[PciDevice]) -> Self {
        let groups = crate::differential::groups(devices);
        let index = |device: &PciDevice| groups.iter().position(|id| Some(*id) == device.group);
        let mut borders: Vec<u64> = vec![0];
        let mut spapr = false;
        for IommuDriver { hardware, .. } in &machine.iommus {
            match hardware {
                Hardware::Type1(type1) => {
                    for (start, last) in &type1.ranges {
                        borders.extend([*start, last.wrapping_add(1)]);
                    }
                }
                Hardware::Spapr(it) => {
                    spapr = true;
                    borders.extend([
                        it.default_window.0.into(),
                        u64::from(it.default_window.0) + u64::from(it.default_window.1),
                        it.high_start,
                    ]);
                }
                Hardware::None => {}
            }
        }
        Self {
            page: machine.page_size as u64,
            groups_of: devices.iter().map(|it| index(it).unwrap_or(0)).collect(),
            engines: devices
                .iter()
                .map(|it| engine::is_engine((it.vendor, it.device)))
                .collect(),
            tables: devices
                .iter()
                .map(|device| table(machine, device))
                .collect(),
            borders,
            spapr,
        }
    }

    pub(super) fn groups(&self) -> usize {
        self.groups_of.iter().max().map_or(0, |last| last + 1)
    }
}

fn table(machine: &Machine, device: &PciDevice) -> Option<(u32, u64)> {
    let name = device.bdf.to_string();
    let mut all = machine.groups.iter().flat_map(|group| &group.devices);
    let msix = all.find(|it| it.bdf == name)?.interrupts.msix?;
    Some((msix.bar.into(), msix.table.into()))
}
