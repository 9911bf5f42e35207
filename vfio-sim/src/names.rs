//! What VFIO's ioctls are called, for people who read a log.

use vfio_core::kernel::Opcode;
use vfio_core::kvm::uapi as kvm;
use vfio_core::uapi;

/// What an fd is asked as: the same number means another call on another kind of object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// A container that has no IOMMU yet.
    Container,
    /// A container that was given type1, or another IOMMU that is not sPAPR.
    Type1,
    /// A container that was given sPAPR TCE, version 1 or 2.
    Spapr,
    /// A group.
    Group,
    /// A device.
    Device,
    /// An eventfd.
    Eventfd,
    /// Another node.
    Other,
}

/// VFIO's ioctls by their numbers: `_IO(';', 100 + number)`.
type Table = &'static [(u8, &'static str)];

const CONTAINER: Table = &[
    (0, "VFIO_GET_API_VERSION"),
    (1, "VFIO_CHECK_EXTENSION"),
    (2, "VFIO_SET_IOMMU"),
    (13, "VFIO_IOMMU_MAP_DMA"),
    (14, "VFIO_IOMMU_UNMAP_DMA"),
];

const TYPE1: Table = &[
    (12, "VFIO_IOMMU_GET_INFO"),
    (15, "VFIO_IOMMU_ENABLE"),
    (16, "VFIO_IOMMU_DISABLE"),
    (17, "VFIO_IOMMU_DIRTY_PAGES"),
];

const SPAPR: Table = &[
    (12, "VFIO_IOMMU_SPAPR_TCE_GET_INFO"),
    (15, "VFIO_IOMMU_ENABLE"),
    (16, "VFIO_IOMMU_DISABLE"),
    (17, "VFIO_IOMMU_SPAPR_REGISTER_MEMORY"),
    (18, "VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY"),
    (19, "VFIO_IOMMU_SPAPR_TCE_CREATE"),
    (20, "VFIO_IOMMU_SPAPR_TCE_REMOVE"),
    (21, "VFIO_EEH_PE_OP"),
];

const GROUP: Table = &[
    (3, "VFIO_GROUP_GET_STATUS"),
    (4, "VFIO_GROUP_SET_CONTAINER"),
    (5, "VFIO_GROUP_UNSET_CONTAINER"),
    (6, "VFIO_GROUP_GET_DEVICE_FD"),
];

const DEVICE: Table = &[
    (7, "VFIO_DEVICE_GET_INFO"),
    (8, "VFIO_DEVICE_GET_REGION_INFO"),
    (9, "VFIO_DEVICE_GET_IRQ_INFO"),
    (10, "VFIO_DEVICE_SET_IRQS"),
    (11, "VFIO_DEVICE_RESET"),
    (12, "VFIO_DEVICE_GET_PCI_HOT_RESET_INFO"),
    (13, "VFIO_DEVICE_PCI_HOT_RESET"),
    (14, "VFIO_DEVICE_QUERY_GFX_PLANE"),
    (15, "VFIO_DEVICE_GET_GFX_DMABUF"),
    (16, "VFIO_DEVICE_IOEVENTFD"),
    (17, "VFIO_DEVICE_FEATURE"),
    (18, "VFIO_DEVICE_BIND_IOMMUFD"),
    (19, "VFIO_DEVICE_ATTACH_IOMMUFD_PT"),
    (20, "VFIO_DEVICE_DETACH_IOMMUFD_PT"),
];

/// Those of KVM's that have to do with VFIO. No number of VFIO's is among them.
const KVM: &[(Opcode, &str)] = &[
    (kvm::CREATE_VM, "KVM_CREATE_VM"),
    (kvm::CHECK_EXTENSION, "KVM_CHECK_EXTENSION"),
    (kvm::SET_USER_MEMORY_REGION, "KVM_SET_USER_MEMORY_REGION"),
    (kvm::CREATE_SPAPR_TCE_64, "KVM_CREATE_SPAPR_TCE_64"),
    (kvm::CREATE_DEVICE, "KVM_CREATE_DEVICE"),
    (kvm::SET_DEVICE_ATTR, "KVM_SET_DEVICE_ATTR"),
    (kvm::HAS_DEVICE_ATTR, "KVM_HAS_DEVICE_ATTR"),
];

/// The name of an ioctl, by what it is asked of; `None` if VFIO has no such call there, and KVM has none that has to do
/// with it.
///
/// Of a container without an IOMMU, and of an fd whose kind is not known, a number that several interfaces share is
/// called what type1 calls it, else what sPAPR does. A container that is asked what groups are asked is said to be:
/// no call of its own has those numbers.
pub fn ioctl(opcode: Opcode, of: Option<Kind>) -> Option<&'static str> {
    let tables: &[Table] = match of {
        Some(Kind::Container) => &[CONTAINER, TYPE1, SPAPR, GROUP],
        Some(Kind::Type1) => &[CONTAINER, TYPE1, GROUP],
        Some(Kind::Spapr) => &[CONTAINER, SPAPR, GROUP],
        Some(Kind::Group) => &[GROUP],
        Some(Kind::Device) => &[DEVICE],
        Some(Kind::Eventfd | Kind::Other) => &[],
        None => &[CONTAINER, TYPE1, SPAPR, GROUP, DEVICE],
    };
    let mut calls = tables.iter().copied().flatten();
    let of_vfio = calls.find(|(number, _)| uapi::vfio(*number) == opcode);
    if let Some((_, name)) = of_vfio {
        return Some(name);
    }
    let may_be_kvms = matches!(of, None | Some(Kind::Other));
    let mut calls = KVM.iter().filter(|_| may_be_kvms);
    let (_, name) = calls.find(|(number, _)| *number == opcode)?;
    Some(name)
}

/// An ioctl as the [table of errnos](crate::wrap::errnos) names it: of calls that both kinds of IOMMU have, it says
/// which is asked.
pub(crate) fn in_table(opcode: Opcode, of: Kind) -> Option<String> {
    let name = ioctl(opcode, Some(of))?;
    let is_of_both = matches!(opcode, uapi::IOMMU_MAP_DMA | uapi::IOMMU_UNMAP_DMA);
    Some(match of {
        Kind::Spapr if is_of_both => format!("{name} (sPAPR)"),
        Kind::Container | Kind::Type1 if is_of_both => format!("{name} (type1)"),
        _ => name.to_owned(),
    })
}

/// The ioctl of VFIO that has that name.
pub(crate) fn opcode(name: &str) -> Option<Opcode> {
    let tables = [CONTAINER, TYPE1, SPAPR, GROUP, DEVICE];
    let mut calls = tables.into_iter().flatten();
    let (number, _) = calls.find(|(_, called)| *called == name)?;
    Some(uapi::vfio(*number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_called_what_it_means_there() {
        let name = |number, of| ioctl(uapi::vfio(number), of);
        for (of, expected) in [
            (None, Some("VFIO_IOMMU_GET_INFO")),
            (Some(Kind::Container), Some("VFIO_IOMMU_GET_INFO")),
            (Some(Kind::Type1), Some("VFIO_IOMMU_GET_INFO")),
            (Some(Kind::Spapr), Some("VFIO_IOMMU_SPAPR_TCE_GET_INFO")),
            (
                Some(Kind::Device),
                Some("VFIO_DEVICE_GET_PCI_HOT_RESET_INFO"),
            ),
            (Some(Kind::Group), None),
        ] {
            assert_eq!(name(12, of), expected, "{of:?}");
        }
        assert_eq!(name(15, Some(Kind::Container)), Some("VFIO_IOMMU_ENABLE"));
        assert_eq!(
            name(19, Some(Kind::Container)),
            Some("VFIO_IOMMU_SPAPR_TCE_CREATE")
        );
        assert_eq!(ioctl(0x1234, None), None);
    }

    #[test]
    fn the_table_tells_calls_of_both_iommus_apart() {
        for (of, expected) in [
            (Kind::Type1, "VFIO_IOMMU_MAP_DMA (type1)"),
            (Kind::Spapr, "VFIO_IOMMU_MAP_DMA (sPAPR)"),
            (Kind::Device, "VFIO_DEVICE_PCI_HOT_RESET"),
        ] {
            assert_eq!(in_table(uapi::vfio(13), of).as_deref(), Some(expected));
        }
    }

    #[test]
    fn the_numbers_are_those_of_the_interface() {
        for (opcode, of, expected) in [
            (
                uapi::GROUP_GET_DEVICE_FD,
                Kind::Group,
                "VFIO_GROUP_GET_DEVICE_FD",
            ),
            (uapi::DEVICE_RESET, Kind::Device, "VFIO_DEVICE_RESET"),
            (
                uapi::DEVICE_IOEVENTFD,
                Kind::Device,
                "VFIO_DEVICE_IOEVENTFD",
            ),
            (uapi::DEVICE_FEATURE, Kind::Device, "VFIO_DEVICE_FEATURE"),
            (uapi::IOMMU_MAP_DMA, Kind::Spapr, "VFIO_IOMMU_MAP_DMA"),
            (uapi::SPAPR_ENABLE, Kind::Spapr, "VFIO_IOMMU_ENABLE"),
            (uapi::SPAPR_DISABLE, Kind::Spapr, "VFIO_IOMMU_DISABLE"),
            (
                uapi::SPAPR_TCE_REMOVE,
                Kind::Spapr,
                "VFIO_IOMMU_SPAPR_TCE_REMOVE",
            ),
            (uapi::IOMMU_UNMAP_DMA, Kind::Type1, "VFIO_IOMMU_UNMAP_DMA"),
        ] {
            assert_eq!(ioctl(opcode, Some(of)), Some(expected));
        }
    }
}
