//! What is bound again when the host starts: a file for people, and the udev rule that is made of it.

use std::fmt;
use std::path::Path;

use vfio_core::host::{Bdf, PciDevice};
use vfio_core::{Error, ErrorKind, Result};

use super::state::State;

const DIRECTORY: &str = "etc/vfioctl";
const DEVICES: &str = "etc/vfioctl/devices";
/// Before the rules that load the device's own driver (80-drivers.rules).
const RULES: &str = "etc/udev/rules.d/10-vfioctl.rules";

const DEVICES_HEADER: &str = "\
# The devices that go to VFIO when this host starts: address, driver, vendor:device.
# Written by `vfioctl bind --persist`, undone by `vfioctl unbind --persist ADDRESS`. By hand: remove
# this file and /etc/udev/rules.d/10-vfioctl.rules, which is made of it.
";

/// A device that is bound again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    bdf: Bdf,
    driver: String,
    vendor: u16,
    device: u16,
}

/// A file, and what is to be in it; nothing: it is to go.
pub(super) struct NewFile {
    pub(super) path: &'static str,
    pub(super) text: String,
}

impl Entry {
    pub(super) fn new(device: &PciDevice, driver: &str) -> Self {
        Self {
            bdf: device.bdf,
            driver: driver.to_owned(),
            vendor: device.vendor,
            device: device.device,
        }
    }

    fn parse(line: &str) -> Option<Self> {
        let fields: Vec<_> = line.split_whitespace().collect();
        let [bdf, driver, id] = fields.as_slice() else {
            return None;
        };
        let (vendor, device) = id.split_once(':')?;
        let id = |text| u16::from_str_radix(text, 16).ok();
        Some(Self {
            bdf: bdf.parse().ok()?,
            driver: Some(*driver).filter(|it| super::is_name(it))?.to_owned(),
            vendor: id(vendor)?,
            device: id(device)?,
        })
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            bdf,
            driver,
            vendor,
            device,
        } = self;
        write!(f, "{bdf} {driver} {vendor:04x}:{device:04x}")
    }
}

impl NewFile {
    fn put(&self, state: &State) -> Result<()> {
        match self.text.as_str() {
            "" => state.remove(self.path),
            text => state.write(self.path, text),
        }
    }
}

/// As the shell's command that does the same.
impl fmt::Display for NewFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, text } = self;
        match (text.as_str(), Path::new(path).parent()) {
            ("", _) => write!(f, "rm -f /{path}"),
            (text, dir) => {
                let dir = dir.unwrap_or(Path::new("")).display();
                write!(f, "mkdir -p /{dir}\ncat > /{path} <<'EOF'\n{text}EOF")
            }
        }
    }
}

/// Whether a device is bound again.
pub(super) fn has(state: &State, bdf: Bdf) -> Result<bool> {
    Ok(read(state)?.iter().any(|entry| entry.bdf == bdf))
}

/// What the files are to be when these devices are bound again, and those are not.
pub(super) fn files(state: &State, add: &[Entry], remove: &[Bdf]) -> Result<[NewFile; 2]> {
    let mut entries = read(state)?;
    let goes = |bdf| add.iter().any(|it| it.bdf == bdf) || remove.contains(&bdf);
    entries.retain(|entry| !goes(entry.bdf));
    entries.extend(add.iter().cloned());
    entries.sort();
    Ok([
        NewFile {
            path: DEVICES,
            text: devices(&entries),
        },
        NewFile {
            path: RULES,
            text: rules(&entries),
        },
    ])
}

/// Makes the files what [`files`] says.
pub(super) fn change(state: &State, add: &[Entry], remove: &[Bdf]) -> Result<()> {
    let _others = state.lock(DIRECTORY)?;
    for file in files(state, add, remove)? {
        file.put(state)?;
    }
    Ok(())
}

fn read(state: &State) -> Result<Vec<Entry>> {
    let text = state.read(DEVICES)?.unwrap_or_default();
    let lines = (1..).zip(text.lines());
    let lines = lines.filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    let entries = lines.map(|(number, line)| {
        Entry::parse(line).ok_or_else(|| {
            Error::new(ErrorKind::Invalid, "read", format!("/{DEVICES}")).because(format!(
                "line {number} is not ADDRESS DRIVER VENDOR:DEVICE: mend it or remove it"
            ))
        })
    });
    entries.collect()
}

fn devices(entries: &[Entry]) -> String {
    if entries.is_empty() {
        return String::new();
    }
    let lines = entries.iter().map(|entry| format!("{entry}\n"));
    format!("{DEVICES_HEADER}{}", lines.collect::<String>())
}

fn rules(entries: &[Entry]) -> String {
    if entries.is_empty() {
        return String::new();
    }
    let lines = entries.iter().map(|entry| {
        let Entry {
            bdf,
            driver,
            vendor,
            device,
        } = entry;
        format!(
            "KERNEL==\"{bdf}\", ATTR{{vendor}}==\"{vendor:#06x}\", ATTR{{device}}==\"{device:#06x}\", \
             ENV{{.vfioctl}}=\"{driver}\"\n"
        )
    });
    format!(
        "\
# Made by vfioctl of /{DEVICES}, which says how to undo it. What is changed here is lost.
ACTION!=\"add\", GOTO=\"vfioctl_end\"
SUBSYSTEM!=\"pci\", GOTO=\"vfioctl_end\"
{}ENV{{.vfioctl}}!=\"?*\", GOTO=\"vfioctl_end\"
# From here on no other driver takes it.
ATTR{{driver_override}}=\"$env{{.vfioctl}}\"
IMPORT{{builtin}}=\"kmod load $env{{.vfioctl}}\"
# Its own driver may have been quicker.
DRIVER==\"?*\", DRIVER!=\"*vfio*\", ATTR{{driver/unbind}}=\"$kernel\"
# The driver may have been loaded before.
ATTR{{[subsystem/pci]drivers_probe}}=\"$kernel\"
LABEL=\"vfioctl_end\"
",
        lines.collect::<String>()
    )
}
