//! Pages of the host, and what of a range is whole pages.

use std::ops::Range;

/// The size of a page of the host, in bytes: a power of two.
///
/// It is the host's page and not the guest's that decides what can be mapped: both KVM and the kernel that maps a BAR give
/// whole ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PageSize(u64);

impl PageSize {
    /// Pages of so many bytes; `None` if that is no power of two.
    pub const fn new(bytes: u64) -> Option<Self> {
        if bytes.is_power_of_two() {
            Some(Self(bytes))
        } else {
            None
        }
    }

    /// How many bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// The start of the page that has this byte in it.
    pub(super) const fn down(self, at: u64) -> u64 {
        at & !(self.0 - 1)
    }

    /// The first start of a page that is not before this byte; `None` behind the last one that 64 bits can say.
    pub(super) const fn up(self, at: u64) -> Option<u64> {
        at.checked_next_multiple_of(self.0)
    }

    /// The whole pages in a range, which may be none.
    pub(super) fn inside(self, range: &Range<u64>) -> Range<u64> {
        self.up(range.start).unwrap_or(u64::MAX)..self.down(range.end)
    }

    /// The pages that a range has a byte in.
    pub(super) fn around(self, range: &Range<u64>) -> Range<u64> {
        match range.is_empty() {
            true => 0..0,
            false => self.down(range.start)..self.up(range.end).unwrap_or(u64::MAX),
        }
    }
}

/// Whether two ranges have something in common.
pub(crate) fn overlap<T: PartialOrd>(one: &Range<T>, other: &Range<T>) -> bool {
    one.start < other.end && other.start < one.end
}

/// What is left of a range before and after another one.
pub(super) fn without(range: Range<u64>, other: &Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let parts = match other.is_empty() {
        true => [range, 0..0],
        false => [
            range.start..range.end.min(other.start),
            range.start.max(other.end)..range.end,
        ],
    };
    parts.into_iter().filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_inside_and_around() {
        let page = PageSize::new(0x1000).unwrap();
        assert_eq!(page.inside(&(1..0x2fff)), 0x1000..0x2000);
        assert!(page.inside(&(1..0x1fff)).is_empty());
        assert!(page.inside(&(u64::MAX - 1..u64::MAX)).is_empty());
        assert_eq!(page.around(&(0xfff..0x1001)), 0..0x2000);
        assert_eq!(page.around(&(5..5)), 0..0);
        assert_eq!(page.around(&(u64::MAX - 1..u64::MAX)).end, u64::MAX);
        assert_eq!(PageSize::new(0), None);
        assert_eq!(PageSize::new(0x3000), None);
    }

    #[test]
    fn what_is_taken_out_leaves_both_sides() {
        let left = |other| {
            let parts = without(2..8, &other);
            parts.map(|it| (it.start, it.end)).collect::<Vec<_>>()
        };
        assert_eq!(left(4..5), [(2, 4), (5, 8)]);
        assert_eq!(left(0..3), [(3, 8)]);
        assert_eq!(left(0..9), []);
        assert_eq!(left(8..9), [(2, 8)]);
        assert_eq!(left(5..5), [(2, 8)]);
    }
}
