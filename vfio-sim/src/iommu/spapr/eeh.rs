//! Errors that are isolated (D58): units that no error ever befalls.

use vfio_core::kernel::{Arg, Errno, Result};
use zerocopy::{FromBytes, Immutable, KnownLayout};

use crate::arg;

/// What can be asked for, by number (`VFIO_EEH_PE_*`).
const GET_STATE: u32 = 4;
const CONFIGURE: u32 = 8;
const INJECT_ERROR: u32 = 9;

/// The state of a unit that works (`VFIO_EEH_PE_STATE_NORMAL`).
const NORMAL: u32 = 0;

/// Errors on the bus, of addresses of 32 and 64 bits.
const ERROR_TYPES: u32 = 2;
/// Ways in which they can happen.
const ERROR_FUNCTIONS: u32 = 20;
/// Those that are about config space, which the firmware of QEMU's machines agrees to.
const CONFIG_ERRORS: [u32; 4] = [4, 5, 10, 11];

/// `struct vfio_eeh_pe_op`
#[derive(FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Operation {
    argsz: u32,
    flags: u32,
    op: u32,
    pad: u32,
    error_type: u32,
    error_function: u32,
    address: u64,
    mask: u64,
}

/// The operation of an isolation unit of bare metal.
pub(super) fn operate(arg: &Arg<'_>) -> Result<u32> {
    let Operation { flags, op, .. } = arg::sized_from(arg, std::mem::offset_of!(Operation, pad))?;
    if flags != 0 {
        return Err(Errno::INVAL);
    }
    match op {
        GET_STATE => Ok(NORMAL),
        INJECT_ERROR => inject(arg),
        // Enabling, thawing, resetting: nothing is frozen, and the firmware can do all of it.
        0..=CONFIGURE => Ok(0),
        _ => Err(Errno::INVAL),
    }
}

fn inject(arg: &Arg<'_>) -> Result<u32> {
    let error: Operation = arg::sized(arg)?;
    if error.error_function >= ERROR_FUNCTIONS {
        return Err(Errno::INVAL);
    }
    if error.error_type >= ERROR_TYPES {
        return Err(Errno::RANGE);
    }
    match CONFIG_ERRORS.contains(&error.error_function) {
        true => Ok(0), // and QEMU's bridges make no error of it
        false => Err(Errno::IO),
    }
}
