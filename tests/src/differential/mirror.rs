//! The simulated machine, with the kernel and the devices that the host has.

use std::path::PathBuf;

use anyhow::{Context, Result};
use vfio_core::host::{self, PciDevice};
use vfio_core::kernel::Kernel;
use vfio_sim::Machine;
use vfio_sim::machine::{Device, Group};

/// Where the BARs are in config space, which firmware or the kernel has placed.
const BARS: [u16; 6] = [0x10, 0x14, 0x18, 0x1c, 0x20, 0x24];

/// The machine with the host's version of Linux and its groups; each device is described as one of the machine's that
/// is of its kind.
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
    let (_, release) = host.identity();
    Ok(Machine {
        release,
        groups,
        ..machine.clone()
    })
}

fn describe(host: &dyn Kernel, machine: &Machine, device: &PciDevice) -> Result<Device> {
    let mut known = machine.groups.iter().flat_map(|group| &group.devices);
    let alike = known.find(|it| (it.vendor, it.device) == (device.vendor, device.device));
    let alike = alike.with_context(|| format!("{} has nothing like {device}", machine.name))?;
    let file = PathBuf::from(format!("/sys/bus/pci/devices/{}/config", device.bdf));
    let config = host
        .read(&file)
        .with_context(|| file.display().to_string())?;
    let placed = BARS.iter().filter_map(|at| {
        let bytes = config.get(usize::from(*at)..)?.first_chunk()?;
        Some((*at, u32::from_le_bytes(*bytes)))
    });
    // What is reset together is on one bus; those here are in ports of their own.
    let bus = device
        .bdf
        .to_string()
        .rsplit_once(':')
        .map(|(bus, _)| bus.replace(':', ""));
    let bus = bus.and_then(|bus| u32::from_str_radix(&bus, 16).ok());
    let described = Device {
        bdf: device.bdf.to_string(),
        reset_bus: alike.reset_bus.and(bus),
        ..alike.clone()
    };
    Ok(described.with_config(placed))
}
