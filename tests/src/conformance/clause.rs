//! A sentence of the page, and how it is asked.

use vfio_sim::Machine;
use vfio_sim::machine::{BarKind, Device, Hardware, Platform};

use super::host::Host;
use crate::engine;

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
    /// A device like that.
    Device(Trait),
    /// A bus on which an access that no device takes reads as something; on others it ends the kernel (H9).
    LenientBus,
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
    /// It cannot be reset in any way.
    NoReset,
    /// It is behind a bridge that resets it.
    HotReset,
    /// It shares its group with another device.
    Shared,
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
            Self::Spapr => platform.is_some(),
            Self::Pseries => matches!(platform, Some(Platform::Pseries { .. })),
            Self::Powernv => matches!(platform, Some(Platform::Powernv)),
            Self::TwoGroups => machine.groups.len() >= 2,
            Self::Device(like) => like.find(machine).is_some(),
            Self::LenientBus => machine.arch != "aarch64",
        }
    }
}

impl Trait {
    /// The group and the device of a machine that are like this: the first of them.
    pub(super) fn find(self, machine: &Machine) -> Option<(u32, &Device)> {
        let devices = machine.groups.iter().flat_map(|group| {
            let shared = group.devices.len() > 1;
            group
                .devices
                .iter()
                .map(move |device| (group.id, shared, device))
        });
        let mut alike = devices.filter(|(_, shared, device)| match self {
            Self::Shared => *shared,
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
            Self::Engine => engine::is_engine((device.vendor, device.device)),
            Self::Line => device.interrupts.line,
            Self::Msi => device.interrupts.msi > 0,
            Self::ManyMsi => device.interrupts.msi > 1,
            Self::Msix => device.interrupts.msix.is_some(),
            Self::FunctionReset => machine.can_reset(device),
            Self::NoReset => !machine.can_reset(device) && device.reset_bus.is_none(),
            Self::HotReset => device.reset_bus.is_some(),
            Self::Shared => false,
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
        }
    }
}
