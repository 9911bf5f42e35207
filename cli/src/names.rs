//! What devices are called: by the system's `pci.ids`, or else by the list that is built in.

use std::collections::BTreeMap;
use std::{env, fs};

use pci_ids::{Class, Device, FromId, Vendor};
use vfio_core::host::PciDevice;

/// Where distributions have it.
const FILES: [&str; 2] = ["/usr/share/misc/pci.ids", "/usr/share/hwdata/pci.ids"];

/// Names another file; an empty one leaves what is built in.
const VARIABLE: &str = "VFIOCTL_PCI_IDS";

/// The names that were asked for.
#[derive(Debug, Default)]
pub(crate) struct Names {
    vendors: BTreeMap<u16, String>,
    devices: BTreeMap<(u16, u16), String>,
}

impl Names {
    /// The names of those devices. They are those of the program's own host, whichever host it is asked about.
    pub(crate) fn of<'a>(devices: impl IntoIterator<Item = &'a PciDevice>) -> Self {
        let mut names = Self::default();
        for device in devices {
            let (vendor, id) = (device.vendor, device.device);
            if let Some(known) = Vendor::from_id(vendor) {
                names.vendors.insert(vendor, known.name().to_owned());
            }
            let known = Device::from_vid_pid(vendor, id);
            let name = known.map(|known| known.name().to_owned());
            names.devices.insert((vendor, id), name.unwrap_or_default());
        }
        if let Some(list) = list() {
            names.read(&String::from_utf8_lossy(&list));
        }
        names
    }

    /// Takes from a list what was asked for: a vendor's line begins with its number, a device's with a tab and its number.
    fn read(&mut self, list: &str) {
        let mut vendor = None;
        for line in list.lines() {
            let (is_device, line) = match line.strip_prefix('\t') {
                Some(line) => (true, line),
                None => (false, line),
            };
            let Some((number, name)) = line.split_once("  ") else {
                continue;
            };
            let Ok(number) = u16::from_str_radix(number, 16) else {
                if !is_device {
                    vendor = None; // a class, or a comment
                }
                continue; // a subsystem
            };
            if !is_device {
                vendor = Some(number);
                if let Some(known) = self.vendors.get_mut(&number) {
                    name.clone_into(known);
                }
            } else if let Some(known) =
                vendor.and_then(|vendor| self.devices.get_mut(&(vendor, number)))
            {
                name.clone_into(known);
            }
        }
    }

    /// Vendor and device, as far as they have names.
    pub(crate) fn device(&self, device: &PciDevice) -> Option<String> {
        let vendor = self.vendors.get(&device.vendor)?;
        let name = self.devices.get(&(device.vendor, device.device));
        Some(
            format!("{vendor} {}", name.map_or("", String::as_str))
                .trim_end()
                .to_owned(),
        )
    }
}

/// The system's list, or the one that is asked for.
fn list() -> Option<Vec<u8>> {
    match env::var_os(VARIABLE) {
        Some(file) => fs::read(file).ok(),
        None => FILES.iter().find_map(|file| fs::read(file).ok()),
    }
}

/// What a device with that class code is.
pub(crate) fn class(code: u32) -> Option<String> {
    let [_, base, sub, _] = code.to_be_bytes();
    let class = Class::from_id(base)?;
    let sub = class.subclasses().find(|known| known.id() == sub);
    Some(sub.map_or(class.name(), |sub| sub.name()).to_owned())
}

/// What the maker of a card calls it: its own name, or else the maker's.
pub(crate) fn subsystem(device: &PciDevice, vendor: u16, id: u16) -> Option<String> {
    let known = Device::from_vid_pid(device.vendor, device.device);
    let mut subsystems = known.into_iter().flat_map(Device::subsystems);
    let found = subsystems.find(|it| (it.subvendor(), it.subdevice()) == (vendor, id));
    match found {
        Some(subsystem) => Some(subsystem.name().to_owned()),
        None => Vendor::from_id(vendor).map(|maker| maker.name().to_owned()),
    }
}
