//! Processes that have a node of the device open: its driver leaves when they have closed it, and not before.

use std::path::{Path, PathBuf};

use vfio_core::group_node;
use vfio_core::host::{self, PciDevice, holders};
use vfio_core::kernel::Kernel;

use super::disks::disks;
use super::{Use, Uses, of_device, word};

/// The classes whose drivers wait, or whose users lose something.
const CLASSES: [&str; 3] = ["drm", "nvme", "sound"];

pub(super) fn look(kernel: &dyn Kernel, device: &PciDevice, uses: &mut Uses) {
    let nodes = nodes(kernel, device);
    if nodes.is_empty() {
        return;
    }
    let holders = holders(kernel, &nodes);
    uses.found.extend(holders.found.into_iter().map(Use::Open));
    if holders.unseen > 0 {
        uses.warnings.push(format!(
            "{}: whether {} other processes have it open is unknown: only root may look into them",
            device.bdf, holders.unseen
        ));
    }
}

fn nodes(kernel: &dyn Kernel, device: &PciDevice) -> Vec<PathBuf> {
    if device.is_bound_to_vfio() {
        let group = device.group.map(group_node);
        let own = host::device_node(kernel, device.bdf);
        return group.into_iter().chain(own).collect();
    }
    let of_class = |class: &'static str| {
        let members = of_device(kernel, class, device.bdf).into_iter();
        members.map(move |name| (class, name))
    };
    let disks = disks(kernel, device.bdf).into_iter();
    CLASSES
        .into_iter()
        .flat_map(of_class)
        .chain(disks.map(|name| ("block", name)))
        .map(|(class, name)| Path::new("/sys/class").join(class).join(name))
        .filter_map(|member| {
            let event = word(kernel, &member.join("uevent"))?;
            let name = event.lines().find_map(|it| it.strip_prefix("DEVNAME="))?;
            Some(Path::new("/dev").join(name))
        })
        .collect()
}
