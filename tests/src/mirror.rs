//! The simulated machine, with the devices that the host has.

mod shape;

use std::path::PathBuf;

use anyhow::{Context, Result};
use vfio_core::host::{self, PciDevice};
use vfio_core::kernel::Kernel;
use vfio_sim::Machine;
use vfio_sim::machine::{Device, Group};

/// Where the BARs are in config space, which firmware or the kernel has placed.
const BARS: [u16; 6] = [0x10, 0x14, 0x18, 0x1c, 0x20, 0x24];

/// The machine with the host's groups. Each device is described as one of the machine's that is of its kind; one of no
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
    Ok(Machine {
        groups,
        ..machine.clone()
    })
}

fn describe(host: &dyn Kernel, machine: &Machine, device: &PciDevice) -> Result<Device> {
    let mut known = machine.groups.iter().flat_map(|group| &group.devices);
    let alike = known.find(|it| (it.vendor, it.device) == (device.vendor, device.device));
    let config = file(host, device, "config")?;
    let described = match alike {
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
    let placed = BARS.iter().filter_map(|at| {
        let bytes = config.get(usize::from(*at)..)?.first_chunk()?;
        Some((*at, u32::from_le_bytes(*bytes)))
    });
    let described = Device {
        bdf: device.bdf.to_string(),
        reset_bus: bus_behind_bridge(host, device),
        ..described
    };
    Ok(described.with_config(placed))
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
    let text = device.bdf.to_string();
    let (bus, _) = text.rsplit_once(':')?;
    u32::from_str_radix(&bus.replace(':', ""), 16).ok()
}
