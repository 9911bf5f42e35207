//! VFIO-14: addresses that the IOMMU cannot map.

use crate::address::Size;
use crate::error::{Error, ErrorKind};
use crate::host::{self, reserved_file};
use crate::kernel::{Errno, Kernel};

use super::{Diagnosis, Entry, Evidence, Examination, Patient, Remedy, Weight};

/// Below this, guests have holes for devices, and what is reserved there is in one of them.
const DEVICES_OF_A_GUEST: u64 = 1 << 32;

pub(super) const ENTRY: Entry = Entry {
    code: "VFIO-14",
    name: "iova-too-wide",
    of_error: diagnose,
    examine,
};

fn diagnose(error: &Error, kernel: &dyn Kernel) -> Option<Diagnosis> {
    let refused = error.operation() == "VFIO_IOMMU_MAP_DMA" && error.errno() == Some(Errno::INVAL);
    if error.kind() != ErrorKind::OutOfReach && !refused {
        return None;
    }
    let range = error.iova()?;
    let bits = host::vtd_address_bits(kernel)
        .map(|(file, bits)| Evidence::new(file, format!("{bits} bits")));
    Some(finding(
        format!(
            "the IOMMU cannot map {range}: it is outside what it has addresses for, or reserved"
        ),
        bits.into_iter().collect(),
    ))
}

fn examine(patient: &Patient<'_>, examination: &mut Examination) {
    let kernel = patient.kernel;
    let Some(memory) = patient.guest_memory else {
        return;
    };
    // Above the hole for devices as much is added as the hole takes.
    let end = memory.saturating_add(DEVICES_OF_A_GUEST >> 2);
    let mut evidence = Vec::new();
    if let Some((file, bits)) = host::vtd_address_bits(kernel) {
        if bits < u64::BITS && end > 1 << bits {
            evidence.push(Evidence::new(
                file,
                format!("{bits} bits of address: {} at most", Size(1 << bits)),
            ));
        }
    }
    if let Some((_, group)) = patient.grouped() {
        let regions = host::reserved_regions(kernel, group.id).unwrap_or_default();
        let in_the_way = regions.iter().filter(|region| {
            region.kind == "reserved" && (DEVICES_OF_A_GUEST..end).contains(&region.first)
        });
        evidence.extend(in_the_way.map(|region| {
            let found = format!("{:#x}-{:#x} reserved", region.first, region.last);
            Evidence::new(reserved_file(group.id), found)
        }));
    }
    if !evidence.is_empty() {
        let cause = format!(
            "a guest of {} has addresses that the IOMMU cannot map",
            Size(memory)
        );
        examination.findings.push(finding(cause, evidence));
    }
}

fn finding(cause: String, evidence: Vec<Evidence>) -> Diagnosis {
    ENTRY.found(
        Weight::Blocks,
        cause,
        evidence,
        vec![
            Remedy::safe("give the guest less memory, or lay it out around what is reserved"),
            Remedy::safe("`vfioctl probe --verify` says which addresses can be mapped"),
            Remedy::disrupts(
                "in a virtual machine: a virtual IOMMU with more bits (QEMU: intel-iommu,aw-bits=48)",
            ),
        ],
    )
}
