//! PCI devices: their regions, their interrupts, and what they do.

use vfio_core::kernel::{Arg, Errno, Opcode, Result};

use crate::world::World;

impl World {
    /// A call on an open device.
    pub(crate) fn device_ioctl(
        &mut self,
        bdf: &str,
        opcode: Opcode,
        arg: &mut Arg<'_>,
    ) -> Result<u32> {
        let _ = (bdf, opcode, arg);
        Err(Errno::NOTTY)
    }
}
