//! What remains to be done.

use vfio_core::host::{self, Distribution};
use vfio_core::kernel::Kernel;

use super::choose::is_bridge;

/// What remains until a user can have a group.
pub(super) fn for_group(kernel: &dyn Kernel, id: u32) -> Vec<String> {
    let Ok(group) = host::group(kernel, id) else {
        return Vec::new();
    };
    let spoilers: Vec<_> = group.spoilers().filter(|it| !is_bridge(it)).collect();
    if !spoilers.is_empty() {
        let names: Vec<_> = spoilers.iter().map(|it| it.bdf.to_string()).collect();
        let drivers: Vec<_> = spoilers.iter().map(ToString::to_string).collect();
        return vec![format!(
            "group {id} cannot be used while drivers of the kernel's own have a part of it, {}: vfioctl bind {}",
            drivers.join(", "),
            names.join(" "),
        )];
    }
    let node = vfio_core::group_node(id);
    let there = kernel.node(&node).is_ok();
    let chown = format!("for a user's program: chown USER {}", node.display());
    there.then_some(chown).into_iter().collect()
}

/// What is to be done about the initramfs after the rule was changed.
pub(super) fn renewal(kernel: &dyn Kernel) -> String {
    let command = match Distribution::of(kernel) {
        Distribution::Debian => "update-initramfs -u",
        Distribution::Fedora | Distribution::Suse => "dracut -f",
        Distribution::Arch => "mkinitcpio -P",
        Distribution::Other => "as this distribution does it",
    };
    format!(
        "an initramfs may have the device's own driver, and a copy of udev's rules: renew it, if there is one: {command}"
    )
}
