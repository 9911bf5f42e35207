//! The groups for those who count many hosts.

use crate::format::nfd::Features;
use crate::format::prometheus::Gauge;

use super::report::{DeviceRow, GroupRow, Report};

/// How many groups are how far.
pub(crate) fn counts(groups: &[GroupRow]) -> Gauge {
    let gauge = Gauge::new("vfio_groups", "How many groups can be given away, how far.");
    tally(groups)
        .into_iter()
        .fold(gauge, |gauge, (state, count)| {
            gauge.with([("state", state.to_owned())], count)
        })
}

/// The same as features.
pub(crate) fn add(groups: &[GroupRow], features: &mut Features) {
    for (state, count) in tally(groups) {
        features.add(&format!("groups.{state}"), count);
    }
}

fn tally(groups: &[GroupRow]) -> [(&'static str, u64); 3] {
    let count =
        |wanted: fn(&GroupRow) -> bool| groups.iter().filter(|it| wanted(it)).count() as u64;
    [
        ("ready", count(|group| group.ready)),
        ("viable", count(|group| group.viable && !group.ready)),
        ("not-viable", count(|group| !group.viable)),
    ]
}

impl Report {
    pub(super) fn gauges(&self) -> Vec<Gauge> {
        let label = |group: &GroupRow| [("group", group.id.to_string())];
        let ready = Gauge::new(
            "vfio_group_ready",
            "Whether a device of the group can be assigned as it is now.",
        );
        let viable = Gauge::new(
            "vfio_group_viable",
            "Whether no member keeps the group from being given away.",
        );
        let device = Gauge::new(
            "vfio_device_info",
            "The PCI devices, each with its group and driver.",
        );
        let groups = || self.groups.iter();
        let ungrouped = self
            .without_group
            .iter()
            .map(|device| (String::new(), device));
        let grouped = groups().flat_map(|group| {
            let devices = group.devices.iter();
            devices.map(|device| (group.id.to_string(), device))
        });
        // How many there are is told by `probe`: a collector that reads both takes no sample twice.
        vec![
            groups().fold(ready, |gauge, group| {
                gauge.with(label(group), group.ready.into())
            }),
            groups().fold(viable, |gauge, group| {
                gauge.with(label(group), group.viable.into())
            }),
            grouped
                .chain(ungrouped)
                .fold(device, |gauge, (group, device)| {
                    gauge.with(device_labels(group, device), 1)
                }),
        ]
    }

    pub(super) fn features(&self) -> Features {
        let mut features = Features::default();
        add(&self.groups, &mut features);
        features.add("devices.without-group", self.without_group.len());
        features
    }
}

fn device_labels(group: String, device: &DeviceRow) -> [(&'static str, String); 5] {
    [
        ("bdf", device.bdf.clone()),
        ("group", group),
        ("vendor", format!("{:04x}", device.vendor)),
        ("device", format!("{:04x}", device.device)),
        ("driver", device.driver.clone().unwrap_or_default()),
    ]
}
