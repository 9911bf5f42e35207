//! The windows of a host bridge: where the processor reaches what is on its PCI buses.

use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};
use crate::kernel::{Errno, Kernel};

use super::Bdf;

/// Where the device tree is.
const TREE: &str = "/sys/firmware/devicetree/base";

/// What is reached through a window of a host bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BusSpace {
    /// The I/O space.
    Io,
    /// Memory that is addressed with 32 bits.
    Memory32,
    /// Memory that is addressed with 64 bits.
    Memory64,
}

/// A window of a host bridge; all numbers are in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BridgeWindow {
    /// What is reached.
    pub space: BusSpace,
    /// The first address on the bus: what the BARs of its devices say.
    pub bus: u64,
    /// The first address of the processor's.
    pub cpu: u64,
    /// How large it is.
    pub size: u64,
}

/// How the processor reaches the I/O space that a device is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IoSpace {
    /// By instructions of its own, at the addresses that BARs say: x86.
    Ports,
    /// As memory, at the host bridge: a hypervisor's guest on POWER, arm64.
    Window(BridgeWindow),
    /// Not at all: the bridge has none, and I/O BARs are never assigned (bare-metal POWER).
    None,
}

/// The windows of the host bridge that a device is behind, as the device tree has them (`ranges`, and on bare-metal POWER
/// `ibm,opal-m64-window`).
///
/// # Errors
/// [`ErrorKind::Unsupported`]: this host has no device tree, or the device is not in it (x86; arm64 with ACPI).
/// [`ErrorKind::Kernel`]: the tree makes no sense. Otherwise what the kernel answered.
pub fn bridge_windows(kernel: &dyn Kernel, bdf: Bdf) -> Result<Vec<BridgeWindow>> {
    let error = |kind, why: &str| {
        Error::new(kind, "look up the host bridge of", bdf.to_string())
            .of_device(bdf)
            .because(why)
    };
    let node = node_of(kernel, bdf)?;
    let node = node.ok_or_else(|| error(ErrorKind::Unsupported, "it is in no device tree"))?;
    let bridge = host_bridge(kernel, &node);
    let (bridge, ranges) =
        bridge.ok_or_else(|| error(ErrorKind::Kernel, "no bridge of the device tree holds it"))?;
    let cells = |dir: &Path, name, otherwise| {
        let bytes = kernel.read(&dir.join(name)).unwrap_or_default();
        number(&bytes).unwrap_or(otherwise)
    };
    let parent = bridge.parent().unwrap_or(&bridge);
    let shape = Shape {
        // What the device tree's specification says where nothing is said.
        parent: cells(parent, "#address-cells", 2),
        size: cells(&bridge, "#size-cells", 1),
    };
    let windows = shape.windows(&ranges);
    let mut windows =
        windows.ok_or_else(|| error(ErrorKind::Kernel, "the bridge's ranges make no sense"))?;
    // Where bare-metal POWER has it (`pnv_ioda_parse_m64_window`).
    let more = kernel.read(&bridge.join("ibm,opal-m64-window"));
    windows.extend(more.ok().and_then(|it| large_window(&it)));
    Ok(windows)
}

/// The node of the device tree that a device has, or else the next one of those that it is behind.
fn node_of(kernel: &dyn Kernel, bdf: Bdf) -> Result<Option<PathBuf>> {
    let link = PathBuf::from(format!("/sys/bus/pci/devices/{bdf}"));
    let mut places = vec![link.clone()];
    // `../../../devices/platform/4010000000.pcie/pci0000:00/0000:00:04.0`
    if let Ok(target) = kernel.read_link(&link) {
        let mut parts = target.iter().skip_while(|part| *part != "devices");
        if let Some(devices) = parts.next() {
            let place = Path::new("/sys")
                .join(devices)
                .join(parts.collect::<PathBuf>());
            places.extend(place.ancestors().skip(1).map(Path::to_owned));
        }
    }
    for place in places {
        let link = place.join("of_node");
        match kernel.read_link(&link) {
            Ok(node) => return Ok(Some(node)),
            Err(Errno::NOENT | Errno::INVAL | Errno::NOTDIR) => {}
            Err(errno) => {
                let error = Error::kernel("readlink", link.display().to_string(), errno);
                return Err(error.of_device(bdf));
            }
        }
    }
    Ok(None)
}

/// A window of memory with addresses of 64 bits: on the bus, of the processor, and how large it is.
fn large_window(bytes: &[u8]) -> Option<BridgeWindow> {
    let mut numbers = bytes.chunks_exact(8).map(number);
    Some(BridgeWindow {
        space: BusSpace::Memory64,
        bus: numbers.next()??,
        cpu: numbers.next()??,
        size: numbers.next()??,
    })
}

/// How the processor reaches the I/O space that a device is in.
///
/// # Errors
/// Those of [`bridge_windows`], but on x86.
pub fn io_space(kernel: &dyn Kernel, bdf: Bdf) -> Result<IoSpace> {
    if matches!(kernel.identity().0.as_str(), "x86_64" | "i686") {
        return Ok(IoSpace::Ports);
    }
    let windows = bridge_windows(kernel, bdf)?;
    let mut io = windows.into_iter().filter(|it| it.space == BusSpace::Io);
    Ok(io.next().map_or(IoSpace::None, IoSpace::Window))
}

/// The node of the host bridge that a device is behind, if the hypervisor of a POWER guest gives that bridge one DMA window
/// and no means to make others (`ibm,dma-window` without `ibm,ddw-applicable`). `None`: it does, or this is no such guest.
pub fn has_fixed_window(kernel: &dyn Kernel, bdf: Bdf) -> Option<PathBuf> {
    let node = node_of(kernel, bdf).ok()??;
    let (bridge, _) = host_bridge(kernel, &node)?;
    let has = |name: &str| kernel.read(&bridge.join(name)).is_ok();
    (has("ibm,dma-window") && !has("ibm,ddw-applicable")).then_some(bridge)
}

/// The outermost PCI bridge that a node of the tree is in, with its `ranges`. Bridges between buses have some, too.
fn host_bridge(kernel: &dyn Kernel, node: &Path) -> Option<(PathBuf, Vec<u8>)> {
    // `../../../firmware/devicetree/base/pci@800000020000000/ethernet@4`
    let parts: Vec<_> = node.iter().collect();
    let base = parts.iter().rposition(|part| *part == "base")?;
    let mut dir = PathBuf::from(TREE);
    for part in parts.get(base + 1..)? {
        dir.push(part);
        let kind = kernel.read(&dir.join("device_type")).unwrap_or_default();
        let is_bridge = matches!(&kind[..], b"pci\0" | b"pciex\0");
        if let (true, Ok(ranges)) = (is_bridge, kernel.read(&dir.join("ranges"))) {
            return Some((dir, ranges));
        }
    }
    None
}

/// Of how many cells of 32 bits the numbers in `ranges` are; an address of PCI has three.
struct Shape {
    parent: u64,
    size: u64,
}

impl Shape {
    /// `None`: this is not a whole number of them, or not of this kind.
    fn windows(&self, ranges: &[u8]) -> Option<Vec<BridgeWindow>> {
        const PCI: usize = 3;
        let (parent, size) = (
            usize::try_from(self.parent).ok()?,
            usize::try_from(self.size).ok()?,
        );
        if !(1..=2).contains(&parent) || !(1..=2).contains(&size) {
            return None;
        }
        let chunks = ranges.chunks_exact(4 * (PCI + parent + size));
        if !chunks.remainder().is_empty() {
            return None;
        }
        let mut windows = Vec::new();
        for chunk in chunks {
            let (address, rest) = chunk.split_at_checked(4 * PCI)?;
            let (kind, bus) = address.split_at_checked(4)?;
            let (cpu, size) = rest.split_at_checked(4 * parent)?;
            let space = match number(kind)? >> 24 & 3 {
                1 => BusSpace::Io,
                2 => BusSpace::Memory32,
                3 => BusSpace::Memory64,
                _ => continue, // config space
            };
            windows.push(BridgeWindow {
                space,
                bus: number(bus)?,
                cpu: number(cpu)?,
                size: number(size)?,
            });
        }
        Some(windows)
    }
}

/// A number of one or two cells, the most significant byte first.
fn number(bytes: &[u8]) -> Option<u64> {
    let bytes = match bytes.len() {
        4 | 8 => bytes.iter(),
        _ => return None,
    };
    Some(bytes.fold(0, |number, byte| number << 8 | u64::from(*byte)))
}
