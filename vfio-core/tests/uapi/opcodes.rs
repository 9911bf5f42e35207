//! Opcodes, with the numbers that are known.

use vfio_core::kernel::Opcode;
use vfio_core::uapi;

/// Name in the kernel's header, our opcode, and which call of VFIO's it is.
pub(crate) const OPCODES: &[(&str, Opcode, u8)] = &[
    ("VFIO_GET_API_VERSION", uapi::GET_API_VERSION, 0),
    ("VFIO_CHECK_EXTENSION", uapi::CHECK_EXTENSION, 1),
    ("VFIO_SET_IOMMU", uapi::SET_IOMMU, 2),
    ("VFIO_GROUP_GET_STATUS", uapi::GROUP_GET_STATUS, 3),
    ("VFIO_GROUP_SET_CONTAINER", uapi::GROUP_SET_CONTAINER, 4),
    ("VFIO_GROUP_UNSET_CONTAINER", uapi::GROUP_UNSET_CONTAINER, 5),
    ("VFIO_GROUP_GET_DEVICE_FD", uapi::GROUP_GET_DEVICE_FD, 6),
    ("VFIO_DEVICE_GET_INFO", uapi::DEVICE_GET_INFO, 7),
    (
        "VFIO_DEVICE_GET_REGION_INFO",
        uapi::DEVICE_GET_REGION_INFO,
        8,
    ),
    ("VFIO_DEVICE_GET_IRQ_INFO", uapi::DEVICE_GET_IRQ_INFO, 9),
    ("VFIO_DEVICE_SET_IRQS", uapi::DEVICE_SET_IRQS, 10),
    ("VFIO_DEVICE_RESET", uapi::DEVICE_RESET, 11),
    (
        "VFIO_DEVICE_GET_PCI_HOT_RESET_INFO",
        uapi::DEVICE_GET_PCI_HOT_RESET_INFO,
        12,
    ),
    ("VFIO_DEVICE_PCI_HOT_RESET", uapi::DEVICE_PCI_HOT_RESET, 13),
    ("VFIO_DEVICE_IOEVENTFD", uapi::DEVICE_IOEVENTFD, 16),
    ("VFIO_DEVICE_FEATURE", uapi::DEVICE_FEATURE, 17),
    ("VFIO_IOMMU_GET_INFO", uapi::IOMMU_GET_INFO, 12),
    (
        "VFIO_IOMMU_SPAPR_TCE_GET_INFO",
        uapi::SPAPR_TCE_GET_INFO,
        12,
    ),
    ("VFIO_IOMMU_MAP_DMA", uapi::IOMMU_MAP_DMA, 13),
    ("VFIO_IOMMU_UNMAP_DMA", uapi::IOMMU_UNMAP_DMA, 14),
    ("VFIO_IOMMU_DIRTY_PAGES", uapi::IOMMU_DIRTY_PAGES, 17),
    ("VFIO_IOMMU_ENABLE", uapi::SPAPR_ENABLE, 15),
    ("VFIO_IOMMU_DISABLE", uapi::SPAPR_DISABLE, 16),
    (
        "VFIO_IOMMU_SPAPR_REGISTER_MEMORY",
        uapi::SPAPR_REGISTER_MEMORY,
        17,
    ),
    (
        "VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY",
        uapi::SPAPR_UNREGISTER_MEMORY,
        18,
    ),
    ("VFIO_IOMMU_SPAPR_TCE_CREATE", uapi::SPAPR_TCE_CREATE, 19),
    ("VFIO_IOMMU_SPAPR_TCE_REMOVE", uapi::SPAPR_TCE_REMOVE, 20),
    ("VFIO_EEH_PE_OP", uapi::EEH_PE_OP, 21),
];

/// The first number of VFIO's on an architecture, as Rust's `target_arch` names that.
pub(crate) fn first(arch: &str) -> u32 {
    match arch {
        "powerpc64" => 0x2000_3b64,
        _ => 0x3b64,
    }
}

#[test]
fn opcodes_are_those_of_this_architecture() {
    for &(name, opcode, number) in OPCODES {
        let known = first(std::env::consts::ARCH) + u32::from(number);
        assert_eq!(u64::from(opcode), u64::from(known), "{name}");
    }
}
