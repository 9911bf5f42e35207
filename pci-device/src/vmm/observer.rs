//! What goes wrong where a guest can be told nothing.

use std::fmt::Debug;
use std::ops::Range;

use tracing::warn;
use vfio_core::Error;
use vfio_core::host::Bdf;

use crate::bar::BarRegister;

/// Something that a guest's access met and that it cannot be told of. The access reads as ones, or is lost.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Config space could not be read or written.
    ConfigFailed(Error),
    /// A BAR, or the ROM, could not be read or written.
    AccessFailed(BarRegister, Error),
    /// The guest has placed a BAR where the VMM does not let it be: it answers nowhere.
    NotPlaced(BarRegister, Range<u64>, Error),
    /// A slice could not be mapped at a place of the guest's: it is trapped there.
    NotMapped(u8, Range<u64>, Error),
    /// A slice could not be taken away from a place that it has left.
    StillMapped(u8, Range<u64>, Error),
    /// A reset that the guest has asked for did not work. The device's registers read as after one.
    ResetFailed(Error),
    /// The ROM is not there, or not one: the guest reads ones.
    NoRom(Error),
    /// The host has given a BAR with ports no numbers: the guest does not see it.
    Unassigned(usize),
    /// What the device says of itself is malformed; that part is hidden.
    Malformed(String),
}

/// Who is told. Of each thing once a device until it is reset, whatever the guest does.
pub trait Observer: Debug + Send + Sync {
    /// This has happened to a device, as the host names it.
    fn event(&self, device: Bdf, event: Event);
}

/// An observer that writes warnings into the log.
#[derive(Debug, Clone, Copy, Default)]
pub struct Log;

impl Observer for Log {
    fn event(&self, device: Bdf, event: Event) {
        warn!(%device, ?event, "a guest's access met something that it cannot be told of");
    }
}
