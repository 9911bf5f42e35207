//! A sentence of the page, and how it is asked.

use vfio_sim::Machine;
use vfio_sim::machine::{BarKind, Device, Hardware, Platform, Sriov};

use super::host::Host;
use crate::engine::edu;

/// One thing that kernels answer.
#[derive(Debug)]
pub struct Clause {
    /// The behaviours that it belongs to, as the page names them.
    pub numbers: &'static [&'static str],
    /// What is so.
    pub says: &'static str,
    /// How it is asked.
    pub proof: Proof,
}

/// How a clause is asked.
#[derive(Debug)]
pub enum Proof {
    /// Of any kernel whose host has all of this, a real one and a simulated one alike.
    Both(&'static [Needs], fn(&Host)),
    /// Of a simulated kernel alone, for this reason.
    Simulated(&'static str, fn()),
}

/// What a host must have for a clause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// An IOMMU of type1.
    Type1,
    /// An IOMMU of sPAPR.
    Spapr,
    /// sPAPR under a hypervisor.
    Pseries,
    /// sPAPR without one.
    Powernv,
    /// Two groups that one container takes.
    TwoGroups,
    /// An IOMMU of type1 that does not remap interrupts.
    NoRemapping,
    /// A third group, which a clause may spoil.
    SpareGroup,
    /// sPAPR with windows of 2 MiB pages, and memory of such pages.
    HugePages,
    /// A device like that.
    Device(Trait),
    /// A bus on which an access that no device takes reads as something; on others it ends the kernel (H9).
    LenientBus,
    /// MSI-X that can grow while it is in use.
    DynamicMsix,
    /// MSI-X that cannot.
    StaticMsix,
    /// An interrupt controller that finds a line which was asserted before anybody listened: not all of QEMU's do.
    FindsAsserted,
    /// Fewer MSI than devices offer.
    ScarceMsi,
    /// Not the ITS of arm64, which keeps a message of MSI that nobody waits for, or loses it.
    NoIts,
    /// As many as they offer, whatever was asked for before: what an ITS of arm64 has for a device does not grow.
    PlentyMsi,
}

/// What a device can be like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trait {
    /// It does DMA when it is told to: QEMU's `edu`.
    Engine,
    /// It has a line for INTx.
    Line,
    /// It has MSI.
    Msi,
    /// It has MSI-X.
    Msix,
    /// It can be reset alone.
    FunctionReset,
    /// It cannot be reset alone.
    NoReset,
    /// It is behind a bridge that resets it.
    HotReset,
    /// It shares its group with another device.
    Shared,
    /// It is the only one of its group.
    Alone,
    /// It shares its group, and the kernel has a driver for it: QEMU's `pci-serial`.
    Serial,
    /// It shares its group with a port that the kernel drives.
    BesidePort,
    /// It is QEMU's `nvme`, which forgets its registers in a reset.
    Controller,
    /// The same, where the kernel puts it into D3, which it does with no device of powernv.
    Sleeper,
    /// The same, alone on a bus that is reset.
    ControllerOnBus,
    /// It is a physical function that has virtual ones.
    Physical,
    /// It is a virtual function of one that VFIO has.
    Virtual,
    /// It is a virtual function of one that the kernel has.
    VirtualOfKernel,
    /// It is on a bus that nothing resets.
    NoHotReset,
    /// It is reset with others, behind a bridge.
    ResetWithOthers,
    /// It can be reset alone by nothing but the reset of its bus.
    AloneOnBus,
    /// It is a PCI Express device.
    Express,
    /// It is not.
    Conventional,
    /// It has a BAR of ports that the host can reach.
    Ports,
    /// It has a ROM.
    Rom,
    /// It has a BAR of memory space that is smaller than a page, and has the page to itself.
    SmallBar,
    /// It has one that does not.
    SharedPage,
    /// It is a device.
    Any,
    /// It has a BAR of memory.
    Memory,
    /// It has a BAR that can be mapped.
    Mappable,
    /// It has a BAR of ports that the host cannot reach.
    HiddenPorts,
    /// It has no ROM.
    NoRom,
    /// It has power management.
    Power,
    /// It can be put to sleep by that.
    Sleeps,
    /// It can be put to sleep, and has a BAR that can be mapped.
    MappedPower,
    /// Its MSI-X table is in a BAR that can be mapped.
    MappedMsix,
    /// It offers several vectors of MSI.
    ManyMsi,
    /// It has a function level reset.
    FunctionLevelReset,
    /// It is a PCI Express device without one.
    NoFunctionLevelReset,
    /// It has no line.
    NoLine,
    /// It has no MSI.
    NoMsi,
    /// It has no MSI-X.
    NoMsix,
    /// It has a line and MSI-X.
    LineAndMsix,
    /// It has several MSI, and MSI-X.
    Messages,
    /// It is an NVMe controller.
    Nvme,
}

pub(super) const fn both(
    numbers: &'static [&'static str],
    says: &'static str,
    needs: &'static [Needs],
    ask: fn(&Host),
) -> Clause {
    let proof = Proof::Both(needs, ask);
    Clause {
        numbers,
        says,
        proof,
    }
}

pub(super) const fn simulated(
    numbers: &'static [&'static str],
    says: &'static str,
    why: &'static str,
    ask: fn(),
) -> Clause {
    let proof = Proof::Simulated(why, ask);
    Clause {
        numbers,
        says,
        proof,
    }
}

impl Clause {
    /// Whether the clause can be asked of a machine.
    pub(super) fn fits(&self, machine: &Machine) -> bool {
        match self.proof {
            Proof::Both(needs, _) => needs.iter().all(|needs| needs.met_by(machine)),
            Proof::Simulated(..) => true,
        }
    }
}

impl Needs {
    fn met_by(self, machine: &Machine) -> bool {
        let mut iommus = machine.iommus.iter().map(|iommu| &iommu.hardware);
        let platform = machine
            .iommus
            .iter()
            .find_map(|iommu| match &iommu.hardware {
                Hardware::Spapr(spapr) => Some(&spapr.platform),
                _ => None,
            });
        match self {
            Self::Type1 => iommus.any(|hardware| matches!(hardware, Hardware::Type1(_))),
            Self::NoRemapping => iommus
                .any(|hardware| matches!(hardware, Hardware::Type1(it) if !it.remaps_interrupts)),
            Self::Spapr => platform.is_some(),
            Self::Pseries => matches!(platform, Some(Platform::Pseries { .. })),
            Self::Powernv => matches!(platform, Some(Platform::Powernv)),
            Self::TwoGroups => machine.groups.len() >= 2,
            Self::SpareGroup => machine.groups.len() >= 3,
            // The processors of bare metal have no huge pages in QEMU.
            Self::HugePages => matches!(platform, Some(Platform::Pseries { .. })),
            Self::Device(like) => like.find(machine).is_some(),
            Self::LenientBus => machine.arch != "aarch64",
            Self::DynamicMsix => machine.can_grow_msix(),
            Self::StaticMsix => !machine.can_grow_msix(),
            Self::FindsAsserted => machine.arch == "aarch64",
            Self::ScarceMsi => machine.most_msi.is_some(),
            Self::NoIts => machine.arch != "aarch64",
            Self::PlentyMsi => machine.most_msi.is_none() && machine.arch != "aarch64",
        }
    }
}

impl Trait {
    /// The group and the device of a machine that are like this: the first of them.
    pub(super) fn find(self, machine: &Machine) -> Option<(u32, &Device)> {
        let devices = machine.groups.iter().flat_map(|group| {
            let shared = group.devices.len() > 1;
            let beside_port = group.devices.iter().any(is_port);
            group
                .devices
                .iter()
                .filter(|device| is_bound_to_vfio(device))
                .map(move |device| (group.id, (shared, beside_port), device))
        });
        let mut alike = devices.filter(|(_, (shared, beside_port), device)| match self {
            Self::Shared => *shared,
            Self::Alone => !*shared,
            Self::Serial => *shared && (device.vendor, device.device) == (0x1b36, 0x0002),
            Self::BesidePort => *beside_port,
            _ => self.is_of(device, machine),
        });
        alike.next().map(|(group, _, device)| (group, device))
    }

    fn is_of(self, device: &Device, machine: &Machine) -> bool {
        let mut bars = device.bars.iter().flatten().filter(|bar| bar.size > 0);
        let is_small = |n: usize| {
            let size = device.bars[n].map_or(0, |bar| bar.size);
            let is_ports = device.bars[n].is_some_and(|bar| bar.kind == BarKind::Io);
            size > 0 && size < machine.page_size as u64 && !is_ports
        };
        match self {
            Self::Engine => (device.vendor, device.device) == edu::IDS,
            Self::Line => device.interrupts.line,
            Self::Msi => device.interrupts.msi > 0,
            Self::ManyMsi => device.interrupts.msi > 1,
            Self::Msix => device.interrupts.msix.is_some(),
            Self::FunctionReset => device.function_reset,
            Self::NoReset => !machine.can_reset(device),
            Self::HotReset => device.reset_bus.is_some(),
            Self::Shared | Self::Alone | Self::Serial | Self::BesidePort => false,
            Self::Controller => {
                device.sriov == Sriov::None && (device.vendor, device.device) == (0x1b36, 0x0010)
            }
            Self::Sleeper => {
                Self::Controller.is_of(device, machine) && !Needs::Powernv.met_by(machine)
            }
            Self::ControllerOnBus => {
                Self::Controller.is_of(device, machine) && machine.on_reset_bus_of(device) == 1
            }
            Self::Physical => device.sriov == Sriov::Physical,
            Self::Virtual => physical(device, machine).is_some_and(is_bound_to_vfio),
            Self::VirtualOfKernel => {
                let is_virtual = matches!(device.sriov, Sriov::Virtual(_));
                is_virtual && !physical(device, machine).is_some_and(is_bound_to_vfio)
            }
            Self::NoHotReset => device.reset_bus.is_none(),
            Self::ResetWithOthers => machine.on_reset_bus_of(device) > 1,
            Self::AloneOnBus => !device.function_reset && machine.on_reset_bus_of(device) == 1,
            Self::Express => device.express,
            Self::Conventional => !device.express,
            Self::Ports => machine.io_space && bars.any(|bar| bar.kind == BarKind::Io),
            Self::HiddenPorts => !machine.io_space && bars.any(|bar| bar.kind == BarKind::Io),
            Self::Rom => device.rom > 0,
            Self::NoRom => device.rom == 0,
            Self::SmallBar => (0..6).any(|n| is_small(n) && machine.is_mappable(device, n)),
            Self::SharedPage => (0..6).any(|n| is_small(n) && !machine.is_mappable(device, n)),
            Self::Any => true,
            Self::Memory => bars.any(|bar| matches!(bar.kind, BarKind::Memory { .. })),
            Self::Mappable => (0..6).any(|n| machine.is_mappable(device, n)),
            Self::Power => device.power_management,
            Self::Sleeps => device.power_management && machine.lets_devices_sleep(),
            Self::MappedPower => {
                Self::Sleeps.is_of(device, machine) && Self::Mappable.is_of(device, machine)
            }
            Self::MappedMsix => {
                let msix = device.interrupts.msix;
                msix.is_some_and(|msix| machine.is_mappable(device, msix.bar.into()))
            }
            Self::FunctionLevelReset => device.has_function_level_reset(),
            Self::NoFunctionLevelReset => device.express && !device.has_function_level_reset(),
            Self::NoLine => !device.interrupts.line,
            Self::NoMsi => device.interrupts.msi == 0,
            Self::NoMsix => device.interrupts.msix.is_none(),
            Self::LineAndMsix => device.interrupts.line && device.interrupts.msix.is_some(),
            Self::Nvme => device.class == 0x01_0802,
            Self::Messages => device.interrupts.msi > 1 && device.interrupts.msix.is_some(),
        }
    }
}

fn is_bound_to_vfio(device: &Device) -> bool {
    device.driver.as_deref() == Some("vfio-pci")
}

fn is_port(device: &Device) -> bool {
    device.driver.as_deref() == Some("pcieport")
}

/// The physical function of a virtual one.
fn physical<'a>(device: &Device, machine: &'a Machine) -> Option<&'a Device> {
    let Sriov::Virtual(physical) = &device.sriov else {
        return None;
    };
    let mut devices = machine.groups.iter().flat_map(|group| &group.devices);
    devices.find(|it| it.bdf == *physical)
}
