//! The groups for people: a line a device.

use std::io;

use crate::output::Output;

use super::report::{DeviceRow, GroupRow};

/// Prints the groups, whose numbers stand before their first device.
pub(crate) fn print(groups: &[GroupRow], out: &mut Output) -> io::Result<()> {
    if groups.is_empty() {
        out.line("no IOMMU groups")?;
    }
    let devices = || groups.iter().flat_map(|group| &group.devices);
    let driver_width = width(devices().map(|it| driver(it).len()));
    let class_width = width(devices().map(|it| class(it).len()));
    for group in groups {
        let mut head = format!("group {:<5}{:<11}", group.id, state(group));
        for device in &group.devices {
            let line = format!(
                "{head} {}  {:<driver_width$}  {:<class_width$}  {}",
                device.bdf,
                driver(device),
                class(device),
                device.title()
            );
            out.line(line.trim_end())?;
            head = format!("{:<22}", "");
        }
        if group.devices.is_empty() {
            out.line(head.trim_end())?;
        }
    }
    Ok(())
}

/// Whether it can be given away, and if not, that its lines say why.
fn state(group: &GroupRow) -> &'static str {
    const BRIDGE: u32 = 0x06;
    let has_endpoint = group
        .devices
        .iter()
        .any(|device| device.class >> 16 != BRIDGE);
    match (group.viable, group.ready) {
        (_, true) => "ready",
        (true, false) if has_endpoint => "viable",
        (true, false) => "", // nothing in it can be given away
        (false, _) => "not viable",
    }
}

fn driver(device: &DeviceRow) -> String {
    let name = device.driver.as_deref().unwrap_or("no driver");
    match device.in_the_way {
        true => format!("{name} (in the way)"),
        false => name.to_owned(),
    }
}

fn class(device: &DeviceRow) -> String {
    match &device.class_name {
        Some(name) => name.clone(),
        None => format!("class {:06x}", device.class),
    }
}

fn width(lengths: impl Iterator<Item = usize>) -> usize {
    /// Longer ones push what is behind them.
    const MOST: usize = 32;
    lengths.max().unwrap_or(0).min(MOST)
}
