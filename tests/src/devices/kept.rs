//! What QEMU's devices keep that is written to them.

use vfio_core::host::PciDevice;

use super::TELLING;

/// A part of a BAR that keeps any bytes that are written to it, while nothing has started the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Which BAR.
    pub bar: u8,
    /// Where in it, in bytes: a multiple of 8.
    pub offset: usize,
}

impl Kept {
    /// How long it is, in bytes. It is read and written eight bytes at a time.
    pub const LEN: usize = TELLING;

    /// That of a device, if it is known to have one.
    pub fn of(device: &PciDevice) -> Option<Self> {
        let (bar, offset) = match (device.vendor, device.device) {
            (0x1234, 0x11e8) => (0, 0x80), // edu: where DMA comes from, and where it goes
            (0x1b36, 0x0010) => (0, 0x28), // nvme: where the two admin queues are
            (0x1af4, 0x1110) => (2, 0),    // ivshmem: memory
            _ => return None,
        };
        Some(Self { bar, offset })
    }
}
