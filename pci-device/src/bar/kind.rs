//! What a BAR is, and the bits of its register that say so.

/// The lowest bit of a BAR's register: ports.
const IO: u32 = 1 << 0;
/// Where a memory BAR's register says how many bits its address has.
const TYPE: u32 = 0b11 << 1;
/// 64 bits: the next register has the upper half.
const TYPE_64: u32 = 0b10 << 1;
const PREFETCHABLE: u32 = 1 << 3;

/// What a BAR is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BarKind {
    /// In memory space.
    Memory {
        /// Whether its address has 64 bits; it then has the next register, too.
        wide: bool,
        /// Whether reading it has no effect, so that bridges may read ahead.
        prefetchable: bool,
    },
    /// Ports in I/O space.
    Io {
        /// Whether the register has 32 bits of a port's number, and not 16.
        wide: bool,
    },
}

impl BarKind {
    /// What a register says. Types that PCI does not define are 32 bits, as Linux takes them (`decode_bar`,
    /// drivers/pci/probe.c). VFIO invents the registers (`vfio_bar_fixup`, drivers/vfio/pci/vfio_pci_config.c), and gives
    /// ports 32 bits.
    pub fn of_register(register: u32) -> Self {
        match register & IO {
            0 => Self::Memory {
                wide: register & TYPE == TYPE_64,
                prefetchable: register & PREFETCHABLE != 0,
            },
            _ => Self::Io { wide: true },
        }
    }

    /// The bits of the register that say what it is.
    pub fn type_bits(self) -> u32 {
        match self {
            Self::Memory { wide, prefetchable } => {
                let wide = if wide { TYPE_64 } else { 0 };
                wide | if prefetchable { PREFETCHABLE } else { 0 }
            }
            Self::Io { .. } => IO,
        }
    }

    /// Whether it is in I/O space.
    pub fn is_io(self) -> bool {
        matches!(self, Self::Io { .. })
    }

    /// Whether it has two registers.
    pub fn has_two_registers(self) -> bool {
        matches!(self, Self::Memory { wide: true, .. })
    }

    /// The smallest and the largest size that its register can say, in bytes.
    pub(super) fn sizes(self) -> (u64, u64) {
        match self {
            Self::Memory { wide: true, .. } => (16, 1 << 63),
            Self::Memory { wide: false, .. } => (16, 1 << 31),
            Self::Io { wide: true } => (4, 1 << 31),
            Self::Io { wide: false } => (4, 1 << 15),
        }
    }

    /// The bits of an address that a BAR of so many bytes has, of all of its registers.
    pub(super) fn address_bits(self, size: u64) -> u64 {
        let of_space = match self {
            Self::Memory { wide: true, .. } => u64::MAX,
            Self::Memory { wide: false, .. } | Self::Io { wide: true } => u32::MAX.into(),
            Self::Io { wide: false } => u16::MAX.into(),
        };
        let (smallest, _) = self.sizes();
        of_space & !(size.max(smallest).saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_register_says_what_it_is_and_back() {
        for bits in [0x0, 0x4, 0x8, 0xc, 0x1] {
            let kind = BarKind::of_register(0xfeb0_0000 | bits);
            assert_eq!(kind.type_bits(), bits);
        }
        // Below 1 MiB, and the reserved type: 32 bits.
        for bits in [0x2, 0x6] {
            assert!(!BarKind::of_register(bits).has_two_registers());
        }
    }
}
