//! The machines of the project's lab, each with an `edu` and an `nvme` bound to `vfio-pci`.

use vfio_core::kernel::Errno;
use vfio_core::uapi::{SPAPR_TCE_IOMMU, SPAPR_TCE_V2_IOMMU, TYPE1_IOMMU, TYPE1V2_IOMMU};

use super::{Device, Extension, Group, IommuDriver, Machine};

const TYPE1_NESTING_IOMMU: u32 = 6;
const UNMAP_ALL: u32 = 9;
const EEH: u32 = 5;

impl Machine {
    /// QEMU's `q35` with `intel-iommu`: type1 of both versions, a group for each device.
    pub fn x86_64() -> Self {
        Self {
            name: "x86_64".into(),
            arch: "x86_64".into(),
            page_size: 4096,
            iommus: vec![type1()],
            groups: vec![
                Group::new(2, [Device::edu("0000:00:04.0")]),
                Group::new(3, [Device::nvme("0000:00:05.0")]),
            ],
            ..bare()
        }
    }

    /// QEMU's `virt` with an SMMUv3: type1 of both versions, a group for each device.
    pub fn aarch64() -> Self {
        Self {
            name: "aarch64".into(),
            arch: "aarch64".into(),
            page_size: 4096,
            iommus: vec![type1()],
            groups: vec![
                Group::new(0, [Device::edu("0000:00:01.0")]),
                Group::new(1, [Device::nvme("0000:00:02.0")]),
            ],
            ..bare()
        }
    }

    /// A POWER guest: sPAPR of both versions, one group for all devices of the host bridge.
    pub fn pseries() -> Self {
        Self {
            name: "pseries".into(),
            arch: "ppc64le".into(),
            page_size: 65536,
            iommus: vec![spapr([])],
            groups: vec![Group::new(
                0,
                [Device::edu("0000:00:00.0"), Device::nvme("0000:00:01.0")],
            )],
            ..bare()
        }
    }

    /// A POWER9 host: sPAPR of both versions and EEH, a group for each device.
    pub fn powernv9() -> Self {
        Self {
            name: "powernv9".into(),
            arch: "ppc64le".into(),
            page_size: 65536,
            iommus: vec![spapr([no_type(EEH)])],
            groups: vec![
                Group::new(0, [Device::edu("0000:01:00.0")]),
                Group::new(1, [Device::nvme("0001:01:00.0")]),
            ],
            ..bare()
        }
    }
}

/// What the machines have in common.
fn bare() -> Machine {
    Machine {
        name: String::new(),
        arch: String::new(),
        release: "6.12.95".into(),
        page_size: 0,
        container_node: Ok(()),
        iommus: Vec::new(),
        groups: Vec::new(),
        ungrouped: Vec::new(),
    }
}

/// B18. Nesting is advertised on 6.12 although no group can be attached with it.
fn type1() -> IommuDriver {
    IommuDriver {
        extensions: vec![
            iommu_type(TYPE1_IOMMU),
            iommu_type(TYPE1V2_IOMMU),
            no_type(TYPE1_NESTING_IOMMU),
            no_type(UNMAP_ALL),
        ],
    }
}

/// C36
fn spapr<const N: usize>(more: [Extension; N]) -> IommuDriver {
    let mut extensions = vec![iommu_type(SPAPR_TCE_IOMMU), iommu_type(SPAPR_TCE_V2_IOMMU)];
    extensions.extend(more);
    IommuDriver { extensions }
}

fn iommu_type(number: u32) -> Extension {
    Extension {
        number,
        set_iommu: Ok(()),
    }
}

/// An extension that cannot be set as a type.
fn no_type(number: u32) -> Extension {
    Extension {
        number,
        set_iommu: Err(Errno::INVAL),
    }
}
