//! The order of the bytes of a register.

/// In which order a device has the bytes of its registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteOrder {
    /// The lowest first, as PCI wants it.
    Little,
    /// The highest first.
    Big,
}

impl ByteOrder {
    /// The number that at most 8 bytes are.
    pub(super) fn decode(self, bytes: &[u8]) -> u64 {
        let append = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        match self {
            Self::Little => bytes.iter().rev().fold(0, append),
            Self::Big => bytes.iter().fold(0, append),
        }
    }

    /// Puts as many of a number's low bytes as there is room for.
    pub(super) fn encode(self, number: u64, bytes: &mut [u8]) {
        for (place, byte) in bytes.iter_mut().zip(number.to_le_bytes()) {
            *place = byte;
        }
        if self == Self::Big {
            bytes.reverse();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_in_the_order_of_the_device() {
        let mut bytes = [0; 4];
        ByteOrder::Little.encode(0x99_1122_3344, &mut bytes);
        assert_eq!(bytes, [0x44, 0x33, 0x22, 0x11]);
        assert_eq!(ByteOrder::Little.decode(&bytes), 0x1122_3344);
        ByteOrder::Big.encode(0x99_1122_3344, &mut bytes);
        assert_eq!(bytes, [0x11, 0x22, 0x33, 0x44]);
        assert_eq!(ByteOrder::Big.decode(&bytes), 0x1122_3344);
    }
}
