//! The simulated machine, with the kernel and the devices that the host has.

mod shape;

use std::path::PathBuf;

use anyhow::{Context, Result};
use vfio_core::host::{self, PciDevice};
use vfio_core::kernel::Kernel;
use vfio_sim::Machine;
use vfio_sim::machine::{Device, Group, Hardware, Sriov};

/// Whether groups are attached although their interrupts are not remapped.
const UNSAFE_INTERRUPTS: &str = "/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts";

/// The machine with the host's version of Linux and those groups that VFIO has a member of, its members first. Each
/// device is described as one of the machine's that is of its kind; one of no
/// kind that the machine has, by its [shape](shape::of).
pub(crate) fn mirror(host: &dyn Kernel, machine: &Machine) -> Result<Machine> {
    let mut groups = Vec::new();
    for group in host::groups(host)? {
        let mut members: Vec<_> = group.devices.iter().collect();
        members.sort_by_key(|device| !device.is_bound_to_vfio());
        if members
            .first()
            .is_some_and(|device| device.is_bound_to_vfio())
        {
            let devices: Vec<_> = members
                .into_iter()
                .map(|device| describe(host, machine, device))
                .collect::<Result<_>>()?;
            groups.push(Group::new(group.id, devices));
        }
    }
    let (_, release) = host.identity();
    let mut mirrored = Machine {
        release,
        groups,
        ..machine.clone()
    };
    for iommu in &mut mirrored.iommus {
        if let Hardware::Type1(type1) = &mut iommu.hardware {
            type1.remaps_interrupts = !says(host, "/proc/cmdline", "intremap=off");
            type1.allows_unsafe_interrupts = says(host, UNSAFE_INTERRUPTS, "Y");
        }
    }
    Ok(mirrored)
}

fn says(host: &dyn Kernel, path: &str, word: &str) -> bool {
    let text = host.read(path.as_ref()).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    text.split_whitespace().any(|it| it == word)
}

fn describe(host: &dyn Kernel, machine: &Machine, device: &PciDevice) -> Result<Device> {
    let config = file(host, device, "config")?;
    let described = match machine.device_like(device) {
        Some(alike) => alike.clone(),
        None => {
            let files = shape::Files {
                config: config.clone(),
                resource: file(host, device, "resource")?,
                reset_method: file(host, device, "reset_method").unwrap_or_default(),
            };
            shape::of(device, &files)
        }
    };
    let described = Device {
        bdf: device.bdf.to_string(),
        driver: device.driver.clone(),
        reset_bus: bus_behind_bridge(host, device),
        sriov: part_in_sriov(host, device),
        ..described
    };
    Ok(described.placed(&config))
}

fn file(host: &dyn Kernel, device: &PciDevice, name: &str) -> Result<Vec<u8>> {
    let path = PathBuf::from(format!("/sys/bus/pci/devices/{}/{name}", device.bdf));
    host.read(&path).with_context(|| path.display().to_string())
}

/// What is reset together is on one bus, which a bridge resets; a root bus has none.
fn bus_behind_bridge(host: &dyn Kernel, device: &PciDevice) -> Option<u32> {
    let link = PathBuf::from(format!("/sys/bus/pci/devices/{}", device.bdf));
    let path = host.read_link(&link).ok()?;
    let parent = path.parent()?.file_name()?.to_str()?;
    parent.parse::<host::Bdf>().ok()?;
    Some(Device::bus_number(device.bdf))
}

/// A physical function has a file that says how many virtual ones it can have, and each of them a link to it.
fn part_in_sriov(host: &dyn Kernel, device: &PciDevice) -> Sriov {
    let directory = PathBuf::from(format!("/sys/bus/pci/devices/{}", device.bdf));
    let physical = host.read_link(&directory.join("physfn")).ok();
    let name = physical.and_then(|link| link.file_name()?.to_str().map(str::to_owned));
    match (name, host.read(&directory.join("sriov_totalvfs"))) {
        (Some(name), _) => Sriov::Virtual(name),
        (None, Ok(_)) => Sriov::Physical,
        (None, Err(_)) => Sriov::None,
    }
}
