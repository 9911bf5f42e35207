//! The machines of the project's lab, each with an `edu` and an `nvme` bound to `vfio-pci`; and two that are only
//! simulated.

use super::iommu::{Hardware, Platform, Spapr, Type1};
use super::{Device, Group, IommuDriver, Machine};

/// Where windows above 4 GiB start on every POWER machine.
const HIGH: u64 = 1 << 59;

impl Machine {
    /// Every machine that there is a description of, by name.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().into_iter().find(|machine| machine.name == name)
    }

    /// Every machine that there is a description of.
    pub fn all() -> [Self; 6] {
        [
            Self::x86_64(),
            Self::aarch64(),
            Self::pseries(),
            Self::powernv9(),
            Self::powernv8(),
            Self::noiommu(),
        ]
    }

    /// QEMU's `q35` with `intel-iommu`: type1 of both versions, a group for each device.
    pub fn x86_64() -> Self {
        Self {
            name: "x86_64".into(),
            arch: "x86_64".into(),
            page_size: 4096,
            dynamic_msix: true,
            iommus: vec![type1(vec![
                (0, 0xfedf_ffff),
                (0xfef0_0000, 0xffff_ffff_ffff),
            ])],
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
            iommus: vec![type1(vec![(0, 0x7ff_ffff), (0x810_0000, 0xffff_ffff_ffff)])],
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
            iommus: vec![IommuDriver::new(Hardware::Spapr(Spapr {
                platform: Platform::Pseries {
                    largest_window: 1 << 40,
                },
                default_window: (0, 0x4000_0000),
                page_sizes: 0x121_1000,
                windows: 2,
                levels: 1,
                high_start: HIGH,
                eeh: false,
            }))],
            groups: vec![Group::new(
                0,
                [
                    Device::big_endian_edu("0000:00:00.0"),
                    Device::nvme("0000:00:01.0"),
                ],
            )],
            ..power()
        }
    }

    /// A POWER9 host: sPAPR of both versions and EEH, a group for each device.
    pub fn powernv9() -> Self {
        Self {
            name: "powernv9".into(),
            iommus: vec![powernv(0x4021_1000)],
            ..bare_metal_power()
        }
    }

    /// A POWER8 host; the lab has none.
    pub fn powernv8() -> Self {
        Self {
            name: "powernv8".into(),
            iommus: vec![powernv(0x1101_1000)],
            ..bare_metal_power()
        }
    }

    /// A host without an IOMMU, whose administrator allows devices to be assigned all the same; the lab has none.
    pub fn noiommu() -> Self {
        Self {
            name: "noiommu".into(),
            arch: "x86_64".into(),
            page_size: 4096,
            dynamic_msix: true,
            iommus: vec![IommuDriver::new(Hardware::None)],
            groups: vec![
                Group::new(0, [Device::edu("0000:00:04.0")]).without_iommu(),
                Group::new(1, [Device::nvme("0000:00:05.0")]).without_iommu(),
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
        dynamic_msix: false,
        io_space: true,
        container_node: Ok(()),
        iommus: Vec::new(),
        groups: Vec::new(),
        ungrouped: Vec::new(),
    }
}

fn power() -> Machine {
    Machine {
        arch: "ppc64le".into(),
        page_size: 65536,
        ..bare()
    }
}

fn bare_metal_power() -> Machine {
    Machine {
        io_space: false,
        groups: vec![
            Group::new(0, [Device::big_endian_edu("0000:01:00.0")]),
            Group::new(1, [Device::nvme("0001:01:00.0")]),
        ],
        ..power()
    }
}

fn type1(ranges: Vec<(u64, u64)>) -> IommuDriver {
    IommuDriver::new(Hardware::Type1(Type1 {
        page_sizes: 0x4020_1000,
        ranges,
        entry_limit: 65535,
        remaps_interrupts: true,
    }))
}

fn powernv(page_sizes: u64) -> IommuDriver {
    IommuDriver::new(Hardware::Spapr(Spapr {
        platform: Platform::Powernv,
        default_window: (0, 0x8000_0000),
        page_sizes,
        windows: 2,
        levels: 5,
        high_start: HIGH,
        eeh: true,
    }))
}
