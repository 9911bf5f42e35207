//! What of the host would lose a device.

mod disks;
mod display;
mod network;
mod nodes;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};

use vfio_core::host::{Bdf, Holder, PciDevice};
use vfio_core::kernel::{Errno, Kernel};

/// Something that uses a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Use {
    Mounted {
        disk: String,
        at: String,
    },
    Swap {
        disk: String,
    },
    /// Device mapper, md, or a file system of several disks has it.
    PartOf {
        disk: String,
        of: String,
    },
    Routed {
        interface: String,
        is_default: bool,
    },
    Display,
    Console {
        framebuffer: String,
    },
    VirtualFunctions(u32),
    Open(Holder),
}

/// Where the host's own programs are, and what starts it.
const VITAL: [&str; 6] = ["/", "/usr", "/var", "/etc", "/boot", "/boot/efi"];

/// What uses a device, and what could not be found out.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Uses {
    pub(super) found: Vec<Use>,
    pub(super) warnings: Vec<String>,
}

impl Use {
    /// Whether the host does not live on without it, so that nobody would be left to give it back.
    pub(super) fn is_vital(&self) -> bool {
        match self {
            Self::Mounted { at, .. } => VITAL.contains(&at.as_str()),
            // What it is a part of may be the root file system.
            Self::Swap { .. } | Self::PartOf { .. } => true,
            _ => false,
        }
    }
}

impl fmt::Display for Use {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Mounted { disk, at } => format!("its disk {disk} is mounted at {at}"),
            Self::Swap { disk } => format!("the host swaps to its disk {disk}"),
            Self::PartOf { disk, of } => format!("its disk {disk} is a part of {of}"),
            Self::Routed {
                interface,
                is_default: true,
            } => format!("the default route is over its interface {interface}"),
            Self::Routed { interface, .. } => format!("a route is over its interface {interface}"),
            Self::Display => "it is the display that this host booted with".to_owned(),
            Self::Console { framebuffer } => format!("the console is on its {framebuffer}"),
            Self::VirtualFunctions(1) => "it has a virtual function, which would go".to_owned(),
            Self::VirtualFunctions(count) => {
                format!("it has {count} virtual functions, which would go")
            }
            Self::Open(Holder {
                pid, name, node, ..
            }) => format!("{name} (process {pid}) has {} open", node.display()),
        };
        f.write_str(&text)
    }
}

impl Uses {
    /// Everything that uses a device.
    pub(super) fn of(kernel: &dyn Kernel, device: &PciDevice) -> Self {
        let mut uses = Self::default();
        // The firmware's picture may be in the memory of a device that no driver has.
        display::look(kernel, device.bdf, &mut uses);
        if device.driver.is_some() {
            disks::look(kernel, device.bdf, &mut uses);
            network::look(kernel, device.bdf, &mut uses);
            virtual_functions(kernel, device.bdf, &mut uses);
            nodes::look(kernel, device, &mut uses);
        }
        uses
    }

    /// The processes that have a device open: what keeps its driver from leaving it.
    pub(super) fn by_processes(kernel: &dyn Kernel, device: &PciDevice) -> Self {
        let mut uses = Self::default();
        nodes::look(kernel, device, &mut uses);
        uses
    }

    fn unknown(&mut self, what: &str, place: &Path, errno: Errno) {
        let place = place.display();
        self.warnings
            .push(format!("{what} is unknown: {place}: {errno}"));
    }
}

fn virtual_functions(kernel: &dyn Kernel, bdf: Bdf, uses: &mut Uses) {
    let count = word(kernel, &directory(bdf).join("sriov_numvfs"));
    if let Some(count) = count
        .and_then(|count| count.parse().ok())
        .filter(|it| *it > 0)
    {
        uses.found.push(Use::VirtualFunctions(count));
    }
}

fn directory(bdf: Bdf) -> PathBuf {
    PathBuf::from(format!("/sys/bus/pci/devices/{bdf}"))
}

/// A small file without what ends it; `None` if it cannot be read.
fn word(kernel: &dyn Kernel, path: &Path) -> Option<String> {
    let bytes = kernel.read(path).ok()?;
    Some(String::from_utf8_lossy(&bytes).trim().to_owned())
}

/// The names in a directory; none if it cannot be read.
fn names(kernel: &dyn Kernel, dir: &Path) -> Vec<String> {
    let names = kernel.list(dir).unwrap_or_default();
    let names = names.iter().map(|name| name.to_string_lossy().into_owned());
    names.collect()
}

/// What a class of sysfs has, with where each of it is in the tree of devices.
fn members(kernel: &dyn Kernel, class: &str) -> Vec<(String, PathBuf)> {
    let dir = Path::new("/sys/class").join(class);
    let names = names(kernel, &dir).into_iter();
    let with_place = |name: String| {
        let place = kernel.read_link(&dir.join(&name)).ok()?;
        Some((name, place))
    };
    names.filter_map(with_place).collect()
}

/// Whether something is below a device.
fn is_below(place: &Path, device: &str) -> bool {
    place.iter().any(|part| part == device)
}

/// The members of a class that are below a device.
fn of_device(kernel: &dyn Kernel, class: &str, bdf: Bdf) -> Vec<String> {
    let device = bdf.to_string();
    let members = members(kernel, class).into_iter();
    let below = members.filter(|(_, place)| is_below(place, &device));
    below.map(|(name, _)| name).collect()
}
