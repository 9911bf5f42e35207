//! The ioctls of type1.
#![allow(unsafe_code)] // Each call with the struct that belongs to it.

use vfio_core::address::{Access, HostRange, IovaRange};
use vfio_core::kernel::Arg;
use vfio_core::uapi::{self, DmaMap, DmaUnmap, IommuType1Info};
use vfio_core::{Container, Error, ErrorKind, Result};
use zerocopy::{FromBytes, IntoBytes};

const CONTEXT: &str = "the type1 context";

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
    let request = DmaMap::new(iova, memory, access);
    // SAFETY: the call reads this struct; what it maps is our caller's promise.
    unsafe { container.call(uapi::IOMMU_MAP_DMA, Arg::In(request.as_bytes())) }.map_err(|answer| {
        Error::kernel("VFIO_IOMMU_MAP_DMA", CONTEXT, answer)
            .at(iova)
            .of_memory(memory)
    })
}

/// Answers how many bytes the kernel unmapped.
pub(crate) fn unmap(container: &Container, iova: IovaRange) -> Result<u64> {
    let mut request = DmaUnmap::new(iova);
    // SAFETY: the call reads and writes this struct, and takes access away from devices.
    unsafe { container.call(uapi::IOMMU_UNMAP_DMA, Arg::InOut(request.as_mut_bytes())) }
        .map_err(|answer| Error::kernel("VFIO_IOMMU_UNMAP_DMA", CONTEXT, answer).at(iova))?;
    Ok(request.size)
}
