//! What only the open device tells.

use pci_device::bar::PageSize;
use vfio_core::Result;
use vfio_core::device::{Device, HotResetMember, IrqIndex, Region, RegionIndex};
use vfio_core::host::Bdf;

use crate::answer::Answer;
use crate::host::Host;

use super::layout;
use super::report::{InterruptRow, MemberRow, RegionRow, VfioRow};

/// Every kind of interrupt of a PCI device.
const INTERRUPTS: [(IrqIndex, &str); 5] = [
    (IrqIndex::Intx, "INTx"),
    (IrqIndex::Msi, "MSI"),
    (IrqIndex::MsiX, "MSI-X"),
    (IrqIndex::Error, "error"),
    (IrqIndex::Request, "release request"),
];

/// Opens the device and asks; for the layout of its BARs, too, as it is with pages of that size.
pub(super) fn ask(host: &Host, bdf: Bdf, page: Option<PageSize>) -> Result<VfioRow> {
    let device = host.vfio.open(bdf)?;
    let row = VfioRow {
        opened: Answer::Yes,
        can_reset: Some(device.info()?.can_reset),
        regions: regions(&device)?,
        interrupts: interrupts(&device),
        hot_reset: device.hot_reset_info().ok().map(|members| {
            let row = |member: &HotResetMember| MemberRow {
                bdf: member.bdf.to_string(),
                group: Some(member.group),
            };
            members.iter().map(row).collect()
        }),
        layout: page.map(|page| layout::ask(&device, page)).transpose()?,
    };
    device.close()?;
    Ok(row)
}

/// Those that there are.
fn regions(device: &Device) -> Result<Vec<RegionRow>> {
    let there = device.regions()?.into_iter();
    let row = |(index, region): (RegionIndex, Result<Region>)| {
        let region = region.ok().filter(|region| region.size() > 0)?;
        Some(RegionRow {
            name: region_name(index),
            size: region.size(),
            readable: region.is_readable(),
            writable: region.is_writable(),
            mappable: region.is_mappable(),
        })
    };
    Ok(there.filter_map(row).collect())
}

fn region_name(index: RegionIndex) -> String {
    match index {
        RegionIndex::Bar(number) => format!("BAR {number}"),
        RegionIndex::Rom => "ROM".to_owned(),
        RegionIndex::Config => "config space".to_owned(),
        RegionIndex::Vga => "VGA".to_owned(),
        RegionIndex::Other(number) => format!("region {number}"),
    }
}

fn interrupts(device: &Device) -> Vec<InterruptRow> {
    let row = |(index, name): (IrqIndex, &str)| {
        let info = device.irq_info(index).ok().filter(|info| info.count > 0)?;
        Some(InterruptRow {
            name: name.to_owned(),
            count: info.count,
            resizable: info.resizable && info.count > 1,
        })
    };
    INTERRUPTS.into_iter().filter_map(row).collect()
}
