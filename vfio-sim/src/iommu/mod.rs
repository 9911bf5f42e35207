//! IOMMU contexts: what a container holds once its IOMMU is set.

mod spapr;
mod type1;

use std::collections::BTreeSet;
use std::ops::Range;

use vfio_core::kernel::{Arg, Errno, Opcode, Result};
use vfio_core::uapi;

use crate::machine::{Hardware, Profile};
use crate::memory::HugePages;
use crate::names::Kind;
use crate::process::{ProcessId, Processes};

use spapr::Spapr;
pub(crate) use spapr::{Access, AccessKind, Instead, Registered, Units, is_registered};
use type1::Type1;

/// What a call on a context can use of the rest of the kernel.
#[derive(Debug)]
pub(crate) struct Env<'a> {
    /// Who calls.
    pub(crate) caller: ProcessId,
    pub(crate) processes: &'a mut Processes,
    pub(crate) profile: Profile,
    /// Those in the container.
    pub(crate) groups: &'a [u32],
    /// Those for which the firmware has refused a window.
    pub(crate) refused: &'a mut BTreeSet<u32>,
    /// The isolation units of all groups.
    pub(crate) units: &'a mut Units,
    /// The size of a page of the simulated host, in bytes.
    pub(crate) host_page: u64,
    /// Where BARs are mapped in this process: memory that is not accounted.
    pub(crate) bars: &'a [Range<u64>],
    pub(crate) huge_pages: &'a HugePages,
    pub(crate) hazards: &'a mut Vec<Hazard>,
}

/// Something was asked that a real kernel does not survive, or does wrong without saying so. The names are those of
/// the page of kernel behaviours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hazard {
    /// Unmapped past the end of a window, on a kernel that does not look.
    H1,
    /// Mapped past the end of a window.
    H2,
    /// Unregistered memory that is mapped.
    H3,
    /// Registered nothing.
    H4,
    /// Created a window with a page shift of 64 or more, or one whose table was accounted and then not made.
    H5,
    /// Removed a window by an address that is not its start.
    H6,
    /// Mapped the last address of all, on a kernel that cannot unmap it.
    H8,
    /// Had an eventfd write a register at an offset that is negative.
    H10,
    /// Took a group from a VM without ever having asked to attach it to a TCE table.
    H11,
    /// Closed a device while its isolation unit was in a reset.
    H12,
}

/// An IOMMU context.
#[derive(Debug, Clone)]
pub(crate) enum Iommu {
    Type1(Type1),
    Spapr(Box<Spapr>),
    /// Translates nothing.
    None,
}

/// Where an address leads: so many bytes of memory from there on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Translation {
    pub(crate) vaddr: u64,
    pub(crate) len: u64,
}

/// A window, of those that a context has had.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct WindowId {
    number: u64,
    /// The size of its pages in bytes.
    page: u64,
}

/// Where a guest's entry leads: an address in the process, and the rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) vaddr: u64,
    pub(crate) read: bool,
    pub(crate) write: bool,
}

/// A mapping: the device's addresses, the memory, the rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mapping {
    /// First address for the device.
    pub iova: u64,
    /// First address in the process.
    pub vaddr: u64,
    /// Size in bytes.
    pub size: u64,
    /// The device may read.
    pub read: bool,
    /// The device may write.
    pub write: bool,
}

impl Iommu {
    /// A context of a type that the driver takes, for the first group.
    pub(crate) fn new(hardware: &Hardware, iommu: usize) -> Result<Self> {
        let is = |number| usize::try_from(number) == Ok(iommu);
        match hardware {
            Hardware::Type1(hardware) => {
                Type1::new(hardware, is(uapi::TYPE1V2_IOMMU)).map(Self::Type1)
            }
            Hardware::Spapr(hardware) => {
                let context = Spapr::new(hardware, is(uapi::SPAPR_TCE_V2_IOMMU))?;
                Ok(Self::Spapr(Box::new(context)))
            }
            Hardware::None => Ok(Self::None),
        }
    }

    /// What its calls are named after.
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Type1(_) | Self::None => Kind::Type1,
            Self::Spapr(_) => Kind::Spapr,
        }
    }

    /// Another group joins (A9).
    pub(crate) fn attach(&mut self) -> Result<()> {
        match self {
            Self::Type1(context) => context.attach(),
            Self::Spapr(context) => context.attach(),
            Self::None => Ok(()),
        }
    }

    /// A group has left, and others stay.
    pub(crate) fn detach(&mut self, profile: Profile, processes: &mut Processes) {
        if let Self::Spapr(context) = self {
            context.detach(profile, processes);
        }
    }

    /// The last group has left: everything goes (A7, B35, C48).
    pub(crate) fn release(&mut self, processes: &mut Processes) {
        match self {
            Self::Type1(context) => context.release(processes),
            Self::Spapr(context) => context.release(processes),
            Self::None => {}
        }
    }

    pub(crate) fn ioctl(
        &mut self,
        env: &mut Env<'_>,
        opcode: Opcode,
        arg: &mut Arg<'_>,
    ) -> Result<u32> {
        match self {
            Self::Type1(context) => context.ioctl(env, opcode, arg),
            Self::Spapr(context) => context.ioctl(env, opcode, arg),
            Self::None => Err(Errno::NOTTY), // A6
        }
    }

    /// The window that a TCE table of KVM's can be attached to: start, size, and the base 2 logarithm of its pages.
    pub(crate) fn window(&self, start: u64, size: u64, shift: u32) -> Option<WindowId> {
        match self {
            Self::Spapr(context) => context.window_for_kvm(start, size, shift),
            Self::Type1(_) | Self::None => None,
        }
    }

    /// Whether a window is there still.
    pub(crate) fn has_window(&self, id: WindowId) -> bool {
        match self {
            Self::Spapr(context) => context.has_window(id),
            Self::Type1(_) | Self::None => false,
        }
    }

    /// Fills, or clears, one page of a table's.
    pub(crate) fn put_for_kvm(
        &mut self,
        id: WindowId,
        ioba: u64,
        page: u64,
        target: Option<Target>,
        owner: ProcessId,
        processes: &mut Processes,
    ) {
        if let Self::Spapr(context) = self {
            context.put_for_kvm(id, ioba, page, target, owner, processes);
        }
    }

    /// What a device reaches at an address.
    pub(crate) fn translate(&self, iova: u64, write: bool) -> Option<Translation> {
        match self {
            Self::Type1(context) => context.translate(iova, write),
            Self::Spapr(context) => context.translate(iova, write),
            Self::None => None,
        }
    }

    /// Everything that devices reach, the lowest address first.
    pub(crate) fn mappings(&self) -> Vec<Mapping> {
        match self {
            Self::Type1(context) => context.mappings(),
            Self::Spapr(context) => context.mappings(),
            Self::None => Vec::new(),
        }
    }

    /// The memory that is registered, and the windows that were made: each by address and size.
    pub(crate) fn holdings(&self) -> Holdings {
        match self {
            Self::Spapr(context) => context.holdings(),
            Self::Type1(_) | Self::None => Holdings::default(),
        }
    }
}

/// What an sPAPR context holds beside mappings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holdings {
    /// The memory that is registered: address in the process, and size.
    pub registered: Vec<(u64, u64)>,
    /// The windows that were made: start and size.
    pub windows: Vec<(u64, u64)>,
}
