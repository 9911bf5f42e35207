//! From a device as the user names it to QEMU's `-device` text and its place in sysfs.
//!
//! The lab gives each device a fixed slot. So it can tell the machine's kernel where the device
//! is: by the path of slots from the root bus, which holds however the kernel numbers its buses.

use anyhow::{Context, Result, ensure};

use super::Usage;
use super::machine::Slots;

/// A device with its place in the machine.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Placed {
    /// QEMU's `-device` text.
    pub(super) text: String,
    /// A shell pattern for its directory in sysfs. A bridge has none: nobody binds it.
    pub(super) sysfs: Option<String>,
    /// The block node behind it, if the lab is to make one.
    pub(super) drive: Option<String>,
}

/// Gives every device of `specs` its place. A device that another one sits on is a bridge.
pub(super) fn place(slots: Slots, specs: &[String]) -> Result<Vec<Placed>> {
    let specs: Vec<Spec<'_>> = specs
        .iter()
        .map(|text| Spec::parse(text))
        .collect::<Result<_>>()?;
    let mut buses = machine_buses(slots, &specs);
    let mut placed = Vec::new();
    for (number, spec) in specs.iter().enumerate() {
        let mut text = spec.text.to_owned();
        let sysfs = match host_bridge(spec)? {
            Some(directory) => directory,
            None => seat(spec, &mut buses, &mut text)?,
        };
        let drive = complete(spec, number, &mut text);
        let bridge = spec
            .get("id")
            .filter(|id| specs.iter().any(|other| other.sits_on(id)));
        let sysfs = match bridge {
            None => Some(sysfs),
            Some(id) => {
                let names = [id.to_owned(), format!("{id}.0")];
                buses.extend(names.map(|name| Bus {
                    name,
                    directory: sysfs.clone(),
                    free: Vec::new(),
                    claims: 0,
                }));
                None
            }
        };
        placed.push(Placed { text, sysfs, drive });
    }
    Ok(placed)
}

/// A `-device` text, taken apart.
struct Spec<'a> {
    text: &'a str,
    model: &'a str,
    properties: Vec<(&'a str, &'a str)>,
    slot: Option<Slot>,
}

impl<'a> Spec<'a> {
    fn parse(text: &'a str) -> Result<Self> {
        let mut parts = text.split(',');
        let model = parts.next().unwrap_or_default();
        ensure!(
            !model.is_empty() && !model.contains(['=', '{', ' ']),
            Usage(format!(
                "device '{text}': it must begin with a model, as in 'edu' or 'nvme,addr=5'"
            ))
        );
        let mut spec = Self {
            text,
            model,
            properties: parts.filter_map(|part| part.split_once('=')).collect(),
            slot: None,
        };
        if let Some(addr) = spec.get("addr") {
            let slot = Slot::parse(addr).with_context(|| {
                Usage(format!(
                    "device '{text}': addr={addr} is not SLOT or SLOT.FUNCTION in hexadecimal"
                ))
            })?;
            spec.slot = Some(slot);
        }
        Ok(spec)
    }

    fn get(&self, key: &str) -> Option<&'a str> {
        let found = self.properties.iter().find(|(name, _)| *name == key);
        found.map(|(_, value)| *value)
    }

    /// The bus of a bridge has the bridge's id for a name, some with `.0` after it.
    fn sits_on(&self, id: &str) -> bool {
        self.get("bus")
            .is_some_and(|bus| bus.strip_suffix(".0").unwrap_or(bus) == id)
    }
}

/// Slot and function on a bus.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Slot(u8, u8);

impl Slot {
    /// In QEMU's notation: hexadecimal, with or without `0x`.
    fn parse(text: &str) -> Option<Self> {
        let number =
            |text: &str| u8::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).ok();
        let (slot, function) = text.split_once('.').unwrap_or((text, "0"));
        Some(Self(number(slot)?, number(function)?))
    }

    /// The pattern of its directory, in the directory of its bus.
    fn below(self, directory: &str) -> String {
        format!("{directory}/*:{:02x}.{:x}", self.0, self.1)
    }
}

/// A bus that devices can sit on.
struct Bus {
    name: String,
    directory: String,
    /// Slots that the lab may give away, the next one last. None on a bridge that the user
    /// brought: which slots it has depends on its model.
    free: Vec<u8>,
    /// How many devices name this bus and leave their slot to the lab.
    claims: usize,
}

fn machine_buses(slots: Slots, specs: &[Spec<'_>]) -> Vec<Bus> {
    let bus = |name: String, directory, free: Vec<u8>| Bus {
        claims: specs
            .iter()
            .filter(|spec| spec.get("bus") == Some(&name) && spec.slot.is_none())
            .count(),
        name,
        directory,
        free,
    };
    match slots {
        Slots::RootBus { name } => {
            let said = |slot: &u8| {
                specs
                    .iter()
                    .filter(|spec| spec.get("bus").is_none_or(|bus| bus == name))
                    .any(|spec| spec.slot.is_some_and(|it| it.0 == *slot))
            };
            // Boards have devices of their own in the first slots, and q35 in the last.
            let free = (4..31).rev().filter(|slot| !said(slot)).collect();
            vec![bus(name.to_owned(), domain(0), free)]
        }
        Slots::Ports { count } => (0..count)
            .map(|port| {
                let name = format!("pcie.{port}");
                let said = specs
                    .iter()
                    .any(|spec| spec.get("bus") == Some(&name) && spec.slot.is_some());
                let free = if said { Vec::new() } else { vec![0] };
                bus(name, Slot(0, 0).below(&domain(port)), free)
            })
            .collect(),
    }
}

/// The directory of a domain's root bus.
fn domain(number: u32) -> String {
    format!("/sys/class/pci_bus/{number:04x}:00/device")
}

/// The directory below a host bridge, which sits on no bus. On pseries its index is its domain.
fn host_bridge(spec: &Spec<'_>) -> Result<Option<String>> {
    if spec.model != "spapr-pci-host-bridge" {
        return Ok(None);
    }
    let index = spec.get("index").and_then(|index| index.parse().ok());
    let index = index.with_context(|| {
        Usage(format!(
            "device '{}': say its index, as in 'index=1'",
            spec.text
        ))
    })?;
    Ok(Some(domain(index)))
}

/// The directory of a device. Adds to `text` what puts it there.
fn seat(spec: &Spec<'_>, buses: &mut [Bus], text: &mut String) -> Result<String> {
    let bus = match spec.get("bus") {
        Some(name) => buses
            .iter_mut()
            .find(|bus| bus.name == name)
            .with_context(|| {
                Usage(format!(
                    "device '{}': bus {name} is neither the machine's nor that of a device before",
                    spec.text
                ))
            })?,
        None => {
            let bus = buses
                .iter_mut()
                .find(|bus| bus.free.len() > bus.claims || spec.slot.is_some())
                .with_context(|| Usage(format!("device '{}': no slot is left", spec.text)))?;
            text.push_str(&format!(",bus={}", bus.name));
            bus
        }
    };
    let slot = match spec.slot {
        Some(slot) => slot,
        None => {
            let slot = bus.free.pop().with_context(|| {
                Usage(format!(
                    "device '{}': the lab knows no free slot of bus {}: say addr=SLOT",
                    spec.text, bus.name
                ))
            })?;
            text.push_str(&format!(",addr={slot:#x}"));
            Slot(slot, 0)
        }
    };
    Ok(slot.below(&bus.directory))
}

/// Adds what the model needs and the user did not say. Returns the drive to make.
fn complete(spec: &Spec<'_>, number: usize, text: &mut String) -> Option<String> {
    let mut add = |key: &str, value: &str| {
        let missing = spec.get(key).is_none();
        if missing {
            text.push_str(&format!(",{key}={value}"));
        }
        missing
    };
    let name = format!("lab{number}");
    match spec.model {
        "edu" => {
            // Its own default reaches 256 MiB.
            add("dma_mask", "0xffffffffffffffff");
            None
        }
        "nvme" => {
            add("serial", &name);
            add("drive", &name).then_some(name)
        }
        "virtio-blk-pci" => add("drive", &name).then_some(name),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: Slots = Slots::RootBus { name: "pcie.0" };
    const PORTS: Slots = Slots::Ports { count: 3 };

    fn placed(slots: Slots, specs: &[&str]) -> Vec<(String, Option<String>)> {
        let specs: Vec<String> = specs.iter().map(|&spec| spec.to_owned()).collect();
        let devices = place(slots, &specs).unwrap();
        devices.into_iter().map(|it| (it.text, it.sysfs)).collect()
    }

    fn device(text: &str, sysfs: &str) -> (String, Option<String>) {
        let sysfs = format!("/sys/class/pci_bus/{sysfs}");
        (text.to_owned(), Some(sysfs))
    }

    #[test]
    fn slots_of_a_root_bus() {
        assert_eq!(
            placed(
                ROOT,
                &[
                    "e1000e",
                    "igb,addr=5",
                    "igb,addr=0x6.1",
                    "sdhci-pci,bus=pcie.0"
                ]
            ),
            [
                device("e1000e,bus=pcie.0,addr=0x4", "0000:00/device/*:04.0"),
                device("igb,addr=5,bus=pcie.0", "0000:00/device/*:05.0"),
                device("igb,addr=0x6.1,bus=pcie.0", "0000:00/device/*:06.1"),
                device("sdhci-pci,bus=pcie.0,addr=0x7", "0000:00/device/*:07.0"),
            ]
        );
    }

    #[test]
    fn ports_that_a_device_names_are_left_to_it() {
        assert_eq!(
            placed(PORTS, &["igb", "igb,bus=pcie.0", "igb,bus=pcie.2,addr=0.1"]),
            [
                device("igb,bus=pcie.1,addr=0x0", "0001:00/device/*:00.0/*:00.0"),
                device("igb,bus=pcie.0,addr=0x0", "0000:00/device/*:00.0/*:00.0"),
                device("igb,bus=pcie.2,addr=0.1", "0002:00/device/*:00.0/*:00.1"),
            ]
        );
    }

    #[test]
    fn a_bridge_is_not_bound_and_its_devices_are_below_it() {
        assert_eq!(
            placed(ROOT, &["pcie-pci-bridge,id=br", "igb,bus=br,addr=2"]),
            [
                ("pcie-pci-bridge,id=br,bus=pcie.0,addr=0x4".to_owned(), None),
                device("igb,bus=br,addr=2", "0000:00/device/*:04.0/*:02.0"),
            ]
        );
    }

    #[test]
    fn a_host_bridge_is_a_domain() {
        assert_eq!(
            placed(
                ROOT,
                &[
                    "spapr-pci-host-bridge,index=1,id=phb",
                    "igb,bus=phb.0,addr=1"
                ]
            ),
            [
                ("spapr-pci-host-bridge,index=1,id=phb".to_owned(), None),
                device("igb,bus=phb.0,addr=1", "0001:00/device/*:01.0"),
            ]
        );
    }

    #[test]
    fn what_a_model_needs_is_added() {
        let specs = ["nvme", "nvme,drive=mine,serial=1", "edu", "edu,dma_mask=1"];
        let devices = place(ROOT, &specs.map(str::to_owned)).unwrap();
        let texts: Vec<_> = devices.iter().map(|it| it.text.as_str()).collect();
        assert_eq!(
            texts,
            [
                "nvme,bus=pcie.0,addr=0x4,serial=lab0,drive=lab0",
                "nvme,drive=mine,serial=1,bus=pcie.0,addr=0x5",
                "edu,bus=pcie.0,addr=0x6,dma_mask=0xffffffffffffffff",
                "edu,dma_mask=1,bus=pcie.0,addr=0x7",
            ]
        );
        let drives: Vec<_> = devices.iter().map(|it| it.drive.as_deref()).collect();
        assert_eq!(drives, [Some("lab0"), None, None, None]);
    }

    #[test]
    fn specs_that_cannot_be_placed() {
        for specs in [
            vec!["id=x"],
            vec![""],
            vec!["edu,addr=zz"],
            vec!["edu,bus=br"],
            vec!["pcie-pci-bridge,id=br", "edu,bus=br"],
            vec!["edu"; 4],
        ] {
            let specs: Vec<String> = specs.into_iter().map(str::to_owned).collect();
            let error = place(PORTS, &specs).unwrap_err();
            assert!(error.is::<Usage>(), "{specs:?}: {error:#}");
        }
    }
}
