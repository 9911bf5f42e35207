//! Which devices are meant, and whether they may be taken from whoever has them.

use vfio_core::host::{self, Bdf, PciDevice};
use vfio_core::kernel::Kernel;
use vfio_core::{Error, ErrorKind, Result};

use super::failure::{self, Failure, Outcome};
use super::in_use::{Use, Uses};
use super::report::Report;
use crate::finding::Finding;

/// The devices that are meant, each once.
pub(super) fn chosen(
    kernel: &dyn Kernel,
    bdfs: &[Bdf],
    with_group: bool,
) -> Result<Vec<PciDevice>> {
    let mut devices: Vec<PciDevice> = Vec::new();
    let mut add = |device: PciDevice| {
        if !devices.iter().any(|it| it.bdf == device.bdf) {
            devices.push(device);
        }
    };
    for bdf in bdfs {
        let device = host::device(kernel, *bdf)?;
        let group = device.group.filter(|_| with_group);
        add(device);
        if let Some(group) = group {
            let group = host::group(kernel, group)?.devices.into_iter();
            group.filter(goes_along).for_each(&mut add);
        }
    }
    Ok(devices)
}

/// Whether a device goes with the others of its group: not the host's bridges, and not what VFIO has.
fn goes_along(device: &PciDevice) -> bool {
    const BRIDGE: u32 = 0x06;
    let is_idle_bridge = device.class >> 16 == BRIDGE && !device.spoils_its_group();
    !is_idle_bridge && !is_bridge(device) && !device.is_bound_to_vfio()
}

/// Whether it is a bridge between PCI buses, which no driver of VFIO's takes.
pub(super) fn is_bridge(device: &PciDevice) -> bool {
    device.class >> 8 == 0x0604
}

/// Refuses what is not to be bound, all of it at once.
pub(super) fn check(
    kernel: &dyn Kernel,
    devices: &[&PciDevice],
    force: bool,
    report: &mut Report,
) -> Outcome<()> {
    let mut findings = Vec::new();
    for device in devices {
        if is_bridge(device) {
            findings.push(failure::bridge(device));
            continue;
        }
        let uses = Uses::of(kernel, device);
        findings.extend(refusal(device, uses, force, report));
    }
    match findings.is_empty() {
        true => Ok(()),
        false => Err(Failure::refused(findings)),
    }
}

/// What there is against taking a device from its driver.
pub(super) fn refusal(
    device: &PciDevice,
    uses: Uses,
    force: bool,
    report: &mut Report,
) -> Option<Finding> {
    report.warnings.extend(uses.warnings);
    let forced = force && !uses.found.iter().any(Use::is_vital);
    if forced {
        let warnings = uses.found.iter();
        let warnings = warnings.map(|it| format!("{}, by force: {it}", device.bdf));
        report.warnings.extend(warnings);
    }
    (!forced && !uses.found.is_empty()).then(|| failure::in_use(device, &uses.found))
}

/// Without an IOMMU no driver of VFIO's takes a device, unless the administrator allows that.
pub(super) fn has_group(kernel: &dyn Kernel, device: &PciDevice) -> Result<()> {
    const NOIOMMU: &str = "/sys/module/vfio/parameters/enable_unsafe_noiommu_mode";
    let allowed = kernel.read(NOIOMMU.as_ref()).unwrap_or_default();
    if device.group.is_some() || allowed.starts_with(b"Y") {
        return Ok(());
    }
    let error = Error::new(ErrorKind::NoGroup, "bind", device.bdf.to_string());
    Err(error.of_device(device.bdf).because("it has no IOMMU group"))
}
