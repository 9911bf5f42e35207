//! The ioctls of type1.
#![allow(unsafe_code)] // Each call with the struct that belongs to it.

use vfio_core::address::{Access, HostRange, IovaRange};
use vfio_core::call::argsz;
use vfio_core::kernel::Arg;
use vfio_core::uapi::{
    self, Bitmap, DmaMap, DmaUnmap, IommuType1DirtyBitmap, IommuType1DirtyBitmapGet, IommuType1Info,
};
use vfio_core::{Answer, Container, Error, ErrorKind, Result};
use zerocopy::{FromBytes, Immutable, IntoBytes};

pub(crate) const CONTEXT: &str = "the type1 context";

/// The info struct with its capabilities behind it. The kernel says how much room it wants.
pub(crate) fn get_info(container: &Container) -> Result<Vec<u8>> {
    const OPERATION: &str = "VFIO_IOMMU_GET_INFO";
    const ENOUGH_FOR_MOST: usize = 1024;
    const MORE_THAN_ANY: usize = 1 << 20;

    let mut size = ENOUGH_FOR_MOST;
    loop {
        let mut bytes = vec![0; size];
        let header = IommuType1Info {
            argsz: u32::try_from(size).unwrap_or(u32::MAX),
            ..Default::default()
        };
        header
            .write_to_prefix(&mut bytes)
            .map_err(|_| unreadable())?;
        // SAFETY: the call writes at most `argsz` bytes, which is what there is; it carries no address.
        unsafe { container.call(uapi::IOMMU_GET_INFO, Arg::InOut(&mut bytes)) }
            .map_err(|answer| Error::kernel(OPERATION, CONTEXT, answer))?;
        let (info, _) = IommuType1Info::read_from_prefix(&bytes).map_err(|_| unreadable())?;
        let wanted = info.argsz as usize;
        if wanted <= size {
            return Ok(bytes);
        }
        if wanted > MORE_THAN_ANY {
            return Err(Error::new(ErrorKind::Kernel, OPERATION, CONTEXT)
                .because(format!("the kernel wants {wanted} bytes for its answer")));
        }
        size = wanted;
    }
}

fn unreadable() -> Error {
    Error::new(
        ErrorKind::Kernel,
        "read the answer of VFIO_IOMMU_GET_INFO for",
        CONTEXT,
    )
}

/// # Safety
/// That of [`IommuBackend::map`](vfio_core::iommu::IommuBackend::map).
pub(crate) unsafe fn map(
    container: &Container,
    iova: IovaRange,
    memory: HostRange,
    access: Access,
) -> Result<()> {
    // SAFETY: our caller's promise.
    unsafe { map_dma(container, iova, memory, DmaMap::new(iova, memory, access)) }
}

/// Gives a mapping whose address was forgotten a new one.
///
/// # Safety
/// That of [`LiveUpdate::renew`](vfio_core::iommu::LiveUpdate::renew).
pub(crate) unsafe fn renew(
    container: &Container,
    iova: IovaRange,
    memory: HostRange,
) -> Result<()> {
    let request = DmaMap {
        flags: uapi::DMA_MAP_FLAG_VADDR, // and no rights: those stay as they are
        ..DmaMap::new(iova, memory, Access::Read)
    };
    // SAFETY: our caller's promise.
    unsafe { map_dma(container, iova, memory, request) }
}

/// # Safety
/// What the request maps is as its callers promise.
#[inline(always)] // into the usual way to map
unsafe fn map_dma(
    container: &Container,
    iova: IovaRange,
    memory: HostRange,
    request: DmaMap,
) -> Result<()> {
    // SAFETY: the call reads this struct; what it maps is our caller's promise.
    let answer = unsafe { container.call(uapi::IOMMU_MAP_DMA, Arg::In(request.as_bytes())) };
    answer.map_err(|answer| not_mapped(iova, memory, answer))
}

#[cold]
fn not_mapped(iova: IovaRange, memory: HostRange, answer: Answer) -> Error {
    let error = Error::kernel("VFIO_IOMMU_MAP_DMA", CONTEXT, answer);
    error.at(iova).of_memory(memory)
}

/// Answers how many bytes the kernel unmapped.
pub(crate) fn unmap(container: &Container, iova: IovaRange) -> Result<u64> {
    unmap_dma(container, iova, 0)
}

/// Answers of how many bytes the kernel has forgotten the address.
pub(crate) fn forget(container: &Container, iova: IovaRange) -> Result<u64> {
    unmap_dma(container, iova, uapi::DMA_UNMAP_FLAG_VADDR)
}

#[inline(always)] // into the usual way to unmap
fn unmap_dma(container: &Container, iova: IovaRange, flags: u32) -> Result<u64> {
    let mut request = DmaUnmap {
        flags,
        ..DmaUnmap::new(iova)
    };
    // SAFETY: the call reads and writes this struct, and takes access away from devices.
    let answer =
        unsafe { container.call(uapi::IOMMU_UNMAP_DMA, Arg::InOut(request.as_mut_bytes())) };
    answer.map_err(|answer| not_unmapped(iova, answer))?;
    Ok(request.size)
}

#[cold]
fn not_unmapped(iova: IovaRange, answer: Answer) -> Error {
    Error::kernel("VFIO_IOMMU_UNMAP_DMA", CONTEXT, answer).at(iova)
}

const DIRTY_PAGES: &str = "VFIO_IOMMU_DIRTY_PAGES";

/// Starts or stops to track dirty pages.
pub(crate) fn dirty_pages(container: &Container, flags: u32) -> Result<()> {
    let request = IommuType1DirtyBitmap {
        argsz: argsz::<IommuType1DirtyBitmap>(),
        flags,
    };
    // SAFETY: the call reads this struct, which carries no address: it is not the call that tells them.
    unsafe { container.call(uapi::IOMMU_DIRTY_PAGES, Arg::In(request.as_bytes())) }
        .map_err(|answer| Error::kernel(DIRTY_PAGES, CONTEXT, answer))
}

/// Has the kernel write which pages of the range are dirty.
pub(crate) fn dirty_bitmap(
    container: &Container,
    iova: IovaRange,
    page_size: u64,
    words: &mut [u64],
) -> Result<()> {
    /// One struct behind the other.
    #[derive(IntoBytes, Immutable)]
    #[repr(C)]
    struct Request {
        head: IommuType1DirtyBitmap,
        get: IommuType1DirtyBitmapGet,
    }
    let request = Request {
        head: IommuType1DirtyBitmap {
            argsz: argsz::<Request>(),
            flags: uapi::IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP,
        },
        get: IommuType1DirtyBitmapGet {
            iova: iova.first().0,
            size: iova.size(),
            bitmap: Bitmap {
                pgsize: page_size,
                size: size_of_val(words) as u64,
                data: words.as_mut_ptr().expose_provenance() as u64,
            },
        },
    };
    // SAFETY: the call reads this struct, and writes into `words` no more bytes than they have: it refuses a bitmap
    // that is smaller than the range needs, and writes the words of mappings, which are inside of the range.
    unsafe { container.call(uapi::IOMMU_DIRTY_PAGES, Arg::In(request.as_bytes())) }
        .map_err(|answer| Error::kernel(DIRTY_PAGES, CONTEXT, answer).at(iova))
}
