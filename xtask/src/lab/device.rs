//! From a device as the user names it to QEMU's `-device` text and the place in sysfs.
//!
//! The lab gives each device a fixed address, so the machine's kernel is told where to look: the
//! path of slots from the root bus, which does not depend on how the kernel numbers its buses.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail, ensure};

use super::Usage;
use super::machine::Slots;

/// A device with its place in the machine.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Placed {
    /// QEMU's `-device` text.
    pub(super) text: String,
    /// A shell pattern for its directory in sysfs. Bridges have none: nobody binds them.
    pub(super) sysfs: Option<String>,
    /// The block node that backs it, if the lab has to make one.
    pub(super) drive: Option<String>,
}

/// The first slot for devices on a root bus; boards have devices of their own in some others.
const FIRST_SLOT: u32 = 4;
/// The slot after the last one: q35 has its south bridge in 31.
const LAST_SLOT: u32 = 31;

/// Gives every device of `specs` its place. A device that another one sits on is a bridge.
pub(super) fn place(slots: Slots, specs: &[String]) -> Result<Vec<Placed>> {
    let specs: Vec<Spec<'_>> = specs.iter().map(|text| Spec::parse(text)).collect::<Result<_>>()?;
    let parents: BTreeSet<&str> = specs.iter().filter_map(Spec::parent).collect();
    let mut buses = Buses::new(slots, &specs);
    let mut placed = Vec::new();
    for (number, spec) in specs.iter().enumerate() {
        let mut text = spec.text.to_owned();
        let directory = match host_bridge(spec)? {
            Some(directory) => directory,
            None => buses.seat(spec, &mut text)?,
        };
        let drive = complete(spec, number, &mut text);
        let bridge = spec.get("id").filter(|id| parents.contains(id));
        if let Some(id) = bridge {
            buses.bridges.insert(id, directory.clone());
        }
        placed.push(Placed {
            text,
            sysfs: bridge.is_none().then_some(directory),
            drive,
        });
    }
    Ok(placed)
}

/// One `-device` text, taken apart.
struct Spec<'a> {
    text: &'a str,
    model: &'a str,
    properties: Vec<(&'a str, &'a str)>,
}

impl<'a> Spec<'a> {
    fn parse(text: &'a str) -> Result<Self> {
        let mut parts = text.split(',');
        let model = parts.next().unwrap_or_default();
        ensure!(
            !model.is_empty() && !model.contains(['=', '{', ' ']),
            Usage(format!("device '{text}': it must begin with a model, as in 'edu' or 'nvme,addr=5'"))
        );
        let properties = parts.filter_map(|part| part.split_once('=')).collect();
        Ok(Self { text, model, properties })
    }

    fn get(&self, key: &str) -> Option<&'a str> {
        self.properties.iter().find(|(name, _)| *name == key).map(|(_, value)| *value)
    }

    /// The id of the device whose bus this one sits on: the bus of `ID` is `ID` or `ID.0`.
    fn parent(&self) -> Option<&'a str> {
        let bus = self.get("bus")?;
        Some(bus.strip_suffix(".0").unwrap_or(bus))
    }
}

/// A host bridge is not on a bus; on pseries its index is its PCI domain.
fn host_bridge(spec: &Spec<'_>) -> Result<Option<String>> {
    if spec.model != "spapr-pci-host-bridge" {
        return Ok(None);
    }
    match spec.get("index").map(str::parse) {
        Some(Ok(index)) => Ok(Some(root(index))),
        _ => bail!(Usage(format!("device '{}': say its index, as in 'index=1'", spec.text))),
    }
}

/// Adds what the model needs and the user did not say.
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
        // By default it reaches the first 256 MiB only.
        "edu" => {
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

/// The buses of a machine, and what is still free on them.
struct Buses<'a> {
    slots: Slots,
    free: Vec<u32>,
    /// Bridges that the user brought, with their directories.
    bridges: BTreeMap<&'a str, String>,
}

impl<'a> Buses<'a> {
    fn new(slots: Slots, specs: &[Spec<'a>]) -> Self {
        let taken = |number: &u32| {
            specs.iter().any(|spec| match slots {
                Slots::RootBus { name } => {
                    spec.get("bus").is_none_or(|bus| bus == name)
                        && spec.get("addr").and_then(slot_and_function).is_some_and(|(slot, _)| slot == *number)
                }
                Slots::Ports { .. } => spec.get("bus") == Some(&port(*number)),
            })
        };
        let all = match slots {
            Slots::RootBus { .. } => FIRST_SLOT..LAST_SLOT,
            Slots::Ports { count } => 0..count,
        };
        Self {
            slots,
            free: all.rev().filter(|number| !taken(number)).collect(),
            bridges: BTreeMap::new(),
        }
    }

    /// The directory of a device in sysfs; adds to `text` what puts it there.
    fn seat(&mut self, spec: &Spec<'_>, text: &mut String) -> Result<String> {
        let address = spec.get("addr").map(|addr| {
            slot_and_function(addr).ok_or_else(|| {
                Usage(format!("device '{}': '{addr}' is not SLOT or SLOT.FUNCTION in hexadecimal", spec.text))
            })
        });
        let address = address.transpose()?;
        match (self.slots, spec.get("bus")) {
            (Slots::RootBus { name }, bus) if bus.is_none_or(|bus| bus == name) => {
                if bus.is_none() {
                    text.push_str(&format!(",bus={name}"));
                }
                let (slot, function) = match address {
                    Some(address) => address,
                    None => {
                        let slot = self.next(spec)?;
                        text.push_str(&format!(",addr={slot:#x}"));
                        (slot, 0)
                    }
                };
                Ok(below(&root(0), slot, function))
            }
            (Slots::Ports { .. }, None) => {
                let number = self.next(spec)?;
                text.push_str(&format!(",bus={}", port(number)));
                Ok(in_port(number, address))
            }
            (_, Some(bus)) => match (self.port(bus), self.bridges.get(bus_owner(bus)), address) {
                (Some(number), ..) => Ok(in_port(number, address)),
                (None, Some(bridge), Some((slot, function))) => Ok(below(bridge, slot, function)),
                (None, Some(_), None) => bail!(Usage(format!(
                    "device '{}': say its addr too: the lab lays out only the machine's own buses", spec.text
                ))),
                (None, None, _) => bail!(Usage(format!(
                    "device '{}': '{bus}' is neither a bus of the machine nor the id of a device named before", spec.text
                ))),
            },
            (Slots::RootBus { .. }, None) => unreachable!(),
        }
    }
}
