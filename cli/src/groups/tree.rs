//! The PCI topology: which device is behind which bridge, each with its group.

use std::collections::BTreeMap;
use std::io;

use vfio_core::host::{self, Bdf, PciDevice};
use vfio_core::kernel::Kernel;

use crate::names::Names;
use crate::output::{Output, escaped};

use super::report::DeviceRow;

/// The devices of a host, each below the bridge that it is behind.
pub(super) struct Topology {
    devices: BTreeMap<Bdf, PciDevice>,
    /// What is directly below a bridge; `None` for what is on a root bus.
    below: BTreeMap<Option<Bdf>, Vec<Bdf>>,
}

impl Topology {
    pub(super) fn of(kernel: &dyn Kernel, devices: Vec<PciDevice>) -> Self {
        let devices = devices.into_iter().map(|device| (device.bdf, device));
        let devices: BTreeMap<_, _> = devices.collect();
        let mut below: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for bdf in devices.keys() {
            let bridge = host::bridges_above(kernel, *bdf).first().copied();
            // A bridge that is not there leaves its devices at the root.
            let bridge = bridge.filter(|it| devices.contains_key(it));
            below.entry(bridge).or_default().push(*bdf);
        }
        Self { devices, below }
    }

    /// Draws it.
    pub(super) fn draw(&self, names: &Names, out: &mut Output) -> io::Result<()> {
        for root in self.children(None) {
            out.line(self.title(*root, names))?;
            self.draw_below(*root, &mut Vec::new(), names, out)?;
        }
        Ok(())
    }

    /// `lasts` says of each level above whether its device is the last of its bus.
    fn draw_below(
        &self,
        bridge: Bdf,
        lasts: &mut Vec<bool>,
        names: &Names,
        out: &mut Output,
    ) -> io::Result<()> {
        /// There are no more buses below each other than numbers for them.
        const MOST: usize = 256;
        if lasts.len() >= MOST {
            return Ok(());
        }
        let children = self.children(Some(bridge));
        for (place, child) in children.iter().enumerate() {
            let is_last = place + 1 == children.len();
            let indent = lasts.iter().map(|last| if *last { "   " } else { "│  " });
            let branch = if is_last { "└─ " } else { "├─ " };
            let line = indent.chain([branch]).collect::<String>();
            out.line(format_args!("{line}{}", self.title(*child, names)))?;
            lasts.push(is_last);
            self.draw_below(*child, lasts, names, out)?;
            lasts.pop();
        }
        Ok(())
    }

    fn children(&self, bridge: Option<Bdf>) -> &[Bdf] {
        self.below.get(&bridge).map_or(&[], Vec::as_slice)
    }

    fn title(&self, bdf: Bdf, names: &Names) -> String {
        let Some(device) = self.devices.get(&bdf) else {
            return bdf.to_string();
        };
        let row = DeviceRow::new(device, names);
        let group = group_name(device);
        let driver = row.driver.as_deref().unwrap_or("no driver");
        let way = if row.in_the_way { ", in the way" } else { "" };
        format!("{bdf}  {group}  {}  ({driver}{way})", row.title())
    }

    /// For graphviz: a box a group, an arrow from each bridge to what is behind it.
    pub(super) fn dot(&self, names: &Names, out: &mut Output) -> io::Result<()> {
        out.line("digraph groups {")?;
        out.line("  rankdir=LR; node [shape=box, fontname=monospace];")?;
        let mut groups: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for device in self.devices.values() {
            groups.entry(device.group).or_default().push(device);
        }
        for (group, devices) in groups {
            if let Some(id) = group {
                out.line(format_args!(
                    "  subgraph cluster_{id} {{ label=\"group {id}\";"
                ))?;
            }
            for device in devices {
                let row = DeviceRow::new(device, names);
                let driver = row.driver.as_deref().unwrap_or("no driver");
                let (title, driver) = (escaped(&row.title()), escaped(driver));
                out.line(format_args!(
                    "    \"{bdf}\" [label=\"{bdf}\\n{title}\\n{driver}\"];",
                    bdf = device.bdf
                ))?;
            }
            if group.is_some() {
                out.line("  }")?;
            }
        }
        for (bridge, children) in &self.below {
            for child in children {
                if let Some(bridge) = bridge {
                    out.line(format_args!("  \"{bridge}\" -> \"{child}\";"))?;
                }
            }
        }
        out.line("}")
    }
}

fn group_name(device: &PciDevice) -> String {
    device
        .group
        .map_or("no group".to_owned(), |id| format!("group {id}"))
}
