//! Which bridges a device is behind, and what else is on its bus.

use std::path::{Path, PathBuf};

use crate::kernel::Kernel;

use super::Bdf;
use super::power::attribute_file;
use super::text::{link_name, names};

const DEVICES: &str = "/sys/bus/pci/devices";

/// The bridges between a device and its host bridge, the nearest first. None if it is on a root bus.
pub fn bridges_above(kernel: &dyn Kernel, bdf: Bdf) -> Vec<Bdf> {
    let place = place(kernel, bdf).unwrap_or_default();
    let parents = place.iter().rev().skip(1);
    let bridges = parents.map_while(|part| part.to_str()?.parse().ok());
    bridges.collect()
}

/// The devices that are reset with the bus that a device is on: all of that bus, and what is below them, the device among
/// them. Only a bus below a bridge can be reset: none on a root bus.
pub fn reset_with_the_bus(kernel: &dyn Kernel, bdf: Bdf) -> Vec<Bdf> {
    let Some(bridge) = bridges_above(kernel, bdf).first().copied() else {
        return Vec::new();
    };
    below(&with_bridges(kernel), bridge)
}

/// A device, and the bridges that it is behind.
pub(crate) type Placed = (Bdf, Vec<Bdf>);

/// Every PCI device of the host, with its bridges.
pub(crate) fn with_bridges(kernel: &dyn Kernel) -> Vec<Placed> {
    let all = devices(kernel).into_iter();
    all.map(|bdf| (bdf, bridges_above(kernel, bdf))).collect()
}

/// Those of them that are below a bridge.
pub(crate) fn below(devices: &[Placed], bridge: Bdf) -> Vec<Bdf> {
    let below = devices.iter().filter(|(_, above)| above.contains(&bridge));
    below.map(|(bdf, _)| *bdf).collect()
}

/// The physical function that a device is a virtual one of.
pub fn physical_function(kernel: &dyn Kernel, bdf: Bdf) -> Option<Bdf> {
    link_name(kernel, attribute_file(bdf, "physfn"))
        .ok()??
        .parse()
        .ok()
}

/// Every PCI device of the host, by address.
pub fn devices(kernel: &dyn Kernel) -> Vec<Bdf> {
    let names = names(kernel, DEVICES).unwrap_or_default();
    names.iter().filter_map(|name| name.parse().ok()).collect()
}

/// `../../../devices/pci0000:00/0000:00:1c.0/0000:01:00.0`
fn place(kernel: &dyn Kernel, bdf: Bdf) -> Option<PathBuf> {
    kernel
        .read_link(&Path::new(DEVICES).join(bdf.to_string()))
        .ok()
}
