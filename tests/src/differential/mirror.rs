//! The simulated machine, with the devices that the host has.

use std::path::PathBuf;

use anyhow::{Context, Result};
use vfio_core::host::{self, PciDevice};
use vfio_core::kernel::Kernel;
use vfio_sim::Machine;
use vfio_sim::machine::{Device, Group};

/// The machine with the host's groups; each device is described as one of the machine's that is of its kind.
pub(super) fn mirror(host: &dyn Kernel, machine: &Machine) -> Result<Machine> {
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
    Ok(Machine {
        groups,
        ..machine.clone()
    })
}

fn describe(host: &dyn Kernel, machine: &Machine, device: &PciDevice) -> Result<Device> {
    let alike = machine
        .device_like(device)
        .with_context(|| format!("{} has nothing like {device}", machine.name))?;
    let file = PathBuf::from(format!("/sys/bus/pci/devices/{}/config", device.bdf));
    let config = host
        .read(&file)
        .with_context(|| file.display().to_string())?;
    let described = Device {
        bdf: device.bdf.to_string(),
        // What is reset together is on one bus; those here are in ports of their own.
        reset_bus: alike.reset_bus.map(|_| Device::bus_number(device.bdf)),
        ..alike.clone()
    };
    Ok(described.placed(&config))
}
