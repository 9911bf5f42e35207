//! What there is: regions and interrupts (F74 to F76, F80).

use vfio_core::kernel::{Arg, Errno, Result};
use vfio_core::uapi::{self, DeviceInfo, IrqInfo, RegionInfo};

use crate::arg;
use crate::caps::{Caps, header};
use crate::machine::Bar;

use super::{REGION_SHIFT, State};

/// Regions that every PCI device has a number for.
pub(super) const REGIONS: u32 = 9;
/// Interrupt indexes that every PCI device has a number for.
pub(super) const IRQS: u32 = 5;

const REGION_ROOM: usize = size_of::<RegionInfo>();

/// What a caller must give room for: everything before `cap_offset`.
const INFO_LEAST: usize = std::mem::offset_of!(DeviceInfo, cap_offset);

impl State {
    /// F74
    pub(super) fn info(&self, arg: &mut Arg<'_>) -> Result<()> {
        let mut info: DeviceInfo = arg::sized_from(arg, INFO_LEAST)?;
        info.flags = uapi::DEVICE_FLAGS_PCI;
        if self.can_reset {
            info.flags |= uapi::DEVICE_FLAGS_RESET;
        }
        info.num_regions = REGIONS;
        info.num_irqs = IRQS;
        (info.cap_offset, info.pad) = (0, 0);
        let room = info.argsz as usize;
        arg::write(arg, &info, room)
    }

    /// F75
    pub(super) fn region_info(&self, arg: &mut Arg<'_>) -> Result<()> {
        let mut info: RegionInfo = arg::sized(arg)?;
        (info.size, info.flags) = self.region(info.index)?;
        info.offset = u64::from(info.index) << REGION_SHIFT;

        let mut caps = Caps::default();
        let has_table = |msix: crate::machine::Msix| u32::from(msix.bar) == info.index;
        let is_mapped = info.flags & uapi::REGION_FLAG_MMAP != 0;
        if is_mapped && self.description.interrupts.msix.is_some_and(has_table) {
            caps.add(&header(uapi::REGION_INFO_CAP_MSIX_MAPPABLE), &[]);
        }
        if !caps.is_empty() {
            info.flags |= uapi::REGION_FLAG_CAPS;
            let needed = REGION_ROOM + caps.len();
            if (info.argsz as usize) < needed {
                info.argsz = u32::try_from(needed).unwrap_or(u32::MAX);
                info.cap_offset = 0;
            } else {
                caps.write(arg, REGION_ROOM)?;
                info.cap_offset = u32::try_from(REGION_ROOM).unwrap_or(0);
            }
        }
        arg::write(arg, &info, REGION_ROOM)
    }

    /// Size and flags of a region.
    pub(super) fn region(&self, index: u32) -> Result<(u64, u32)> {
        let both = uapi::REGION_FLAG_READ | uapi::REGION_FLAG_WRITE;
        match index {
            0..6 => Ok(match self.bar(index) {
                None => (0, 0),
                Some(Bar { size, .. }) if self.maps(index) => (size, both | uapi::REGION_FLAG_MMAP),
                Some(Bar { size, .. }) => (size, both),
            }),
            uapi::PCI_ROM_REGION_INDEX => Ok(match self.description.rom {
                0 => (0, 0),
                size => (size, uapi::REGION_FLAG_READ),
            }),
            uapi::PCI_CONFIG_REGION_INDEX => Ok((self.config.len() as u64, both)),
            _ => Err(Errno::INVAL),
        }
    }

    /// Whether a BAR can be mapped (F76).
    pub(super) fn maps(&self, index: u32) -> bool {
        let index = usize::try_from(index).ok();
        index.is_some_and(|index| self.is_mappable.get(index) == Some(&true))
    }

    pub(super) fn bar(&self, index: u32) -> Option<Bar> {
        let bar = self.description.bar(usize::try_from(index).ok()?);
        bar.filter(|bar| self.config.has_io_space() || bar.is_memory_space())
    }

    /// F80
    pub(super) fn irq_info(&self, arg: &mut Arg<'_>) -> Result<()> {
        let mut info: IrqInfo = arg::sized(arg)?;
        if info.index >= IRQS || info.index == uapi::PCI_ERR_IRQ_INDEX && !self.description.express
        {
            return Err(Errno::INVAL);
        }
        info.count = self.irq_count(info.index);
        info.flags = uapi::IRQ_INFO_EVENTFD;
        info.flags |= match info.index {
            uapi::PCI_INTX_IRQ_INDEX => uapi::IRQ_INFO_MASKABLE | uapi::IRQ_INFO_AUTOMASKED,
            uapi::PCI_MSIX_IRQ_INDEX if info.count > 0 && self.irqs.is_dynamic() => 0,
            _ => uapi::IRQ_INFO_NORESIZE,
        };
        arg::write(arg, &info, size_of::<IrqInfo>())
    }

    pub(super) fn irq_count(&self, index: u32) -> u32 {
        let interrupts = self.description.interrupts;
        match index {
            uapi::PCI_INTX_IRQ_INDEX => u32::from(interrupts.line),
            uapi::PCI_MSI_IRQ_INDEX => interrupts.msi,
            uapi::PCI_MSIX_IRQ_INDEX => interrupts.msix.map_or(0, |msix| msix.vectors),
            uapi::PCI_ERR_IRQ_INDEX => u32::from(self.description.express),
            uapi::PCI_REQ_IRQ_INDEX => 1,
            _ => 0,
        }
    }
}
