//! File systems and swap on the disks of a device.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use vfio_core::host::Bdf;
use vfio_core::kernel::{Errno, Kernel};

use super::{Use, Uses, is_below, members, names, word};

const BLOCK: &str = "/sys/class/block";
const MOUNTS: &str = "/proc/self/mountinfo";
const SWAPS: &str = "/proc/swaps";

pub(super) fn look(kernel: &dyn Kernel, bdf: Bdf, uses: &mut Uses) {
    let disks = disks(kernel, bdf);
    if disks.is_empty() {
        return;
    }
    let mut lines = |what: &str, path: &str, first: usize| match kernel.read(path.as_ref()) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            text.lines().skip(first).map(str::to_owned).collect()
        }
        Err(Errno::NOENT) if path == SWAPS => Vec::new(), // a kernel without swap
        Err(errno) => {
            uses.unknown(what, path.as_ref(), errno);
            Vec::new()
        }
    };
    let mounts = lines("what is mounted", MOUNTS, 0);
    let swaps = lines("where the host swaps to", SWAPS, 1); // below the line of titles
    let mounts: Vec<_> = mounts
        .iter()
        .filter_map(|line| Mount::parse(line))
        .collect();
    for disk in disks {
        let stack = stack(kernel, &disk);
        let before = uses.found.len();
        for layer in stack.keys() {
            uses.found
                .extend(used(kernel, &disk, layer, &mounts, &swaps));
        }
        if uses.found.len() == before {
            let above = stack.iter().find(|(_, above)| above.is_empty());
            let of = above.filter(|(layer, _)| **layer != disk);
            let of = of.map(|(layer, _)| described(kernel, layer));
            let of = of.or_else(|| btrfs(kernel, &disk));
            uses.found.extend(of.map(|of| Use::PartOf { disk, of }));
        }
    }
}

/// The disks of a device and their partitions.
pub(super) fn disks(kernel: &dyn Kernel, bdf: Bdf) -> Vec<String> {
    let all = members(kernel, "block");
    let device = bdf.to_string();
    let own: Vec<_> = all.iter().filter(|it| is_below(&it.1, &device)).collect();
    // NVMe's multipath has the disk elsewhere: nvme0c1n2 is a way to nvme0n2.
    let heads: Vec<_> = own.iter().filter_map(|(name, _)| head(name)).collect();
    let is_own =
        |place: &Path| is_below(place, &device) || heads.iter().any(|head| is_below(place, head));
    let own = all.iter().filter(|(_, place)| is_own(place));
    own.map(|(name, _)| name.clone()).collect()
}

/// The disk that an NVMe path leads to.
fn head(path: &str) -> Option<String> {
    let (subsystem, rest) = path.strip_prefix("nvme")?.split_once('c')?;
    let (_, namespace) = rest.split_once('n')?;
    Some(format!("nvme{subsystem}n{namespace}"))
}

/// A block device and all that is made of it, each with what is right above it.
fn stack(kernel: &dyn Kernel, disk: &str) -> BTreeMap<String, Vec<String>> {
    let mut stack = BTreeMap::new();
    let mut next = vec![disk.to_owned()];
    while let Some(layer) = next.pop() {
        let holders = names(kernel, &Path::new(BLOCK).join(&layer).join("holders"));
        // What is known already does not come again, whatever refers to it.
        if stack.insert(layer, holders.clone()).is_none() {
            next.extend(holders);
        }
    }
    stack
}

/// What mounts and swap say of a layer above a disk.
fn used(
    kernel: &dyn Kernel,
    disk: &str,
    layer: &str,
    mounts: &[Mount<'_>],
    swaps: &[String],
) -> Vec<Use> {
    let number = word(kernel, &Path::new(BLOCK).join(layer).join("dev"));
    let is_it = |source: &str| names_layer(kernel, source, layer);
    let disk = if disk == layer {
        disk.to_owned()
    } else {
        format!("{disk} ({})", described(kernel, layer))
    };
    let mounted = mounts
        .iter()
        .filter(|mount| number.as_deref() == Some(mount.number) || is_it(mount.source));
    let points: BTreeSet<_> = mounted.map(|mount| mount.at).collect();
    let mounted = points.into_iter().map(|at| Use::Mounted {
        disk: disk.clone(),
        at: at.to_owned(),
    });
    let mut swaps = swaps
        .iter()
        .filter_map(|line| line.split_whitespace().next());
    let swap = swaps.any(is_it).then(|| Use::Swap { disk: disk.clone() });
    mounted.chain(swap).collect()
}

/// Whether a file such as `/dev/mapper/root` is that block device.
fn names_layer(kernel: &dyn Kernel, source: &str, layer: &str) -> bool {
    let Some(name) = source.strip_prefix("/dev/") else {
        return false;
    };
    let target = kernel.read_link(source.as_ref()).unwrap_or_default();
    name == layer || target.file_name().is_some_and(|name| name == layer)
}

/// A block device by its name, and that which device mapper gave it.
fn described(kernel: &dyn Kernel, layer: &str) -> String {
    let name: PathBuf = [BLOCK, layer, "dm/name"].iter().collect();
    word(kernel, &name).map_or_else(|| layer.to_owned(), |name| format!("{name}, {layer}"))
}

/// A file system of btrfs may have several disks, of which a mount names one.
fn btrfs(kernel: &dyn Kernel, disk: &str) -> Option<String> {
    let all = Path::new("/sys/fs/btrfs");
    let mut systems = names(kernel, all).into_iter();
    let has_it = |system: &String| {
        let devices = names(kernel, &all.join(system).join("devices"));
        devices.iter().any(|it| it == disk)
    };
    let system = systems.find(has_it)?;
    Some(format!("the btrfs {system}"))
}

/// A line of `mountinfo`.
struct Mount<'a> {
    /// Major and minor.
    number: &'a str,
    at: &'a str,
    source: &'a str,
}

impl<'a> Mount<'a> {
    /// `36 35 98:0 / /mnt rw,noatime master:1 - ext4 /dev/sda1 rw`
    fn parse(line: &'a str) -> Option<Self> {
        let (mount, system) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(2);
        Some(Self {
            number: fields.next()?,
            at: fields.nth(1)?,
            source: system.split(' ').nth(1)?,
        })
    }
}
