//! VFIO-13: a device's BAR cannot be mapped for other devices.

use crate::error::Error;
use crate::host::kernel_version;
use crate::kernel::{Errno, Kernel};

use super::{Diagnosis, Entry, Evidence, Examination, Patient, Remedy, Weight};

/// The first kernel in which iommufd maps BARs.
const MAPS_BARS: (u32, u32) = (6, 19);

pub(super) const ENTRY: Entry = Entry {
    code: "VFIO-13",
    name: "bar-map-refused",
    of_error: diagnose,
    examine,
};

fn diagnose(error: &Error, _: &dyn Kernel) -> Option<Diagnosis> {
    let refused = error.operation() == "VFIO_IOMMU_MAP_DMA" && error.errno() == Some(Errno::FAULT);
    let memory = error.memory().filter(|_| refused)?;
    Some(finding(
        format!(
            "the kernel does not map {memory}: it is a BAR that cannot be mapped for others, or memory that is gone"
        ),
        Vec::new(),
    ))
}

fn examine(patient: &Patient<'_>, examination: &mut Examination) {
    let kernel = patient.kernel;
    let interfaces = patient.surroundings.interfaces();
    let release = kernel.identity().1;
    let is_old = kernel_version(&release).is_none_or(|version| version < MAPS_BARS);
    if interfaces.container || !interfaces.cdev || !is_old {
        return;
    }
    if patient.surroundings.bound() < 2 {
        return; // nobody could reach another's
    }
    examination.findings.push(finding(
        format!("through iommufd, Linux {release} maps no BAR of one device for another: they cannot reach each other"),
        vec![Evidence::new("/sys/class/misc/vfio", "not there: iommufd is the only way in")],
    ));
}

fn finding(cause: String, evidence: Vec<Evidence>) -> Diagnosis {
    ENTRY.found(
        Weight::Harmless,
        cause,
        evidence,
        vec![
            Remedy::safe(
                "harmless unless devices of one guest talk to each other; fatal if what is refused is the guest's RAM: \
                 see whether that memory is still there",
            ),
            Remedy::safe("switch peer to peer off in the VMM, if it makes an error of it"),
            Remedy::disrupts("Linux 6.19 and newer map BARs through iommufd; containers of VFIO map them on every one"),
        ],
    )
}
