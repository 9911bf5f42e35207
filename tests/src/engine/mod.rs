//! Devices that do DMA, told to without a driver: by the same raw accesses on any kernel.

pub(crate) mod edu;
pub(crate) mod nvme;

use std::os::fd::BorrowedFd;

use vfio_core::kernel::{Errno, Kernel, Result};

/// Config space, and its registers.
const CONFIG: u64 = 7 << 40;
const IDS: u64 = CONFIG;
const COMMAND: u64 = CONFIG + 4;
const STATUS: u64 = CONFIG + 6;
const MEMORY_AND_MASTER: u16 = 1 << 1 | 1 << 2;

/// Whether a device of that vendor and device id can be told to.
pub(crate) fn is_engine(ids: (u16, u16)) -> bool {
    [edu::IDS, nvme::IDS].contains(&ids)
}

/// Has a device write to memory at `iova`, or try to. What it writes can be seen: `edu` zeros, an NVMe controller an
/// answer to what it reads there.
pub(crate) fn touch(kernel: &dyn Kernel, device: BorrowedFd<'_>, iova: u64) -> Result<()> {
    let ids = (read(kernel, device, IDS)?, read(kernel, device, IDS + 2)?);
    match ids {
        nvme::IDS => nvme::answer(kernel, device, iova),
        edu::IDS => edu::clear(kernel, device, iova),
        _ => Err(Errno::NODEV),
    }
}

/// With memory space and bus mastering on, and more of the command register; puts back what was before.
fn as_master(
    kernel: &dyn Kernel,
    device: BorrowedFd<'_>,
    more: u16,
    run: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let before = read(kernel, device, COMMAND)?;
    let command = before | MEMORY_AND_MASTER | more;
    kernel.pwrite(device, &command.to_le_bytes(), COMMAND)?;
    let result = run();
    kernel.pwrite(device, &before.to_le_bytes(), COMMAND)?;
    result
}

fn read(kernel: &dyn Kernel, device: BorrowedFd<'_>, place: u64) -> Result<u16> {
    let mut bytes = [0; 2];
    kernel.pread(device, &mut bytes, place)?;
    Ok(u16::from_le_bytes(bytes))
}
