//! The groups and their members.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use vfio_core::kernel::{Errno, Kernel};
use vfio_core::uapi::GROUP_FLAGS_VIABLE;

use super::difference::WORDS;
use super::{hex, names};
use crate::conformance::raw;

const GROUPS: &str = "/sys/kernel/iommu_groups";
const DEVICES: &str = "/sys/bus/pci/devices";

/// A row for each, and the first that can be attached.
pub(super) fn groups(kernel: &dyn Kernel) -> Result<(Vec<Value>, Option<u32>)> {
    let mut ids = names(kernel, GROUPS)?
        .iter()
        .map(|name| name.parse::<u32>())
        .collect::<Result<Vec<_>, _>>()?;
    ids.sort_unstable();
    let pci = names(kernel, DEVICES)?;
    let mut rows = Vec::new();
    let mut idle = None;
    for id in ids {
        let members = names(kernel, &format!("{GROUPS}/{id}/devices"))?;
        let devices = members
            .iter()
            .filter(|name| pci.contains(name))
            .map(|name| device(kernel, name))
            .collect::<Result<Vec<_>>>()?;
        let in_the_way = |device: &Value| device["in_the_way"] == true;
        let told = is_viable(kernel, &format!("/dev/vfio/{id}"))?;
        if idle.is_none() && told == Some(true) {
            idle = Some(id);
        }
        // VFIO does not know a group that no driver of it has a member of.
        let told = told.map_or_else(
            || is_viable(kernel, &format!("/dev/vfio/noiommu-{id}")),
            |it| Ok(Some(it)),
        )?;
        rows.push(json!({
            "id": id,
            "viable": told.unwrap_or_else(|| !devices.iter().any(in_the_way)),
            "ready": told.unwrap_or(false),
            "devices": devices,
        }));
    }
    Ok((rows, idle))
}

/// What VFIO says of a group; `None` if it does not have it: none of its drivers has a member.
fn is_viable(kernel: &dyn Kernel, node: &str) -> Result<Option<bool>> {
    let group = match kernel.open(node.as_ref()) {
        Ok(group) => group,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => bail!("open {node}: {errno}"),
    };
    let flags = raw::status(kernel, &group).context("VFIO_GROUP_GET_STATUS")?;
    Ok(Some(flags & GROUP_FLAGS_VIABLE != 0))
}

fn device(kernel: &dyn Kernel, name: &str) -> Result<Value> {
    let number = |file| hex(kernel, &format!("{DEVICES}/{name}/{file}"));
    let driver = match kernel.read_link(format!("{DEVICES}/{name}/driver").as_ref()) {
        Ok(target) => target
            .iter()
            .next_back()
            .map(|name| name.to_string_lossy().into_owned()),
        Err(Errno::NOENT) => None,
        Err(errno) => bail!("{name}: {errno}"),
    };
    // These leave the DMA of their devices to others.
    let is_harmless =
        |driver: &str| driver.contains("vfio") || ["pci-stub", "pcieport"].contains(&driver);
    Ok(json!({
        "bdf": name,
        "vendor": number("vendor")?,
        "device": number("device")?,
        "class": number("class")?,
        "name": WORDS,
        "class_name": WORDS,
        "in_the_way": driver.as_deref().is_some_and(|driver| !is_harmless(driver)),
        "driver": driver,
    }))
}
