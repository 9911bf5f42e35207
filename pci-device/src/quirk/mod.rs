//! Devices that need more than the specification says: a registry, by the same mechanism as that of the backends.
//!
//! A quirk is a plain registration; one that is nowhere in this crate is taken up like those that are:
//!
//! ```
//! use pci_device::quirk::{Quirk, Registration};
//! use vfio_core::inventory;
//!
//! #[derive(Debug)]
//! struct Slow;
//!
//! impl Quirk for Slow {}
//!
//! inventory::submit! {
//!     Registration {
//!         name: "slow",
//!         vendor: 0x1af4,
//!         devices: &[0x10f0],
//!         make: |_| Ok(Some(Box::new(Slow))),
//!     }
//! }
//! # assert!(pci_device::quirk::of(0x1af4, 0x10f0).any(|it| it.name == "slow"));
//! ```

mod config_mirror;
mod smc_reset;

use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

use vfio_core::Result;
use vfio_core::device::Device;

use crate::AssignedDevice;
use crate::bar::Bars;

/// What is done otherwise with a device. Each method has a default that changes nothing.
pub trait Quirk: Debug + Send + Sync {
    /// Parts of BARs that are the quirk's: nothing of their pages is mapped, and accesses come to [`read`](Self::read) and
    /// [`write`](Self::write). By the BAR, 0 to 5, and offsets in it, in bytes.
    fn intercepts(&self) -> Vec<(u8, Range<u64>)> {
        Vec::new()
    }

    /// The guest reads such a part; `bytes` are ones before. No lock is held, and the BAR may move meanwhile.
    fn read(&self, device: &AssignedDevice, bar: u8, offset: u64, bytes: &mut [u8]) {
        let _ = (device, bar, offset, bytes);
    }

    /// The guest writes such a part.
    fn write(&self, device: &AssignedDevice, bar: u8, offset: u64, bytes: &[u8]) {
        let _ = (device, bar, offset, bytes);
    }

    /// Whether [`reset`](Self::reset) is how the device is reset, and no other way.
    fn resets(&self) -> bool {
        false
    }

    /// Resets the device. It does no DMA, nothing of it is mapped, and its memory is switched off.
    ///
    /// # Errors
    /// It is not reset.
    fn reset(&self, device: &Device) -> Result<()> {
        device.reset()
    }
}

/// A device that may need a quirk.
#[derive(Debug)]
pub struct Subject<'a> {
    /// The device.
    pub device: &'a Device,
    /// Its class code: base class, subclass, programming interface.
    pub class: u32,
    /// Its BARs.
    pub bars: &'a Bars,
}

/// A quirk, and the devices that need it.
#[derive(Debug)]
pub struct Registration {
    /// Its name.
    pub name: &'static str,
    /// The vendor's PCI id.
    pub vendor: u16,
    /// The ids of its devices; none for all of them.
    pub devices: &'static [u16],
    /// Makes it for a device with such ids, if that needs it after all.
    pub make: Make,
}

/// Makes a quirk.
pub type Make = fn(&Subject<'_>) -> Result<Option<Box<dyn Quirk>>>;

vfio_core::inventory::collect!(Registration);

/// The quirks of devices with such ids.
pub fn of(vendor: u16, device: u16) -> impl Iterator<Item = &'static Registration> {
    let all = vfio_core::inventory::iter::<Registration>();
    all.filter(move |it| {
        it.vendor == vendor && (it.devices.is_empty() || it.devices.contains(&device))
    })
}

/// A part of a BAR that is a quirk's.
#[derive(Debug)]
pub(crate) struct Hooked {
    pub(crate) bar: u8,
    pub(crate) range: Range<u64>,
    pub(crate) quirk: Arc<dyn Quirk>,
}

impl Hooked {
    /// Whether an access has a byte in it.
    pub(crate) fn reaches(&self, offset: u64, len: usize) -> bool {
        offset < self.range.end && self.range.start < offset.saturating_add(len as u64)
    }

    /// Whether all of an access is in it.
    pub(crate) fn holds(&self, offset: u64, len: usize) -> bool {
        self.range.start <= offset && offset.saturating_add(len as u64) <= self.range.end
    }
}
