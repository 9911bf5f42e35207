//! The registers of a device, in the device's byte order.

use anyhow::{Result, ensure};
use vfio_core::Register;
use vfio_core::device::{Device, Region, RegionIndex, RegionMap};

/// In which order a device has the bytes of its registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ByteOrder {
    /// The lowest first, as PCI wants it.
    Little,
    /// The highest first.
    Big,
}

/// A register whose bytes can be in another order than the host's.
pub(super) trait Swap: Register + PartialEq + std::fmt::LowerHex {
    /// From the device's byte order to the host's, and back.
    fn swap(self, order: ByteOrder) -> Self;
}

macro_rules! swap {
    ($($t:ty)*) => {$(
        impl Swap for $t {
            fn swap(self, order: ByteOrder) -> Self {
                match order {
                    ByteOrder::Little => self.to_le(),
                    ByteOrder::Big => self.to_be(),
                }
            }
        }
    )*};
}
swap!(u32 u64);

/// The registers in a BAR: mapped where the kernel maps it (it may not map one that is smaller than a
/// page), otherwise through calls.
#[derive(Debug)]
pub(super) struct Registers {
    region: Region,
    map: Option<RegionMap>,
    pub(super) order: ByteOrder,
}

impl Registers {
    /// The registers in a BAR of a device that answers in its memory BARs.
    pub(super) fn new(device: &Device, bar: u8, order: ByteOrder) -> Result<Self> {
        let region = device.region(RegionIndex::Bar(bar))?;
        let map = region.is_mappable().then(|| region.map()).transpose()?;
        Ok(Self { region, map, order })
    }

    /// Reads a register.
    pub(super) fn read<T: Swap>(&self, offset: u32) -> Result<T> {
        let value: T = match &self.map {
            Some(map) => map.read(offset as usize)?,
            None => self.region.read(offset.into())?,
        };
        Ok(value.swap(self.order))
    }

    /// Writes a register.
    pub(super) fn write<T: Swap>(&self, offset: u32, value: T) -> Result<()> {
        let value = value.swap(self.order);
        match &self.map {
            Some(map) => map.write(offset as usize, value)?,
            None => self.region.write(offset.into(), value)?,
        }
        Ok(())
    }

    /// Reads a register that does not change by itself, in every way that there is.
    pub(super) fn read_both<T: Swap>(&self, offset: u32) -> Result<T> {
        let value: T = self.read(offset)?;
        let called = self.region.read::<T>(offset.into())?.swap(self.order);
        ensure!(
            called == value,
            "the register at {offset:#x} is {value:#x} when mapped, {called:#x} through a call"
        );
        Ok(value)
    }
}
