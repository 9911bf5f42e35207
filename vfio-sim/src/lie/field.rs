//! The numbers that calls take.

use std::fmt;
use std::mem::offset_of;

use vfio_core::kernel::Arg;
use vfio_core::uapi::{
    DeviceIoEventFd, DmaMap, DmaUnmap, IrqInfo, IrqSet, PciHotReset, RegionInfo,
    SpaprRegisterMemory, SpaprTceCreate, SpaprTceRemove,
};

use crate::arg;

/// A number in the struct of a call, or the offset of a read or write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// What it is called there.
    pub name: &'static str,
    at: usize,
    size: usize,
}

/// The numbers of a call.
pub(super) struct Fields {
    pub(super) call: &'static str,
    pub(super) fields: &'static [Field],
}

const fn field(name: &'static str, at: usize, size: usize) -> Field {
    Field { name, at, size }
}

const ARGSZ: Field = field("argsz", 0, 4);

/// What calls have numbers that decide, and which.
pub(super) const FIELDS: &[Fields] = &[
    of("VFIO_GROUP_GET_STATUS", &[ARGSZ]),
    of("VFIO_IOMMU_GET_INFO", &[ARGSZ]),
    of("VFIO_IOMMU_MAP_DMA (type1)", MAP),
    of("VFIO_IOMMU_MAP_DMA (sPAPR)", MAP),
    of("VFIO_IOMMU_UNMAP_DMA (type1)", UNMAP),
    of("VFIO_IOMMU_UNMAP_DMA (sPAPR)", UNMAP),
    of("VFIO_IOMMU_SPAPR_TCE_GET_INFO", &[ARGSZ]),
    of("VFIO_IOMMU_SPAPR_REGISTER_MEMORY", MEMORY),
    of("VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY", MEMORY),
    of(
        "VFIO_IOMMU_SPAPR_TCE_CREATE",
        &[
            ARGSZ,
            field("page_shift", offset_of!(SpaprTceCreate, page_shift), 4),
            field("window_size", offset_of!(SpaprTceCreate, window_size), 8),
            field("levels", offset_of!(SpaprTceCreate, levels), 4),
        ],
    ),
    of(
        "VFIO_IOMMU_SPAPR_TCE_REMOVE",
        &[
            ARGSZ,
            field("start_addr", offset_of!(SpaprTceRemove, start_addr), 8),
        ],
    ),
    of("VFIO_DEVICE_GET_INFO", &[ARGSZ]),
    of(
        "VFIO_DEVICE_GET_REGION_INFO",
        &[ARGSZ, field("index", offset_of!(RegionInfo, index), 4)],
    ),
    of(
        "VFIO_DEVICE_GET_IRQ_INFO",
        &[ARGSZ, field("index", offset_of!(IrqInfo, index), 4)],
    ),
    of(
        "VFIO_DEVICE_SET_IRQS",
        &[
            ARGSZ,
            field("index", offset_of!(IrqSet, index), 4),
            field("start", offset_of!(IrqSet, start), 4),
            field("count", offset_of!(IrqSet, count), 4),
        ],
    ),
    of("VFIO_DEVICE_GET_PCI_HOT_RESET_INFO", &[ARGSZ]),
    of(
        "VFIO_DEVICE_PCI_HOT_RESET",
        &[ARGSZ, field("count", offset_of!(PciHotReset, count), 4)],
    ),
    of("VFIO_DEVICE_FEATURE", &[ARGSZ]),
    of(
        "VFIO_DEVICE_IOEVENTFD",
        &[
            ARGSZ,
            field("offset", offset_of!(DeviceIoEventFd, offset), 8),
        ],
    ),
    of("pread", &[OFFSET]),
    of("pwrite", &[OFFSET]),
];

/// Not in a struct.
const OFFSET: Field = field("the offset", usize::MAX, 8);

const MAP: &[Field] = &[
    ARGSZ,
    field("vaddr", offset_of!(DmaMap, vaddr), 8),
    field("iova", offset_of!(DmaMap, iova), 8),
    field("size", offset_of!(DmaMap, size), 8),
];

const UNMAP: &[Field] = &[
    ARGSZ,
    field("iova", offset_of!(DmaUnmap, iova), 8),
    field("size", offset_of!(DmaUnmap, size), 8),
];

const MEMORY: &[Field] = &[
    ARGSZ,
    field("vaddr", offset_of!(SpaprRegisterMemory, vaddr), 8),
    field("size", offset_of!(SpaprRegisterMemory, size), 8),
];

const fn of(call: &'static str, fields: &'static [Field]) -> Fields {
    Fields { call, fields }
}

impl Field {
    /// By how much it can be wrong: by one; an address or a size also by a page of 4 or 64 KiB.
    pub(super) fn steps(self) -> &'static [i64] {
        match self.size {
            8 if self != OFFSET => &[1, -1, 4 << 10, -(4 << 10), 64 << 10, -(64 << 10)],
            _ => &[1, -1],
        }
    }

    /// The bytes of a call, with another number; `None` if it is not there.
    pub(crate) fn bend(self, arg: &Arg<'_>, by: i64) -> Option<Vec<u8>> {
        let mut bytes = arg::bytes(arg).ok()?.to_vec();
        let number = self.number(&bytes)?.wrapping_add_signed(by);
        self.set(&mut bytes, number)?;
        Some(bytes)
    }

    /// Gives back what a bent call has written: the number as it was, unless it was written over.
    pub(crate) fn straighten(self, bent: &[u8], by: i64, mut written: Vec<u8>) -> Vec<u8> {
        if let (Some(was), Some(is)) = (self.number(bent), self.number(&written)) {
            if was == is {
                let _ = self.set(&mut written, is.wrapping_add_signed(-by));
            }
        }
        written
    }

    fn number(self, bytes: &[u8]) -> Option<u64> {
        let mut whole = [0; 8];
        let place = bytes.get(self.at..self.at.checked_add(self.size)?)?;
        whole[..self.size].copy_from_slice(place);
        Some(u64::from_le_bytes(whole))
    }

    fn set(self, bytes: &mut [u8], number: u64) -> Option<()> {
        let place = bytes.get_mut(self.at..self.at.checked_add(self.size)?)?;
        place.copy_from_slice(&number.to_le_bytes()[..self.size]);
        Some(())
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
