//! The simulated machine, with the kernel and the devices that the host has.

mod shape;

use std::path::PathBuf;

use anyhow::{Context, Result};
use vfio_core::host::{self, PciDevice};
use vfio_core::kernel::Kernel;
use vfio_sim::Machine;
use vfio_sim::machine::{Device, Group};

/// The machine with the host's version of Linux and its groups. Each device is described as one of the machine's that is of its kind; one of no
/// kind that the machine has, by its [shape](shape::of).
pub(crate) fn mirror(host: &dyn Kernel, machine: &Machine) -> Result<Machine> {
    let mut groups = Vec::new();
    for group in host::groups(host)? {
        let devices = group
            .devices
            .iter()
            .filter(|device| device.is_bound_to_vfio());
        let devices: Vec<_> = devices
            .map(|device| describe(host, machine, device))
            .collect::<Result<_>>()?;
        if !devices.is_empty() {
            groups.push(Group::new(group.id, devices));
        }
    }
    let (_, release) = host.identity();
    Ok(Machine {
        release,
        groups,
        ..machine.clone()
    })
}

fn describe(host: &dyn Kernel, machine: &Machine, device: &PciDevice) -> Result<Device> {
    let config = file(host, device, "config")?;
    let described = match machine.device_like(device) {
        Some(alike) => alike.clone(),
        None => shape::of(device, &config, &file(host, device, "resource")?),
    };
    let described = Device {
        bdf: device.bdf.to_string(),
        reset_bus: bus_behind_bridge(host, device),
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
