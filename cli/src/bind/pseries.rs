//! What ends a pseries kernel, and so is not asked of it (H13).

use std::path::Path;

use vfio_core::host::{self, Bdf, PciDevice};
use vfio_core::kernel::Kernel;

/// The device that shares a group with this one and belongs to the kernel, or goes back to it: giving this one back too
/// ends the kernel if a container had the group.
pub(super) fn second_of_group(
    kernel: &dyn Kernel,
    device: &PciDevice,
    going_back: &[Bdf],
) -> Option<PciDevice> {
    let group = device.group.filter(|_| is_pseries(kernel))?;
    let members = host::group(kernel, group).ok()?.devices.into_iter();
    let mut others = members.filter(|it| it.bdf != device.bdf);
    others.find(|it| it.spoils_its_group() || going_back.contains(&it.bdf))
}

/// Whether this is the kernel of a guest on POWER: its device tree says which calls the hypervisor knows.
fn is_pseries(kernel: &dyn Kernel) -> bool {
    let calls = "/sys/firmware/devicetree/base/rtas/ibm,hypertas-functions";
    kernel.read(Path::new(calls)).is_ok()
}
