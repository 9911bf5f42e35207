//! QEMU's `edu`, told to do DMA without a driver, by the same raw accesses on any kernel.

use std::os::fd::BorrowedFd;

use vfio_core::kernel::{Errno, Kernel, Result};

use super::as_master;

/// Where the device's own buffer is, for its engine.
const BUFFER: u64 = 0x4_0000;
const SOURCE: u64 = 0x80;
const DESTINATION: u64 = 0x88;
const COUNT: u64 = 0x90;
const COMMAND: u64 = 0x98;
const RUN_TO_MEMORY: u64 = 1 | 2;
const RUN: u64 = 1;
/// So many bytes are written: zeros, which is what the buffer has.
const SIZE: u64 = 64;

/// The device answers this often before a transfer is over, at the very most.
const PATIENCE: u32 = 10_000_000;

/// Its vendor and device id.
pub(crate) const IDS: (u16, u16) = (0x1234, 0x11e8);

/// Writes zeros to memory at `iova`, or tries to: the device does not say.
pub(super) fn clear(kernel: &dyn Kernel, device: BorrowedFd<'_>, iova: u64) -> Result<()> {
    as_master(kernel, device, 0, || {
        transfer(kernel, device, (BUFFER, iova, SIZE), RUN_TO_MEMORY)
    })
}

/// Reads from memory at `from` and writes it to `to`, or tries to. What cannot be read is what the buffer had: zeros, at
/// first.
pub(crate) fn copy(
    kernel: &dyn Kernel,
    device: BorrowedFd<'_>,
    from: u64,
    to: u64,
    len: u64,
) -> Result<()> {
    as_master(kernel, device, 0, || {
        transfer(kernel, device, (from, BUFFER, len), RUN)?;
        transfer(kernel, device, (BUFFER, to, len), RUN_TO_MEMORY)
    })
}

fn transfer(
    kernel: &dyn Kernel,
    device: BorrowedFd<'_>,
    (source, destination, count): (u64, u64, u64),
    run: u64,
) -> Result<()> {
    let order = Order::of(kernel);
    for (register, value) in [
        (SOURCE, source),
        (DESTINATION, destination),
        (COUNT, count),
        (COMMAND, run),
    ] {
        kernel.pwrite(device, &order.bytes(value), register)?;
    }
    for _ in 0..PATIENCE {
        let mut now = [0; 8];
        kernel.pread(device, &mut now, COMMAND)?;
        if order.number(now) & RUN == 0 {
            return Ok(());
        }
        std::thread::yield_now();
    }
    Err(Errno::TIMEDOUT)
}

/// The byte order of the device, which is that of the processor's family in QEMU: VFIO reads and writes registers
/// as little-endian numbers, whatever the device has.
#[derive(Clone, Copy)]
enum Order {
    Big,
    Little,
}

impl Order {
    fn of(kernel: &dyn Kernel) -> Self {
        match kernel.identity().0.starts_with("ppc") {
            true => Self::Big,
            false => Self::Little,
        }
    }

    fn bytes(self, value: u64) -> [u8; 8] {
        match self {
            Self::Big => value.to_be_bytes(),
            Self::Little => value.to_le_bytes(),
        }
    }

    fn number(self, bytes: [u8; 8]) -> u64 {
        match self {
            Self::Big => u64::from_be_bytes(bytes),
            Self::Little => u64::from_le_bytes(bytes),
        }
    }
}
