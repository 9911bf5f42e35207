//! QEMU's `edu`, which raises an interrupt when it is told to.

use std::ops::Deref;

use vfio_core::kernel::Result;

use crate::conformance::clause::Trait;
use crate::conformance::host::Host;
use crate::conformance::rig::{COMMAND, Open, Rig};

const MEMORY_AND_MASTER: u16 = 1 << 1 | 1 << 2;
/// The lowest byte of its first register.
const ID: u8 = 0xed;
/// What is written there reads as its complement.
pub(super) const LIVENESS: u64 = 0x04;
pub(super) const RAISE: u64 = 0x60;
const ACKNOWLEDGE: u64 = 0x64;

/// The device, open. It forgets no interrupt that was raised, not with a reset either: they are acknowledged before
/// and after.
pub(super) struct Edu {
    open: Open,
    is_little: bool,
    _rig: Rig,
}

impl Edu {
    pub(super) fn open(host: &Host) -> Self {
        let (rig, open) = host.open(Trait::Engine);
        open.set_config(COMMAND, open.config(COMMAND) | MEMORY_AND_MASTER);
        let edu = Self {
            is_little: open.pread(0, 0, 4).unwrap()[0] == ID,
            open,
            _rig: rig,
        };
        edu.acknowledge();
        edu
    }

    /// Asserts its line, or sends its message.
    pub(super) fn raise(&self) {
        assert_eq!(self.write(RAISE, 1), Ok(4));
    }

    /// Asserts its line no more.
    pub(super) fn acknowledge(&self) {
        assert_eq!(self.write(ACKNOWLEDGE, u32::MAX), Ok(4));
    }

    /// A number as VFIO has to write it, which takes all registers for little-endian.
    pub(super) fn order(&self, value: u32) -> u32 {
        match self.is_little {
            true => value,
            false => value.swap_bytes(),
        }
    }

    pub(super) fn write(&self, register: u64, value: u32) -> Result<usize> {
        self.open
            .pwrite(0, register, &self.order(value).to_le_bytes())
    }
}

impl Deref for Edu {
    type Target = Open;

    fn deref(&self) -> &Open {
        &self.open
    }
}

impl Drop for Edu {
    fn drop(&mut self) {
        let _ = self.write(ACKNOWLEDGE, u32::MAX); // a clause that fails may have left it without memory space
    }
}
