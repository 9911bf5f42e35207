//! What devices are called: by the system's `pci.ids`, or else by the list that is built in.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::{env, fs};

use flate2::read::DeflateDecoder;
use vfio_core::host::PciDevice;

/// Where distributions have it.
const FILES: [&str; 2] = ["/usr/share/misc/pci.ids", "/usr/share/hwdata/pci.ids"];

/// Names another file; an empty one leaves what is built in.
const VARIABLE: &str = "VFIOCTL_PCI_IDS";

/// The list that is built in, compressed.
const BUILT_IN: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/pci.ids.deflate"));

/// The names that were asked for.
#[derive(Debug, Default)]
pub(crate) struct Names {
    vendors: BTreeMap<u16, String>,
    devices: BTreeMap<(u16, u16), String>,
    /// Of those devices, by the vendor and the device of the card.
    cards: BTreeMap<(u16, u16, u16, u16), String>,
    /// By base class and subclass.
    classes: BTreeMap<(u8, Option<u8>), String>,
}

impl Names {
    /// The names of those devices. They are those of the program's own host, whichever host it is asked about.
    pub(crate) fn of<'a>(devices: impl IntoIterator<Item = &'a PciDevice>) -> Self {
        let mut names = Self::default();
        for device in devices {
            let (vendor, id) = (device.vendor, device.device);
            names.devices.insert((vendor, id), String::new());
        }
        if !names.devices.is_empty() {
            names.read(&String::from_utf8_lossy(&list()));
        }
        names
    }

    /// Takes the vendors and classes from a list, and the devices and cards that were asked for.
    fn read(&mut self, list: &str) {
        let mut section = Section::Other;
        for line in list.lines() {
            let depth = line.len() - line.trim_start_matches('\t').len();
            let Some((numbers, name)) = line[depth..].split_once("  ") else {
                continue;
            };
            match (depth, section) {
                (0, _) => section = self.begin(numbers, name),
                (1, Section::Vendor(vendor) | Section::Device(vendor, _)) => {
                    section = self.device_of(vendor, numbers, name);
                }
                (1, Section::Class(base)) => {
                    if let Ok(sub) = u8::from_str_radix(numbers, 16) {
                        self.classes.insert((base, Some(sub)), name.to_owned());
                    }
                }
                (2, Section::Device(vendor, Some(device))) => {
                    if let Some((maker, card)) = numbers.split_once(' ') {
                        if let (Some(maker), Some(card)) = (number(maker), number(card)) {
                            let key = (vendor, device, maker, card);
                            self.cards.insert(key, name.to_owned());
                        }
                    }
                }
                _ => {}
            }
        }
    }

    /// The line of a vendor or of a class.
    fn begin(&mut self, numbers: &str, name: &str) -> Section {
        if let Some(base) = numbers.strip_prefix("C ") {
            let Ok(base) = u8::from_str_radix(base, 16) else {
                return Section::Other;
            };
            self.classes.insert((base, None), name.to_owned());
            return Section::Class(base);
        }
        let Some(vendor) = number(numbers) else {
            return Section::Other;
        };
        self.vendors.insert(vendor, name.to_owned());
        Section::Vendor(vendor)
    }

    /// The line of a device; of one that nobody asked for, the cards do not matter either.
    fn device_of(&mut self, vendor: u16, numbers: &str, name: &str) -> Section {
        let id = number(numbers);
        let known = id.and_then(|id| self.devices.get_mut(&(vendor, id)));
        let wanted = known.map(|known| name.clone_into(known)).and(id);
        Section::Device(vendor, wanted)
    }

    /// Vendor and device, as far as they have names.
    pub(crate) fn device(&self, device: &PciDevice) -> Option<String> {
        let vendor = self.vendors.get(&device.vendor)?;
        let name = self.devices.get(&(device.vendor, device.device));
        let name = name.map_or("", String::as_str);
        Some(format!("{vendor} {name}").trim_end().to_owned())
    }

    /// What a device with that class code is.
    pub(crate) fn class(&self, code: u32) -> Option<&str> {
        let [_, base, sub, _] = code.to_be_bytes();
        let known = self.classes.get(&(base, Some(sub)));
        let known = known.or_else(|| self.classes.get(&(base, None)));
        known.map(String::as_str)
    }

    /// What the maker of a card calls it: its own name, or else the maker's.
    pub(crate) fn card(&self, device: &PciDevice, maker: u16, card: u16) -> Option<&str> {
        let own = self.cards.get(&(device.vendor, device.device, maker, card));
        let name = own.or_else(|| self.vendors.get(&maker));
        name.map(String::as_str)
    }
}

/// What the lines below belong to.
#[derive(Clone, Copy)]
enum Section {
    Vendor(u16),
    /// The vendor, and the device if it was asked for.
    Device(u16, Option<u16>),
    Class(u8),
    Other,
}

fn number(text: &str) -> Option<u16> {
    u16::from_str_radix(text, 16).ok()
}

/// The system's list, or the one that is asked for, or the one that is built in.
fn list() -> Vec<u8> {
    let file = match env::var_os(VARIABLE) {
        Some(file) => fs::read(file).ok(),
        None => FILES.iter().find_map(|file| fs::read(file).ok()),
    };
    file.unwrap_or_else(built_in)
}

fn built_in() -> Vec<u8> {
    let mut list = Vec::new();
    // It is this program's own, and whole.
    let _ = DeflateDecoder::new(BUILT_IN).read_to_end(&mut list);
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(vendor: u16, device: u16) -> PciDevice {
        PciDevice {
            bdf: "0000:00:00.0".parse().unwrap(),
            vendor,
            device,
            class: 0x02_0000,
            driver: None,
            group: None,
            numa_node: None,
        }
    }

    #[test]
    fn the_list_that_is_built_in_knows_common_devices() {
        let device = device(0x8086, 0x10d3);
        let mut names = Names::default();
        names.devices.insert((0x8086, 0x10d3), String::new());
        names.read(&String::from_utf8(built_in()).unwrap());
        let name = names.device(&device).unwrap();
        assert!(name.contains("Intel") && name.contains("82574L"), "{name}");
        assert_eq!(names.class(0x02_0000), Some("Ethernet controller"));
        assert_eq!(names.class(0x02_ff00), Some("Network controller"));
        assert_eq!(
            names.card(&device, 0x8086, 0xa01f),
            Some("Gigabit CT Desktop Adapter")
        );
        assert!(names.vendors.len() > 2000 && names.cards.len() < 100);
    }

    #[test]
    fn a_list_is_read_as_far_as_it_makes_sense() {
        let list = "# comment\n1234  Maker\n\t5678  Thing\n\t\t1234 0001  Card\n\t9999  Other\n\t\t1234 0001  No\n\
                    zzzz  Nobody\n\t5678  Nothing\nC 02  Network\n\t00  Ethernet\n\t\t01  Interface\nC xx  No\n\tüü  No\n\t\n";
        let thing = device(0x1234, 0x5678);
        let mut names = Names::default();
        names.devices.insert((0x1234, 0x5678), String::new());
        names.read(list);
        assert_eq!(names.device(&thing).as_deref(), Some("Maker Thing"));
        assert_eq!(names.card(&thing, 0x1234, 1), Some("Card"));
        assert_eq!(names.card(&thing, 0x1234, 2), Some("Maker"));
        assert_eq!(names.class(0x02_0000), Some("Ethernet"));
        assert_eq!(names.device(&device(0x4321, 1)), None);
        assert_eq!((names.cards.len(), names.classes.len()), (1, 2));
    }
}
