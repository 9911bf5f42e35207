//! The list of capabilities in the first 256 bytes of config space.

use vfio_core::{Error, ErrorKind, Result};

/// What a capability is for. Ids that have no name here are as good as the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CapabilityId(pub u8);

impl CapabilityId {
    /// Power management.
    pub const POWER_MANAGEMENT: Self = Self(0x01);
    /// What a device says of itself in words (Vital Product Data).
    pub const VITAL_PRODUCT_DATA: Self = Self(0x03);
    /// Message signalled interrupts.
    pub const MSI: Self = Self(0x05);
    /// Registers of the vendor's.
    pub const VENDOR: Self = Self(0x09);
    /// PCI Express.
    pub const PCI_EXPRESS: Self = Self(0x10);
    /// Message signalled interrupts with a table in a BAR.
    pub const MSI_X: Self = Self(0x11);
    /// A function level reset for devices that are not on PCI Express.
    pub const ADVANCED_FEATURES: Self = Self(0x13);
}

/// A capability and its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capability {
    /// What it is for.
    pub id: CapabilityId,
    /// Where it starts in config space, in bytes: at least 0x40, a multiple of 4.
    pub offset: u8,
}

/// The standard header ends here, and what the device adds begins.
const HEADER_END: u8 = 0x40;

/// What a list has up to its end, or up to where it makes no sense any more.
pub(crate) struct Walked<T> {
    pub(crate) found: Vec<T>,
    pub(crate) fault: Option<String>,
}

/// Follows the list from `first`, the pointer in the header.
///
/// `read` reads a capability's first two bytes: its id and, in the high byte, the pointer to the next.
pub(crate) fn walk<E>(
    first: u8,
    mut read: impl FnMut(u8) -> std::result::Result<u16, E>,
) -> std::result::Result<Walked<Capability>, E> {
    let mut found: Vec<Capability> = Vec::new();
    let mut pointer = first & !3; // the lowest two bits are reserved
    let mut fault = None;
    while pointer != 0 {
        if pointer < HEADER_END {
            fault = Some(format!("a pointer leads to {pointer:#x}, into the header"));
            break;
        }
        if found.iter().any(|it| it.offset == pointer) {
            fault = Some(format!("it leads back to {pointer:#x}: it is a circle"));
            break;
        }
        let [id, next] = read(pointer)?.to_le_bytes();
        found.push(Capability {
            id: CapabilityId(id),
            offset: pointer,
        });
        pointer = next & !3;
    }
    Ok(Walked { found, fault })
}

/// The whole list, for those who want to know what is wrong with one that has no end.
pub(crate) fn list(first: u8, read: impl FnMut(u8) -> Result<u16>) -> Result<Vec<Capability>> {
    match walk(first, read)? {
        Walked { found, fault: None } => Ok(found),
        Walked {
            fault: Some(why), ..
        } => Err(Error::new(ErrorKind::Kernel, "follow", "the capability list").because(why)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads from a config space that has `entries`: offset, id, next.
    fn reader(entries: &[(u8, u8, u8)]) -> impl FnMut(u8) -> Result<u16> + '_ {
        |offset| {
            let entry = entries.iter().find(|entry| entry.0 == offset);
            Ok(entry.map_or(0, |&(_, id, next)| u16::from_le_bytes([id, next])))
        }
    }

    #[test]
    fn the_list_is_followed_in_its_own_order() {
        let entries = [(0x40, 0x05, 0x00), (0x60, 0x11, 0x43), (0xfc, 0x10, 0x60)];
        let found = list(0xfe, reader(&entries)).unwrap();
        let shown: Vec<_> = found.iter().map(|c| (c.offset, c.id.0)).collect();
        assert_eq!(shown, [(0xfc, 0x10), (0x60, 0x11), (0x40, 0x05)]);
        assert_eq!(list(0, reader(&entries)).unwrap(), []);
    }

    #[test]
    fn a_circle_ends() {
        assert!(list(0x40, reader(&[(0x40, 5, 0x50), (0x50, 1, 0x40)])).is_err());
        assert!(list(0x40, reader(&[(0x40, 5, 0x40)])).is_err());
    }

    #[test]
    fn a_pointer_into_the_header_is_refused() {
        assert!(list(0x3c, reader(&[])).is_err());
        assert!(list(0x40, reader(&[(0x40, 5, 0x04)])).is_err());
    }
}
