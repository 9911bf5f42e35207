//! What IOMMUs a machine has.

use vfio_core::kernel::Errno;
use vfio_core::uapi;

use super::Profile;

/// A driver that VFIO has for one kind of IOMMU.
#[derive(Debug, Clone)]
pub struct IommuDriver {
    /// Which kind, and what the hardware can do.
    pub hardware: Hardware,
    /// The types that `VFIO_SET_IOMMU` refuses although they are advertised, and with what.
    pub refuses: Vec<(u32, Errno)>,
}

/// A kind of IOMMU.
#[derive(Debug, Clone)]
pub enum Hardware {
    /// Type1: maps any range.
    Type1(Type1),
    /// sPAPR TCE: maps inside windows.
    Spapr(Spapr),
    /// None: a device's addresses are those of memory. Groups without an IOMMU use it and nothing else.
    None,
}

/// What a type1 IOMMU can do.
#[derive(Debug, Clone)]
pub struct Type1 {
    /// One bit for each page size, in bytes.
    pub page_sizes: u64,
    /// The addresses that can be mapped: first and last.
    pub ranges: Vec<(u64, u64)>,
    /// How many mappings a container can have (`vfio_iommu_type1.dma_entry_limit`).
    pub entry_limit: u32,
    /// Whether interrupts are remapped; without that, groups are refused (B19).
    pub remaps_interrupts: bool,
    /// Unless that is allowed all the same (`vfio_iommu_type1.allow_unsafe_interrupts`).
    pub allows_unsafe_interrupts: bool,
    /// Whether the IOMMU can let devices write what they cannot read (B21). Linux before 6.16 asks for it nowhere.
    pub has_write_only: bool,
}

/// What an sPAPR IOMMU can do.
#[derive(Debug, Clone)]
pub struct Spapr {
    /// Who makes the windows.
    pub platform: Platform,
    /// Where the default window is: start and size.
    pub default_window: (u32, u32),
    /// One bit for each page size, in bytes, that a window can have.
    pub page_sizes: u64,
    /// How many windows there can be at once.
    pub windows: u32,
    /// How many levels a table can have.
    pub levels: u32,
    /// Where windows above 4 GiB start.
    pub high_start: u64,
    /// Whether errors are isolated: without that, no operation finds a unit (D58).
    pub eeh: bool,
    /// Whether the hardware stops what has made an error, as real hardware does (DMA to where nothing is mapped, errors that
    /// are injected), and what is reset. QEMU's machines never do.
    pub freezes: bool,
}

/// Who makes the windows of an sPAPR IOMMU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Platform {
    /// A hypervisor, which has room for so many bytes in one window.
    Pseries {
        /// The largest window, in bytes.
        largest_window: u64,
    },
    /// The kernel itself.
    Powernv,
}

impl IommuDriver {
    /// A driver that refuses nothing that it advertises.
    pub fn new(hardware: Hardware) -> Self {
        Self {
            hardware,
            refuses: Vec::new(),
        }
    }

    /// What `VFIO_CHECK_EXTENSION` answers, of a container that has this driver or of one without any.
    pub(crate) fn has_extension(&self, profile: &Profile, number: usize, chosen: bool) -> bool {
        let Ok(number) = u32::try_from(number) else {
            return false;
        };
        match &self.hardware {
            // B18
            Hardware::Type1(_) => match number {
                uapi::TYPE1_IOMMU | uapi::TYPE1V2_IOMMU | uapi::UNMAP_ALL => true,
                uapi::TYPE1_NESTING_IOMMU => profile.advertises_nesting(),
                uapi::UPDATE_VADDR => chosen,
                _ => false,
            },
            // C36
            Hardware::Spapr(hardware) => match number {
                uapi::SPAPR_TCE_IOMMU | uapi::SPAPR_TCE_V2_IOMMU => true,
                uapi::EEH => hardware.eeh,
                _ => false,
            },
            Hardware::None => number == uapi::NOIOMMU_IOMMU,
        }
    }

    /// Whether this driver serves groups without an IOMMU, and nobody else (A3).
    pub(crate) fn is_for_no_iommu(&self) -> bool {
        matches!(self.hardware, Hardware::None)
    }

    /// Whether `VFIO_SET_IOMMU` takes a type; `None` if this driver does not know it.
    pub(crate) fn set_iommu(&self, profile: &Profile, number: usize) -> Option<Result<(), Errno>> {
        if !self.has_extension(profile, number, false) {
            return None;
        }
        let refusal = |(refused, _): &&(u32, Errno)| usize::try_from(*refused) == Ok(number);
        if let Some((_, errno)) = self.refuses.iter().find(refusal) {
            return Some(Err(*errno));
        }
        let types: &[u32] = match self.hardware {
            Hardware::Type1(_) => &[uapi::TYPE1_IOMMU, uapi::TYPE1V2_IOMMU],
            Hardware::Spapr(_) => &[uapi::SPAPR_TCE_IOMMU, uapi::SPAPR_TCE_V2_IOMMU],
            Hardware::None => &[uapi::NOIOMMU_IOMMU],
        };
        let is_type = types.iter().any(|&it| usize::try_from(it) == Ok(number));
        Some(is_type.then_some(()).ok_or(Errno::INVAL))
    }
}
