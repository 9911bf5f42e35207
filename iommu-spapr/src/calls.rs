//! The ioctls of sPAPR. Each returns 0 or has failed, whatever else the kernel returns.
#![allow(unsafe_code)] // Each call with the struct that belongs to it.

use vfio_core::address::{Access, HostRange, Iova, IovaRange, Size};
use vfio_core::call::argsz;
use vfio_core::iommu::Aperture;
use vfio_core::kernel::{Arg, Errno, Opcode};
use vfio_core::uapi::{
    self, DmaMap, DmaUnmap, SpaprRegisterMemory, SpaprTceCreate, SpaprTceInfo, SpaprTceRemove,
};
use vfio_core::{Container, Error, Result, memlock};
use zerocopy::IntoBytes;

use crate::CONTEXT;
use crate::window::check_inside;

/// What the kernel says of the windows.
pub(crate) fn get_info(container: &Container) -> Result<SpaprTceInfo> {
    let mut info = SpaprTceInfo {
        argsz: argsz::<SpaprTceInfo>(),
        ..Default::default()
    };
    // SAFETY: the call fills in this struct, which carries no address.
    unsafe { container.call(uapi::SPAPR_TCE_GET_INFO, Arg::InOut(info.as_mut_bytes())) }
        .map_err(|answer| Error::kernel("VFIO_IOMMU_SPAPR_TCE_GET_INFO", CONTEXT, answer))?;
    Ok(info)
}

/// Version 1: allows mapping.
pub(crate) fn enable(container: &Container) -> Result<()> {
    // SAFETY: the call takes no argument.
    unsafe { container.call(uapi::SPAPR_ENABLE, Arg::None) }
        .map_err(|answer| Error::kernel("VFIO_IOMMU_ENABLE", CONTEXT, answer))
}

/// Version 1: undoes [`enable`].
pub(crate) fn disable(container: &Container) -> Result<()> {
    // SAFETY: the call takes no argument, and takes access away from devices.
    unsafe { container.call(uapi::SPAPR_DISABLE, Arg::None) }
        .map_err(|answer| Error::kernel("VFIO_IOMMU_DISABLE", CONTEXT, answer))
}

/// Version 2: pins whole host pages.
pub(crate) fn register(container: &Container, block: HostRange) -> Result<()> {
    let registered = on_block(
        container,
        "VFIO_IOMMU_SPAPR_REGISTER_MEMORY",
        uapi::SPAPR_REGISTER_MEMORY,
        block,
    );
    registered.map_err(|error| explain(container, block, error))
}

/// What the limit would have to be, if it is that which is too low.
#[cold]
fn explain(container: &Container, block: HostRange, error: Error) -> Error {
    let is_memory = error.errno() == Some(Errno::NOMEM);
    match memlock::lacking(&**container.kernel(), block.len() as u64).filter(|_| is_memory) {
        None => error,
        Some(enough) => error
            .because(format!("{} would be locked in all", Size(enough)))
            .lacking_memlock(enough),
    }
}

/// Version 2: undoes [`register`] of the very same block, into which no TCE may point any more: the kernel
/// would say that it succeeded and keep the memory pinned (H3).
pub(crate) fn unregister(container: &Container, block: HostRange) -> Result<()> {
    on_block(
        container,
        "VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY",
        uapi::SPAPR_UNREGISTER_MEMORY,
        block,
    )
}

fn on_block(
    container: &Container,
    operation: &'static str,
    opcode: Opcode,
    block: HostRange,
) -> Result<()> {
    let request = SpaprRegisterMemory {
        argsz: argsz::<SpaprRegisterMemory>(),
        flags: 0,
        vaddr: block.addr() as u64,
        size: block.len() as u64, // never 0 (H4)
    };
    // SAFETY: the call reads this struct; it pins memory, or unpins it, and gives no device access.
    unsafe { container.call(opcode, Arg::In(request.as_bytes())) }
        .map_err(|answer| Error::kernel(operation, CONTEXT, answer).of_memory(block))
}

/// Creates a window; answers where it starts, which is for the kernel to say.
pub(crate) fn create_window(
    container: &Container,
    page_size: u64,
    size: u64,
    levels: u32,
) -> Result<Iova> {
    let mut request = SpaprTceCreate {
        argsz: argsz::<SpaprTceCreate>(),
        page_shift: page_size.trailing_zeros(), // below 64 (H5)
        window_size: size,
        levels,
        ..Default::default()
    };
    // SAFETY: the call reads and writes this struct, which carries no address of memory.
    unsafe { container.call(uapi::SPAPR_TCE_CREATE, Arg::InOut(request.as_mut_bytes())) }.map_err(
        |answer| {
            Error::kernel("VFIO_IOMMU_SPAPR_TCE_CREATE", CONTEXT, answer).because(format!(
                "a window of {size:#x} bytes with pages of {page_size:#x}, {levels} levels"
            ))
        },
    )?;
    Ok(Iova(request.start_addr))
}

/// Removes the window that starts at `start` with every TCE in it. The kernel takes any address inside of
/// one (H6): that it is a start is for the caller to know.
pub(crate) fn remove_window(container: &Container, start: Iova) -> Result<()> {
    let request = SpaprTceRemove {
        argsz: argsz::<SpaprTceRemove>(),
        flags: 0,
        start_addr: start.0,
    };
    // SAFETY: the call reads this struct, and takes access away from devices.
    unsafe { container.call(uapi::SPAPR_TCE_REMOVE, Arg::In(request.as_bytes())) }.map_err(
        |answer| {
            Error::kernel("VFIO_IOMMU_SPAPR_TCE_REMOVE", CONTEXT, answer)
                .because(format!("the window that starts at {start}"))
        },
    )
}

/// Maps memory inside one of `windows`: the kernel checks only the first page (H2).
///
/// # Safety
/// That of [`IommuBackend::map`](vfio_core::iommu::IommuBackend::map).
pub(crate) unsafe fn map(
    container: &Container,
    windows: impl Iterator<Item = Aperture> + Clone,
    iova: IovaRange,
    memory: HostRange,
    access: Access,
) -> Result<()> {
    const OPERATION: &str = "VFIO_IOMMU_MAP_DMA";
    check_inside(windows, OPERATION, iova)?;
    let request = DmaMap::new(iova, memory, access);
    // SAFETY: the call reads this struct; what it maps is our caller's promise.
    unsafe { container.call(uapi::IOMMU_MAP_DMA, Arg::In(request.as_bytes())) }.map_err(|answer| {
        Error::kernel(OPERATION, CONTEXT, answer)
            .at(iova)
            .of_memory(memory)
    })
}

/// Clears every TCE of a range inside one of `windows`. A range that reached past its window would kill a
/// kernel before 6.12.117 (H1).
pub(crate) fn unmap(
    container: &Container,
    windows: impl Iterator<Item = Aperture> + Clone,
    iova: IovaRange,
) -> Result<()> {
    const OPERATION: &str = "VFIO_IOMMU_UNMAP_DMA";
    check_inside(windows, OPERATION, iova)?;
    let request = DmaUnmap::new(iova);
    // SAFETY: the call reads this struct, and takes access away from devices.
    unsafe { container.call(uapi::IOMMU_UNMAP_DMA, Arg::In(request.as_bytes())) }
        .map_err(|answer| Error::kernel(OPERATION, CONTEXT, answer).at(iova))
}
