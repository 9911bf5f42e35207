//! A sentence of the page, and how it is asked.

use vfio_sim::Machine;
use vfio_sim::machine::{Device, Hardware, Platform};

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
    /// MSI-X that can grow while it is in use.
    DynamicMsix,
    /// MSI-X that cannot.
    StaticMsix,
    /// An interrupt controller that finds a line which was asserted before anybody listened: not all of QEMU's do.
    FindsAsserted,
    /// Fewer MSI than devices offer.
    ScarceMsi,
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
    /// It has a BAR of memory space that is smaller than a page.
    SmallBar,
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
            Self::Spapr => platform.is_some(),
            Self::Pseries => matches!(platform, Some(Platform::Pseries { .. })),
            Self::Powernv => matches!(platform, Some(Platform::Powernv)),
            Self::TwoGroups => machine.groups.len() >= 2,
            Self::Device(like) => like.find(machine).is_some(),
            Self::DynamicMsix => machine.dynamic_msix,
            Self::StaticMsix => !machine.dynamic_msix,
            Self::FindsAsserted => machine.arch == "aarch64",
            Self::ScarceMsi => machine.most_msi.is_some(),
            Self::PlentyMsi => machine.most_msi.is_none() && machine.arch != "aarch64",
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
        match self {
            Self::Engine => engine::is_engine((device.vendor, device.device)),
            Self::Line => device.interrupts.line,
            Self::Msi => device.interrupts.msi > 0,
            Self::Msix => device.interrupts.msix.is_some(),
            Self::FunctionReset => device.function_reset,
            Self::NoReset => !device.function_reset && device.reset_bus.is_none(),
            Self::HotReset => device.reset_bus.is_some(),
            Self::Shared => false,
            Self::Express => device.express,
            Self::Conventional => !device.express,
            Self::Ports => {
                machine.io_space && bars.any(|bar| bar.kind == vfio_sim::machine::BarKind::Io)
            }
            Self::Rom => device.rom > 0,
            Self::SmallBar => bars.any(|bar| {
                bar.kind != vfio_sim::machine::BarKind::Io && bar.size < machine.page_size as u64
            }),
            Self::NoLine => !device.interrupts.line,
            Self::NoMsi => device.interrupts.msi == 0,
            Self::NoMsix => device.interrupts.msix.is_none(),
            Self::LineAndMsix => device.interrupts.line && device.interrupts.msix.is_some(),
            Self::Nvme => device.class == 0x01_0802,
            Self::Messages => device.interrupts.msi > 1 && device.interrupts.msix.is_some(),
        }
    }
}
