//! Type1: the IOMMU interface of x86 and arm64.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{InfoCapHeader, vfio};
use crate::address::{Access, HostRange, IovaRange};
use crate::call::argsz;
use crate::kernel::Opcode;

/// Extension and IOMMU type number of type1.
pub const TYPE1_IOMMU: u32 = 1;
/// Extension and IOMMU type number of type1 version 2.
pub const TYPE1V2_IOMMU: u32 = 3;
/// Extension: DMA is coherent with the processor's caches, whatever the device says.
pub const DMA_CC_IOMMU: u32 = 4;
/// Extension and IOMMU type number of nested translation.
pub const TYPE1_NESTING_IOMMU: u32 = 6;
/// Extension and IOMMU type number of no IOMMU at all.
pub const NOIOMMU_IOMMU: u32 = 8;
/// Extension: [`DMA_UNMAP_FLAG_ALL`] is known.
pub const UNMAP_ALL: u32 = 9;
/// Extension: [`DMA_UNMAP_FLAG_VADDR`] and [`DMA_MAP_FLAG_VADDR`] are known.
pub const UPDATE_VADDR: u32 = 10;

/// Fills in an [`IommuType1Info`] with its capabilities behind it.
pub const IOMMU_GET_INFO: Opcode = vfio(12);
/// Maps memory for the device: a [`DmaMap`]. sPAPR has the same number and struct.
pub const IOMMU_MAP_DMA: Opcode = vfio(13);
/// Takes mappings away: a [`DmaUnmap`]. sPAPR has the same number and struct.
pub const IOMMU_UNMAP_DMA: Opcode = vfio(14);
/// Starts and stops to track dirty pages, and tells them: an [`IommuType1DirtyBitmap`], behind it, to tell them, an
/// [`IommuType1DirtyBitmapGet`].
pub const IOMMU_DIRTY_PAGES: Opcode = vfio(17);

/// `iova_pgsizes` is valid ([`IommuType1Info::flags`]).
pub const IOMMU_INFO_PGSIZES: u32 = 0x1;
/// There are capabilities ([`IommuType1Info::flags`]).
pub const IOMMU_INFO_CAPS: u32 = 0x2;

/// Id of [`IommuType1CapIovaRange`].
pub const IOMMU_TYPE1_INFO_CAP_IOVA_RANGE: u16 = 1;
/// Id of [`IommuType1CapMigration`].
pub const IOMMU_TYPE1_INFO_CAP_MIGRATION: u16 = 2;
/// Id of [`IommuType1DmaAvail`].
pub const IOMMU_TYPE1_INFO_DMA_AVAIL: u16 = 3;

/// The device may read ([`DmaMap::flags`]).
pub const DMA_MAP_FLAG_READ: u32 = 0x1;
/// The device may write ([`DmaMap::flags`]).
pub const DMA_MAP_FLAG_WRITE: u32 = 0x2;
/// Gives a mapping whose address was forgotten a new one ([`DmaMap::flags`]).
pub const DMA_MAP_FLAG_VADDR: u32 = 0x4;

/// Answers which pages are dirty ([`DmaUnmap::flags`]).
pub const DMA_UNMAP_FLAG_GET_DIRTY_BITMAP: u32 = 0x1;
/// Takes every mapping away ([`DmaUnmap::flags`]).
pub const DMA_UNMAP_FLAG_ALL: u32 = 0x2;
/// Forgets the addresses of mappings, which stay ([`DmaUnmap::flags`]).
pub const DMA_UNMAP_FLAG_VADDR: u32 = 0x4;

/// Starts to track dirty pages ([`IommuType1DirtyBitmap::flags`]).
pub const IOMMU_DIRTY_PAGES_FLAG_START: u32 = 0x1;
/// Stops to track them ([`IommuType1DirtyBitmap::flags`]).
pub const IOMMU_DIRTY_PAGES_FLAG_STOP: u32 = 0x2;
/// Tells them ([`IommuType1DirtyBitmap::flags`]).
pub const IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP: u32 = 0x4;

/// `struct vfio_iommu_type1_info`
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct IommuType1Info {
    /// Size of the buffer in bytes, set by the caller; the kernel answers what it would need.
    pub argsz: u32,
    /// [`IOMMU_INFO_PGSIZES`], [`IOMMU_INFO_CAPS`].
    pub flags: u32,
    /// One bit for each page size, in bytes, that the IOMMU can map.
    pub iova_pgsizes: u64,
    /// Where the first capability starts, 0 if the buffer is too small.
    pub cap_offset: u32,
    /// Padding.
    pub pad: u32,
}

/// `struct vfio_iommu_type1_info_cap_iova_range`, without the ranges behind it
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct IommuType1CapIovaRange {
    /// Its id is [`IOMMU_TYPE1_INFO_CAP_IOVA_RANGE`].
    pub header: InfoCapHeader,
    /// How many [`IovaRangeEntry`]s follow.
    pub nr_iovas: u32,
    /// Reserved.
    pub reserved: u32,
}

/// `struct vfio_iova_range`
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct IovaRangeEntry {
    /// First address.
    pub start: u64,
    /// Last address, included.
    pub end: u64,
}

/// `struct vfio_iommu_type1_info_cap_migration`
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct IommuType1CapMigration {
    /// Its id is [`IOMMU_TYPE1_INFO_CAP_MIGRATION`].
    pub header: InfoCapHeader,
    /// None is defined.
    pub flags: u32,
    /// Padding.
    pub pad: u32,
    /// One bit for each page size, in bytes, that dirty pages can be asked for with.
    pub pgsize_bitmap: u64,
    /// The largest bitmap of dirty pages, in bytes.
    pub max_dirty_bitmap_size: u64,
}

/// `struct vfio_iommu_type1_info_dma_avail`
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct IommuType1DmaAvail {
    /// Its id is [`IOMMU_TYPE1_INFO_DMA_AVAIL`].
    pub header: InfoCapHeader,
    /// How many mappings can still be made.
    pub avail: u32,
}

/// `struct vfio_iommu_type1_dma_map`
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DmaMap {
    /// Size of this struct in bytes, set by the caller.
    pub argsz: u32,
    /// [`DMA_MAP_FLAG_READ`], [`DMA_MAP_FLAG_WRITE`], [`DMA_MAP_FLAG_VADDR`].
    pub flags: u32,
    /// Address of the memory in the calling process.
    pub vaddr: u64,
    /// Address that the device uses.
    pub iova: u64,
    /// Size in bytes.
    pub size: u64,
}

/// `struct vfio_iommu_type1_dma_unmap`
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DmaUnmap {
    /// Size of this struct in bytes, set by the caller.
    pub argsz: u32,
    /// [`DMA_UNMAP_FLAG_ALL`] and those beside it.
    pub flags: u32,
    /// First address.
    pub iova: u64,
    /// Size in bytes; type1 answers how much it unmapped, sPAPR leaves it alone.
    pub size: u64,
}

/// `struct vfio_iommu_type1_dirty_bitmap`, without what is behind it
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct IommuType1DirtyBitmap {
    /// Size of this struct and of what is behind it in bytes, set by the caller.
    pub argsz: u32,
    /// One of [`IOMMU_DIRTY_PAGES_FLAG_START`], [`IOMMU_DIRTY_PAGES_FLAG_STOP`],
    /// [`IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP`].
    pub flags: u32,
}

/// `struct vfio_iommu_type1_dirty_bitmap_get`
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct IommuType1DirtyBitmapGet {
    /// First address.
    pub iova: u64,
    /// Size of the range in bytes.
    pub size: u64,
    /// Where the kernel writes which pages of the range are dirty.
    pub bitmap: Bitmap,
}

/// `struct vfio_bitmap`
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Bitmap {
    /// Size of a page in bytes.
    pub pgsize: u64,
    /// Size of the bitmap in bytes.
    pub size: u64,
    /// Address of the bitmap in the calling process: words of 64 bits, a bit for each page.
    pub data: u64,
}

impl DmaMap {
    /// Lets a device reach `memory` at `iova`, which is of the same size.
    pub fn new(iova: IovaRange, memory: HostRange, access: Access) -> Self {
        Self {
            argsz: argsz::<Self>(),
            flags: match access {
                Access::Read => DMA_MAP_FLAG_READ,
                Access::Write => DMA_MAP_FLAG_WRITE,
                Access::ReadWrite => DMA_MAP_FLAG_READ | DMA_MAP_FLAG_WRITE,
            },
            vaddr: memory.addr() as u64,
            iova: iova.first().0,
            size: iova.size(),
        }
    }
}

impl DmaUnmap {
    /// Takes `iova` away.
    pub fn new(iova: IovaRange) -> Self {
        Self {
            argsz: argsz::<Self>(),
            flags: 0,
            iova: iova.first().0,
            size: iova.size(),
        }
    }
}
