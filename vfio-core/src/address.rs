//! The vocabulary of DMA: addresses, ranges, page sizes, masks and rights.
//!
//! Ranges are never empty and never wrap; that is checked once, where they are made.

use std::fmt;
use std::num::NonZeroUsize;

/// An address that a device uses: it is translated by the IOMMU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Iova(pub u64);

impl fmt::Display for Iova {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// A range of addresses that a device uses. It may end at the last address there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IovaRange {
    first: u64,
    last: u64,
}

impl IovaRange {
    /// All addresses that there are.
    pub const ALL: Self = Self {
        first: 0,
        last: u64::MAX,
    };

    /// `size` bytes from `start`; `None` if that is empty or wraps.
    pub const fn new(start: Iova, size: u64) -> Option<Self> {
        let Some(before_size) = size.checked_sub(1) else {
            return None;
        };
        match start.0.checked_add(before_size) {
            Some(last) => Some(Self {
                first: start.0,
                last,
            }),
            None => None,
        }
    }

    /// From `first` to `last`, both included; `None` if `last` comes before `first`.
    pub const fn inclusive(first: Iova, last: Iova) -> Option<Self> {
        if first.0 <= last.0 {
            Some(Self {
                first: first.0,
                last: last.0,
            })
        } else {
            None
        }
    }

    /// The first address.
    pub const fn first(self) -> Iova {
        Iova(self.first)
    }

    /// The last address, included.
    pub const fn last(self) -> Iova {
        Iova(self.last)
    }

    /// The size in bytes; the range of all 2^64 addresses, which cannot be said, answers `u64::MAX`.
    pub const fn size(self) -> u64 {
        (self.last - self.first).saturating_add(1)
    }

    /// Whether every address of `other` is one of ours.
    pub const fn contains(self, other: Self) -> bool {
        self.first <= other.first && other.last <= self.last
    }

    /// Whether an address is in both.
    pub const fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// The addresses that are in both.
    pub fn intersection(self, other: Self) -> Option<Self> {
        Self::inclusive(
            Iova(self.first.max(other.first)),
            Iova(self.last.min(other.last)),
        )
    }
}

impl IovaRange {
    /// The lowest `size` bytes of it, at a multiple of `align`, a power of two, that nothing takes.
    pub(crate) fn lowest_free(
        self,
        size: u64,
        align: u64,
        taken: impl Fn(Self) -> Option<Self>,
    ) -> Option<Self> {
        let mut start = self.first.checked_next_multiple_of(align)?;
        loop {
            let range = Self::new(Iova(start), size).filter(|range| self.contains(*range))?;
            match taken(range) {
                None => return Some(range),
                Some(there) => {
                    start = there.last.checked_add(1)?.checked_next_multiple_of(align)?;
                }
            }
        }
    }
}

impl fmt::Display for IovaRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{:#x}-{:#x}]", self.first, self.last)
    }
}

/// A range of this process's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HostRange {
    addr: usize,
    len: NonZeroUsize,
}

impl HostRange {
    /// `len` bytes from `addr`; `None` if that is empty or wraps.
    pub const fn new(addr: usize, len: usize) -> Option<Self> {
        match NonZeroUsize::new(len) {
            Some(len) if addr.checked_add(len.get() - 1).is_some() => Some(Self { addr, len }),
            _ => None,
        }
    }

    /// The first address.
    pub const fn addr(self) -> usize {
        self.addr
    }

    /// The size in bytes, never 0.
    #[allow(clippy::len_without_is_empty)] // it is never empty
    pub const fn len(self) -> usize {
        self.len.get()
    }

    /// The last address, included.
    pub const fn last(self) -> usize {
        self.addr + (self.len.get() - 1)
    }

    /// Whether every byte of `other` is one of ours.
    pub const fn contains(self, other: Self) -> bool {
        self.addr <= other.addr && other.last() <= self.last()
    }

    /// Whether a byte is in both.
    pub const fn overlaps(self, other: Self) -> bool {
        self.addr <= other.last() && other.addr <= self.last()
    }
}

impl fmt::Display for HostRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "memory [{:#x}-{:#x}]", self.addr, self.last())
    }
}

/// The page sizes that an IOMMU can map: one bit for each, its value the size in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageSizes(pub u64);

impl PageSizes {
    /// The smallest, in bytes.
    pub const fn smallest(self) -> Option<u64> {
        match self.0 {
            0 => None,
            bits => Some(1 << bits.trailing_zeros()),
        }
    }

    /// Whether a page of that many bytes can be mapped.
    pub const fn has(self, bytes: u64) -> bool {
        bytes.is_power_of_two() && self.0 & bytes != 0
    }

    /// All of them, the smallest first, in bytes.
    pub fn iter(self) -> impl Iterator<Item = u64> {
        (0..u64::BITS)
            .map(|bit| 1 << bit)
            .filter(move |size| self.0 & size != 0)
    }
}

impl fmt::Display for PageSizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, size) in self.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            Size(size).fmt(f)?;
        }
        Ok(())
    }
}

/// A number of bytes, shown in the largest unit that divides it: `4K`, `1G`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 7] = ["", "K", "M", "G", "T", "P", "E"];
        let unit = (self.0.trailing_zeros() / 10).min(6) * u32::from(self.0 != 0);
        let name = UNITS.get(unit as usize).unwrap_or(&"");
        write!(f, "{}{name}", self.0 >> (10 * unit))
    }
}

/// The addresses that a device can put on its bus: those up to and including the mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DmaMask(u64);

impl DmaMask {
    /// A device with so many address lines; 64 and more is every address.
    pub const fn bits(bits: u32) -> Self {
        match 1u64.checked_shl(bits) {
            Some(end) => Self(end - 1),
            None => Self(u64::MAX),
        }
    }

    /// The highest address that the device can use.
    pub const fn highest(self) -> Iova {
        Iova(self.0)
    }

    /// Every address that the device can use.
    pub const fn range(self) -> IovaRange {
        IovaRange {
            first: 0,
            last: self.0,
        }
    }
}

/// What a device may do with mapped memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It may read.
    Read,
    /// It may write.
    Write,
    /// It may read and write.
    ReadWrite,
}

impl Access {
    /// Whether the device may read.
    pub const fn reads(self) -> bool {
        matches!(self, Self::Read | Self::ReadWrite)
    }

    /// Whether the device may write.
    pub const fn writes(self) -> bool {
        matches!(self, Self::Write | Self::ReadWrite)
    }

    /// What both allow, if there is anything.
    pub const fn common(self, other: Self) -> Option<Self> {
        match (
            self.reads() && other.reads(),
            self.writes() && other.writes(),
        ) {
            (true, true) => Some(Self::ReadWrite),
            (true, false) => Some(Self::Read),
            (false, true) => Some(Self::Write),
            (false, false) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_neither_empty_nor_wrap() {
        assert_eq!(IovaRange::new(Iova(0x1000), 0), None);
        assert_eq!(IovaRange::new(Iova(u64::MAX), 2), None);
        let end = IovaRange::new(Iova(u64::MAX), 1).map(IovaRange::last);
        assert_eq!(end, Some(Iova(u64::MAX)));
        assert_eq!(IovaRange::inclusive(Iova(2), Iova(1)), None);
        assert_eq!(HostRange::new(usize::MAX, 2), None);
        assert_eq!(HostRange::new(0, 0), None);
    }

    #[test]
    fn a_mask_of_many_bits_is_every_address() {
        assert_eq!(DmaMask::bits(32).highest(), Iova(0xffff_ffff));
        assert_eq!(DmaMask::bits(64).highest(), Iova(u64::MAX));
        assert_eq!(DmaMask::bits(0).highest(), Iova(0));
    }

    #[test]
    fn sizes_are_shown_in_the_largest_unit() {
        assert_eq!(Size(0).to_string(), "0");
        assert_eq!(Size(65536).to_string(), "64K");
        assert_eq!(Size(3 << 30).to_string(), "3G");
        assert_eq!(Size(1025).to_string(), "1025");
        assert_eq!(PageSizes(0x4020_1000).to_string(), "4K, 2M, 1G");
    }

    fn iova(first: u64, last: u64) -> IovaRange {
        IovaRange::inclusive(Iova(first), Iova(last)).unwrap()
    }

    #[test]
    fn addresses_that_two_ranges_share() {
        let range = iova(0x1000, 0x1fff);
        assert_eq!(range.size(), 0x1000);
        assert_eq!(iova(0, u64::MAX).size(), u64::MAX);
        for (other, shared, inside) in [
            (iova(0, 0xfff), None, false),
            (iova(0, 0x1000), Some(iova(0x1000, 0x1000)), false),
            (iova(0x1800, 0x1800), Some(iova(0x1800, 0x1800)), true),
            (iova(0x1000, 0x1fff), Some(range), true),
            (iova(0x1fff, 0x3000), Some(iova(0x1fff, 0x1fff)), false),
            (iova(0, 0x3000), Some(range), false),
            (iova(0x2000, 0x3000), None, false),
        ] {
            assert_eq!(range.intersection(other), shared, "{other}");
            assert_eq!(range.overlaps(other), shared.is_some(), "{other}");
            assert_eq!(range.contains(other), inside, "{other}");
        }
    }

    #[test]
    fn memory_that_two_ranges_share() {
        let memory = |addr, len| HostRange::new(addr, len).unwrap();
        let range = memory(0x1000, 0x1000);
        assert_eq!(
            (range.addr(), range.len(), range.last()),
            (0x1000, 0x1000, 0x1fff)
        );
        assert_eq!(range.to_string(), "memory [0x1000-0x1fff]");
        for (other, shared, inside) in [
            (memory(0, 0x1000), false, false),
            (memory(0, 0x1001), true, false),
            (memory(0x1000, 0x1000), true, true),
            (memory(0x1001, 1), true, true),
            (memory(0x1fff, 2), true, false),
            (memory(0, 0x4000), true, false),
            (memory(0x2000, 1), false, false),
        ] {
            assert_eq!(range.overlaps(other), shared, "{other}");
            assert_eq!(range.contains(other), inside, "{other}");
        }
    }

    #[test]
    fn page_sizes_are_asked_for_one_by_one() {
        let sizes = PageSizes(0x4020_1000);
        assert_eq!(sizes.smallest(), Some(0x1000));
        assert_eq!(PageSizes(0).smallest(), None);
        assert!(sizes.has(0x1000) && sizes.has(0x4000_0000));
        assert!(!sizes.has(0x2000) && !sizes.has(0x20_1000) && !sizes.has(0));
    }

    #[test]
    fn rights_say_which_way() {
        let ways = |access: Access| (access.reads(), access.writes());
        assert_eq!(ways(Access::Read), (true, false));
        assert_eq!(ways(Access::Write), (false, true));
        assert_eq!(ways(Access::ReadWrite), (true, true));
        assert_eq!(Iova(0x1f).to_string(), "0x1f");
    }
}
