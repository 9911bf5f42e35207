//! The machines of the project's lab, each with an `edu` and an `nvme` bound to `vfio-pci`; and two that are only
//! simulated.

use vfio_core::kernel::Errno;
use vfio_core::uapi;

use super::iommu::{Hardware, Platform, Spapr, Type1};
use super::{Device, Group, IommuDriver, Machine, MakeModel};
use crate::model::Nvme;

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
            iommus: vec![type1(
                true,
                vec![(0, 0xfedf_ffff), (0xfef0_0000, 0xffff_ffff_ffff)],
            )],
            groups: vec![
                Group::new(2, [by_bios(edu("0000:00:04.0", 0xfea0_0000, 10))]),
                Group::new(3, [by_bios(nvme("0000:00:05.0", 0xfeb0_0000, 10))]),
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
            dynamic_msix: true,
            iommus: vec![type1(
                false,
                vec![(0, 0x7ff_ffff), (0x810_0000, 0xffff_ffff_ffff)],
            )],
            groups: vec![
                Group::new(0, [edu("0000:00:01.0", 0x1000_0000, 23)]),
                Group::new(1, [older(nvme("0000:00:02.0", 0x80_0000_0000, 18))]),
            ],
            ..bare()
        }
        .refuse(uapi::TYPE1_NESTING_IOMMU, Errno::PERM) // B18b
    }

    /// A POWER guest: sPAPR of both versions, one group for all devices of the host bridge.
    pub fn pseries() -> Self {
        Self {
            name: "pseries".into(),
            most_msi: Some(1),
            iommus: vec![IommuDriver::new(Hardware::Spapr(Spapr {
                platform: Platform::Pseries {
                    largest_window: 1 << 41,
                },
                default_window: (0, 0x4000_0000),
                page_sizes: 0x121_1000,
                windows: 2,
                levels: 1,
                high_start: HIGH,
                eeh: false,
                freezes: false,
            }))],
            groups: vec![Group::new(
                0,
                [
                    firmware(Device::big_endian_edu("0000:00:00.0"), 0x8000_0000, 0),
                    apart(nvme("0000:00:01.0", 0x2100_0000_0000, 0)),
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

fn edu(bdf: &str, address: u64, line: u8) -> Device {
    firmware(Device::edu(bdf), address, line)
}

fn nvme(bdf: &str, address: u64, line: u8) -> Device {
    firmware(Device::nvme(bdf), address, line)
}

/// What firmware chose: where the first BAR is, and which interrupt line it has.
fn firmware(device: Device, address: u64, line: u8) -> Device {
    const WIDE: u32 = 1 << 2;
    let wide = device.bars[0].is_some_and(super::Bar::is_wide);
    let low = u32::try_from(address & 0xffff_ffff).unwrap_or(0);
    let high = u32::try_from(address >> 32).unwrap_or(0);
    let low = if wide { low | WIDE } else { low };
    device.with_config([(0x10, low), (0x14, high), (0x3c, 0x100 | u32::from(line))])
}

/// A PC's firmware enables both spaces, and the reporting of system errors.
fn by_bios(device: Device) -> Device {
    device.with_config([(0x04, 0x0010_0103)])
}

/// In a port of its own, which firmware has set up: the bus behind it can be reset, and system errors are reported.
fn behind_port(device: Device, bus: u32) -> Device {
    device.on_reset_bus(bus).with_config([(0x04, 0x0010_0102)])
}

/// The `nvme` of QEMU 7.
fn older(device: Device) -> Device {
    let device = device.with_config([(0x84, 0x1000_8000)]);
    Device {
        model: MakeModel(|| Box::new(Nvme::new("simulated").for_administrators())),
        ..device
    }
}

/// The same, not a part of the root complex.
fn apart(device: Device) -> Device {
    older(device).with_config([(0x80, 0x0002_6010)])
}

/// What the machines have in common.
fn bare() -> Machine {
    Machine {
        name: String::new(),
        arch: String::new(),
        release: "6.12.95".into(),
        page_size: 0,
        dynamic_msix: false,
        most_msi: None,
        io_space: true,
        container_node: Ok(()),
        iommus: Vec::new(),
        groups: Vec::new(),
        ungrouped: Vec::new(),
        kvm: false,
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
            Group::new(
                0,
                [behind_port(
                    firmware(Device::big_endian_edu("0000:01:00.0"), 0x8000_0000, 0),
                    0,
                )],
            ),
            Group::new(
                1,
                [behind_port(apart(nvme("0001:01:00.0", 0x8000_0000, 0)), 1)],
            ),
        ],
        ..power()
    }
}

fn type1(has_write_only: bool, ranges: Vec<(u64, u64)>) -> IommuDriver {
    IommuDriver::new(Hardware::Type1(Type1 {
        page_sizes: 0x4020_1000,
        ranges,
        entry_limit: 65535,
        remaps_interrupts: true,
        allows_unsafe_interrupts: false,
        has_write_only,
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
        freezes: false,
    }))
}
