//! What is mapped where: the part of the contract that is the same on every platform.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use crate::address::{Iova, IovaRange};

/// Ranges by their first address; no two overlap.
#[derive(Debug, Default)]
struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    /// One that overlaps `range`: of those, the last.
    fn overlapping(&self, range: IovaRange) -> Option<IovaRange> {
        let (&first, &last) = self.0.range(..=range.last().0).next_back()?;
        IovaRange::inclusive(Iova(first), Iova(last)).filter(|found| found.overlaps(range))
    }

    fn insert(&mut self, range: IovaRange) {
        self.0.insert(range.first().0, range.last().0);
    }

    fn remove(&mut self, range: IovaRange) {
        self.0.remove(&range.first().0);
    }

    fn starting_in(&self, firsts: RangeInclusive<u64>) -> impl Iterator<Item = IovaRange> {
        self.0
            .range(firsts)
            .filter_map(|(&first, &last)| IovaRange::inclusive(Iova(first), Iova(last)))
    }
}

/// The live mappings and the reserved addresses of one domain.
#[derive(Debug, Default)]
pub(super) struct Books {
    /// Mapped, or being mapped or unmapped at this moment.
    mapped: Ranges,
    /// Mappings that a call is changing at this moment.
    changing: Ranges,
    reserved: Ranges,
}

/// Why a range cannot be unmapped.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unmappable {
    /// A mapping is only partly inside.
    Bisects(IovaRange),
    /// Another thread is mapping or unmapping it.
    Changing(IovaRange),
}

impl Books {
    /// Takes a range for a mapping that is about to be made; answers the mapping in the way.
    pub(super) fn begin_map(&mut self, range: IovaRange) -> Result<(), IovaRange> {
        if let Some(other) = self.mapped.overlapping(range) {
            return Err(other);
        }
        self.mapped.insert(range);
        self.changing.insert(range);
        Ok(())
    }

    /// Takes the whole mappings inside a range that are about to be unmapped.
    pub(super) fn begin_unmap(&mut self, range: IovaRange) -> Result<Vec<IovaRange>, Unmappable> {
        let edges = [range.first(), range.last()];
        for edge in edges.into_iter().filter_map(|at| IovaRange::new(at, 1)) {
            if let Some(mapping) = self.mapped.overlapping(edge) {
                if !range.contains(mapping) {
                    return Err(Unmappable::Bisects(mapping));
                }
            }
        }
        if let Some(busy) = self.changing.overlapping(range) {
            return Err(Unmappable::Changing(busy));
        }
        let inside: Vec<_> = self
            .mapped
            .starting_in(range.first().0..=range.last().0)
            .collect();
        for &mapping in &inside {
            self.changing.insert(mapping);
        }
        Ok(inside)
    }

    /// The change of one range is over: it is mapped now, or it is not.
    pub(super) fn finish(&mut self, range: IovaRange, mapped: bool) {
        self.changing.remove(range);
        if !mapped {
            self.mapped.remove(range);
        }
    }

    /// Reserves `size` bytes at the lowest free place inside `within` that is aligned to `align`, a power
    /// of two. Address 0 is never given out: to many devices it means "no buffer".
    pub(super) fn reserve(
        &mut self,
        within: IovaRange,
        size: u64,
        align: u64,
    ) -> Option<IovaRange> {
        let mut start = within.first().0.max(1).checked_next_multiple_of(align)?;
        let range = loop {
            let range = IovaRange::new(Iova(start), size).filter(|&r| within.contains(r))?;
            match self.in_use(range) {
                None => break range,
                Some(taken) => {
                    start = taken
                        .last()
                        .0
                        .checked_add(1)?
                        .checked_next_multiple_of(align)?;
                }
            }
        };
        self.reserved.insert(range);
        Some(range)
    }

    /// A mapping or reservation that overlaps `range`.
    pub(super) fn in_use(&self, range: IovaRange) -> Option<IovaRange> {
        [&self.mapped, &self.reserved]
            .into_iter()
            .find_map(|taken| taken.overlapping(range))
    }

    pub(super) fn unreserve(&mut self, range: IovaRange) {
        self.reserved.remove(range);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: u64, last: u64) -> IovaRange {
        IovaRange::inclusive(Iova(first), Iova(last)).unwrap()
    }

    fn mapped(books: &mut Books, first: u64, last: u64) {
        books.begin_map(range(first, last)).unwrap();
        books.finish(range(first, last), true);
    }

    #[test]
    fn an_overlap_is_refused_and_named() {
        let mut books = Books::default();
        mapped(&mut books, 0x2000, 0x3fff);
        for (first, last) in [
            (0x1000, 0x2000),
            (0x3fff, 0x5000),
            (0, 0x9000),
            (0x2800, 0x2fff),
        ] {
            assert_eq!(
                books.begin_map(range(first, last)),
                Err(range(0x2000, 0x3fff))
            );
        }
        mapped(&mut books, 0x1000, 0x1fff);
        mapped(&mut books, 0x4000, 0x4fff);
    }

    #[test]
    fn an_unmap_takes_whole_mappings_or_none() {
        let mut books = Books::default();
        mapped(&mut books, 0x1000, 0x1fff);
        mapped(&mut books, 0x4000, 0x5fff);
        for bisecting in [
            range(0x1000, 0x17ff),
            range(0, 0x4fff),
            range(0x4800, 0x4fff),
        ] {
            assert!(matches!(
                books.begin_unmap(bisecting),
                Err(Unmappable::Bisects(_))
            ));
        }
        let all = books.begin_unmap(range(0, u64::MAX)).unwrap();
        assert_eq!(all, [range(0x1000, 0x1fff), range(0x4000, 0x5fff)]);
        assert!(matches!(
            books.begin_unmap(range(0, u64::MAX)),
            Err(Unmappable::Changing(_))
        ));
        books.finish(all[0], true);
        books.finish(all[1], false);
        assert_eq!(books.begin_unmap(range(0, u64::MAX)).unwrap(), [all[0]]);
    }

    #[test]
    fn a_reservation_avoids_mappings_reservations_and_address_zero() {
        let mut books = Books::default();
        mapped(&mut books, 0x2000, 0x2fff);
        let within = range(0, 0x5fff);
        let mut places = Vec::new();
        while let Some(place) = books.reserve(within, 0x1000, 0x1000) {
            places.push(place.first().0);
        }
        assert_eq!(places, [0x1000, 0x3000, 0x4000, 0x5000]);
        books.unreserve(range(0x4000, 0x4fff));
        assert_eq!(
            books.reserve(range(0x1000, 0x5fff), 0x800, 0x800),
            Some(range(0x4000, 0x47ff))
        );
        assert_eq!(
            books.reserve(range(u64::MAX - 0xfff, u64::MAX), 0x2000, 0x1000),
            None
        );
    }
}
