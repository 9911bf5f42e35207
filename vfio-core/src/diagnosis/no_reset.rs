//! VFIO-11: the device cannot be reset, or not without others.

use crate::error::{Error, ErrorKind};
use crate::host::{self, Bdf, attribute_file, reset_methods, reset_with_the_bus};
use crate::kernel::{Errno, Kernel};

use super::{Diagnosis, Entry, Evidence, Examination, Patient, Remedy, Weight};

/// The first kernel that says how a device is reset.
const SAYS_IT: (u32, u32) = (5, 15);

pub(super) const ENTRY: Entry = Entry {
    code: "VFIO-11",
    name: "no-reset",
    of_error: diagnose,
    examine,
};

fn diagnose(error: &Error, kernel: &dyn Kernel) -> Option<Diagnosis> {
    let refused = error.operation() == "VFIO_DEVICE_RESET"
        && (error.kind() == ErrorKind::Unsupported
            || matches!(error.errno(), Some(Errno::INVAL | Errno::NOTTY)));
    let bdf = error.device().filter(|_| refused)?;
    Some(finding(kernel, bdf, &reset_with_the_bus(kernel, bdf)))
}

fn examine(patient: &Patient<'_>, examination: &mut Examination) {
    let kernel = patient.kernel;
    let Some(bdf) = patient.device.map(|device| device.bdf) else {
        return;
    };
    if !reset_methods(kernel, bdf).is_empty() {
        return;
    }
    let release = kernel.identity().1;
    match host::kernel_version(&release) {
        Some(version) if version >= SAYS_IT => {
            let with_it = patient.surroundings.reset_with_the_bus(bdf);
            examination.findings.push(finding(kernel, bdf, &with_it));
        }
        _ => examination
            .unknown
            .push(ENTRY.unknown("kernels before 5.15 do not say how a device can be reset")),
    }
}

fn finding(kernel: &dyn Kernel, bdf: Bdf, with_it: &[Bdf]) -> Diagnosis {
    let mut evidence = vec![Evidence::new(
        attribute_file(bdf, "reset_method"),
        "not there, or empty",
    )];
    let mut remedies = vec![Remedy::safe(
        "for many devices that is harmless: their drivers set them up anew; what the last user has left in it, the \
         next one finds",
    )];
    /// More of them are counted.
    const MOST: usize = 16;
    let others: Vec<_> = with_it.iter().filter(|other| **other != bdf).collect();
    let more = others.len().saturating_sub(MOST);
    let others: Vec<_> = others.into_iter().take(MOST).collect();
    let cause = if others.is_empty() {
        format!("the kernel knows no way to reset {bdf}")
    } else {
        let names: Vec<_> = others.iter().map(ToString::to_string).collect();
        evidence.extend(others.iter().map(|other| {
            let group = host::device(kernel, **other).ok().and_then(|it| it.group);
            let group = group.map_or("no group".to_owned(), |id| format!("group {id}"));
            Evidence::new(attribute_file(**other, "iommu_group"), group)
        }));
        remedies.push(Remedy::disrupts(format!(
            "give all of them to the same program, and it can reset the bus: vfioctl bind {}",
            names.join(" ")
        )));
        format!(
            "{bdf} is reset only together with its bus, that is with {}{}",
            names.join(", "),
            match more {
                0 => String::new(),
                more => format!(", and {more} others"),
            }
        )
    };
    ENTRY.found(Weight::Limits, cause, evidence, remedies)
}
