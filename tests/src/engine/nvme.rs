//! An NVMe controller whose two admin queues are at one address: it reads a command there, and writes its answer over it.
//!
//! Whatever is in memory, it must not be a command: an answer that there is no such one says as much.

use std::os::fd::BorrowedFd;

use vfio_core::kernel::{Errno, Kernel, Result};

use super::{CONFIG, STATUS, as_master, read};

/// Its vendor and device id, as QEMU has it.
pub(super) const IDS: (u16, u16) = (0x1b36, 0x0010);

const MASK_CLEAR: u64 = 0x10;
pub(crate) const CONFIGURATION: u64 = 0x14;
/// Entries of 64 and of 16 bytes; go.
pub(crate) const ENABLE: u32 = 6 << 16 | 4 << 20 | 1;
pub(crate) const STATE: u64 = 0x1c;
/// It gave up: it could not read, or not write, or the address is not that of a page.
const FATAL: u32 = 1 << 1;
pub(crate) const QUEUE_SIZES: u64 = 0x24;
/// Two entries each, the least.
const SMALLEST: u32 = 1 << 16 | 1;
pub(crate) const SUBMISSIONS: u64 = 0x28;
pub(crate) const COMPLETIONS: u64 = 0x30;
pub(crate) const SUBMITTED: u64 = 0x1000;
pub(crate) const TAKEN: u64 = 0x1004;

/// In the command register: the line is not delivered. In the status register: it is asserted all the same.
const LINE_OFF: u16 = 1 << 10;
const LINE: u16 = 1 << 3;

/// The first capability in config space, that of MSI-X in QEMU's controller, and what says that it is on.
const MSIX_CONTROL: u64 = CONFIG + 0x42;
const MSIX_ENABLE: u16 = 1 << 15;

/// It is asked so often what has become of it, at the very most.
const PATIENCE: u32 = 10_000_000;

/// Has it answer to what is at `iova`.
///
/// # Errors
/// `EBUSY`: MSI-X is on, and it would not be seen when it has answered.
pub(super) fn answer(kernel: &dyn Kernel, device: BorrowedFd<'_>, iova: u64) -> Result<()> {
    if read(kernel, device, MSIX_CONTROL)? & MSIX_ENABLE != 0 {
        return Err(Errno::BUSY);
    }
    let write = |register, value: u32| kernel.pwrite(device, &value.to_le_bytes(), register);
    as_master(kernel, device, LINE_OFF, || {
        write(CONFIGURATION, 0)?;
        write(MASK_CLEAR, u32::MAX)?;
        write(QUEUE_SIZES, SMALLEST)?;
        for queue in [SUBMISSIONS, COMPLETIONS] {
            kernel.pwrite(device, &iova.to_le_bytes(), queue)?;
        }
        write(CONFIGURATION, ENABLE)?;
        write(SUBMITTED, 1)?;
        let answered = wait(kernel, device);
        write(TAKEN, 1)?; // it asserts its line until then, also when it is off
        write(CONFIGURATION, 0)?;
        answered
    })
}

/// Until it asserts its line, as it does when it has answered, or gives up.
fn wait(kernel: &dyn Kernel, device: BorrowedFd<'_>) -> Result<()> {
    for _ in 0..PATIENCE {
        let mut state = [0; 4];
        kernel.pread(device, &mut state, STATE)?;
        let gave_up = u32::from_le_bytes(state) & FATAL != 0;
        if gave_up || read(kernel, device, STATUS)? & LINE != 0 {
            return Ok(());
        }
        std::thread::yield_now();
    }
    Err(Errno::TIMEDOUT)
}
