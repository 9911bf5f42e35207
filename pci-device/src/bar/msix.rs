//! Where the MSI-X table and the pending bits are, as the capability says it.

use std::ops::Range;

use vfio_core::{Error, ErrorKind, Result};

use super::BARS;
use crate::capability::CapabilityId;
use crate::config::ConfigSpace;

const CONTROL: u16 = 2;
const TABLE: u16 = 4;
const PENDING: u16 = 8;
const LEN: u16 = 12;
/// Capabilities of this list end here.
const END: u16 = 0x100;

/// In the control register: how many vectors, less one.
const LAST_VECTOR: u32 = 0x7ff;
/// In the places of table and pending bits: which BAR.
const BIR: u32 = 0x7;

/// Bytes that a vector takes in the table.
const ENTRY: u64 = 16;
/// Pending bits come in so many at once.
const PENDING_BITS: u32 = 64;
const PENDING_BYTES: u64 = 8;

/// Where something is in the BARs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The BAR, 0 to 5.
    pub bar: u8,
    /// The offset in it in bytes, a multiple of 8.
    pub offset: u32,
}

/// What the MSI-X capability says of the BARs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Msix {
    /// How many vectors, 1 to 2048.
    pub vectors: u16,
    /// Where the table is: 16 bytes a vector.
    pub table: Place,
    /// Where the pending bits are: 8 bytes for each 64 vectors.
    pub pending: Place,
}

impl Msix {
    /// What the device's capability says, if it has one.
    ///
    /// # Errors
    /// [`ErrorKind::Kernel`]: the capability, or the list that it is in, is malformed. What the kernel answered.
    pub(super) fn read(config: &ConfigSpace) -> Result<Option<Self>> {
        let Some(capability) = config.capability(CapabilityId::MSI_X)? else {
            return Ok(None);
        };
        let at = u16::from(capability.offset);
        if at + LEN > END {
            return Err(malformed(format!("it is cut off: it starts at {at:#x}")));
        }
        let control = config.dword(at)? >> (8 * CONTROL);
        let (table, pending) = (config.dword(at + TABLE)?, config.dword(at + PENDING)?);
        Self::of_registers(control, table, pending).map(Some)
    }

    /// What the capability's registers say: message control, and the places of table and pending bits.
    fn of_registers(control: u32, table: u32, pending: u32) -> Result<Self> {
        let place = |what: &str, register: u32| {
            let place = Place {
                bar: u8::try_from(register & BIR).unwrap_or(u8::MAX),
                offset: register & !BIR,
            };
            match usize::from(place.bar) < BARS {
                true => Ok(place),
                false => Err(malformed(format!(
                    "{what} is in BAR {}, which no device has",
                    place.bar
                ))),
            }
        };
        Ok(Self {
            vectors: u16::try_from((control & LAST_VECTOR) + 1).unwrap_or(u16::MAX),
            table: place("the table", table)?,
            pending: place("the pending bits", pending)?,
        })
    }

    /// The bytes of the table, in its BAR.
    pub fn table_range(&self) -> Range<u64> {
        range(self.table, u64::from(self.vectors) * ENTRY)
    }

    /// The bytes of the pending bits, in their BAR.
    pub fn pending_range(&self) -> Range<u64> {
        let words = u32::from(self.vectors).div_ceil(PENDING_BITS);
        range(self.pending, u64::from(words) * PENDING_BYTES)
    }
}

/// So many bytes at a place; an offset has 32 bits, so that the end has its room in 64.
fn range(place: Place, len: u64) -> Range<u64> {
    let start = u64::from(place.offset);
    start..start + len
}

/// The capability makes no sense.
pub(super) fn malformed(why: String) -> Error {
    Error::new(ErrorKind::Kernel, "read", "the MSI-X capability").because(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registers_say_where_everything_is() {
        let msix = Msix::of_registers(0x8040, 0x2000, 0x3004).unwrap();
        assert_eq!(msix.vectors, 65);
        assert_eq!((msix.table.bar, msix.table_range()), (0, 0x2000..0x2410));
        assert_eq!(
            (msix.pending.bar, msix.pending_range()),
            (4, 0x3000..0x3010)
        );
        let largest = Msix::of_registers(u32::MAX, !BIR, !BIR).unwrap();
        assert_eq!(largest.table_range(), 0xffff_fff8..0x1_0000_7ff8);
    }

    #[test]
    fn a_bar_that_no_device_has_is_refused() {
        for bir in [6, 7] {
            assert!(Msix::of_registers(0, 0x2000 | bir, 0x3000).is_err());
            assert!(Msix::of_registers(0, 0x2000, 0x3000 | bir).is_err());
        }
    }
}
