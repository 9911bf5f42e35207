//! VFIO-05: the IOMMU does not remap interrupts, so the kernel refuses to give a device away.

use crate::error::Error;
use crate::kernel::{Errno, Kernel};

use super::{Diagnosis, Evidence};

const SWITCH: &str = "/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts";

pub(super) fn diagnose(error: &Error, kernel: &dyn Kernel) -> Option<Diagnosis> {
    if error.operation() != "VFIO_SET_IOMMU" || error.errno() != Some(Errno::PERM) {
        return None;
    }
    let switch = kernel.read(SWITCH.as_ref()).ok()?; // only with type1 is this the reason
    let switch = String::from_utf8_lossy(&switch).trim().to_owned();
    if switch == "Y" {
        return None;
    }
    Some(Diagnosis {
        code: "VFIO-05",
        name: "unsafe-interrupts",
        cause: "the IOMMU does not remap interrupts: a device could forge those of others".to_owned(),
        evidence: vec![Evidence::new(SWITCH, switch)],
        remedies: vec![
            "switch interrupt remapping on in the firmware's setup (VT-d with x2APIC; AMD: IOMMU)"
                .to_owned(),
            "boot without intremap=off and nointremap; in a virtual machine: intel-iommu,intremap=on"
                .to_owned(),
            "last, and only where everything that uses the device is trusted with the whole host: \
             the module parameter allow_unsafe_interrupts=1 of vfio_iommu_type1"
                .to_owned(),
        ],
    })
}
