//! Ranges of addresses, of which no two overlap, each with something to know of it.

use crate::address::{Iova, IovaRange};

use super::rows::Rows;

/// So many are kept where they cost least.
const FEW: usize = 8;

/// The ranges. What came last is likely to go first (a driver maps a buffer, uses it and unmaps it), so the few
/// newest stand in a row of their own, in no order; when it is full, they move to the others.
#[derive(Debug)]
pub(super) struct Ranges<T> {
    newest: Vec<(IovaRange, T)>,
    others: Rows<T>,
}

impl<T> Default for Ranges<T> {
    fn default() -> Self {
        Self {
            newest: Vec::new(),
            others: Rows::default(),
        }
    }
}

impl<T> Ranges<T> {
    /// One that overlaps `range`.
    #[inline]
    pub(super) fn overlapping(&self, range: IovaRange) -> Option<IovaRange> {
        for &(known, _) in &self.newest {
            if known.overlaps(range) {
                return Some(known);
            }
        }
        match self.others.len() {
            0 => None,
            _ => self.others.overlapping(range),
        }
    }

    /// The first one that begins behind an address.
    pub(super) fn next(&self, after: Iova) -> Option<IovaRange> {
        let newest = self.newest.iter().map(|(known, _)| *known);
        let newest = newest.filter(|known| known.first() > after);
        let other = self.others.next(after);
        newest.chain(other).min_by_key(|known| known.first())
    }

    pub(super) fn len(&self) -> usize {
        self.newest.len() + self.others.len()
    }

    /// Adds one that overlaps none.
    #[inline]
    pub(super) fn insert(&mut self, range: IovaRange, what: T) {
        if self.newest.len() == FEW {
            self.make_room();
        }
        self.newest.push((range, what));
    }

    #[cold]
    fn make_room(&mut self) {
        for (range, what) in self.newest.drain(..) {
            self.others.insert(range, what);
        }
    }

    /// Takes the very range out.
    #[inline]
    pub(super) fn remove(&mut self, range: IovaRange) {
        match self.newest.iter().rposition(|&(known, _)| known == range) {
            Some(at) => drop(self.newest.swap_remove(at)),
            None => self.remove_other(range),
        }
    }

    #[cold]
    #[inline(never)]
    fn remove_other(&mut self, range: IovaRange) {
        self.others.remove(range);
    }

    /// What is known of the very range, if it is one of the newest.
    #[inline]
    pub(super) fn newest_mut(&mut self, range: IovaRange) -> Option<&mut T> {
        let mut newest = self.newest.iter_mut().rev();
        newest
            .find(|(known, _)| *known == range)
            .map(|(_, what)| what)
    }

    /// What is known of the very range, if it is not: it is from now on, as what is changed now is soon taken out.
    #[cold]
    pub(super) fn bring(&mut self, range: IovaRange) -> Option<&mut T> {
        let what = self.others.remove(range)?;
        self.insert(range, what);
        self.newest_mut(range)
    }

    /// What is known of the very range.
    #[inline]
    pub(super) fn get_mut(&mut self, range: IovaRange) -> Option<&mut T> {
        let mut newest = self.newest.iter_mut().rev();
        match newest.find(|(known, _)| *known == range) {
            Some((_, what)) => Some(what),
            None => self.others.get_mut(range),
        }
    }

    /// Those that start inside `range`, the lowest first.
    pub(super) fn starting_in(&mut self, range: IovaRange) -> Vec<(IovaRange, &mut T)> {
        let starts_inside =
            |known: IovaRange| range.first() <= known.first() && known.first() <= range.last();
        let newest = self.newest.iter_mut();
        let newest = newest.map(|(known, what)| (*known, what));
        let others = self.others.starting_in(range);
        let mut found: Vec<_> = newest
            .filter(|&(known, _)| starts_inside(known))
            .chain(others)
            .collect();
        found.sort_unstable_by_key(|&(known, _)| known.first());
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: u64, last: u64) -> IovaRange {
        IovaRange::inclusive(Iova(first), Iova(last)).unwrap()
    }

    #[test]
    fn what_has_moved_on_is_found_as_before() {
        let mut ranges = Ranges::default();
        let page = |n: u64| range(n * 0x1000, n * 0x1000 + 0xfff);
        for n in [5, 1, 9, 3, 7, 2, 8, 4, 6, 10] {
            assert_eq!(ranges.overlapping(page(n)), None);
            ranges.insert(page(n), n);
        }
        assert_eq!(ranges.others.len(), FEW);
        for n in 1..=10 {
            assert_eq!(ranges.overlapping(page(n)), Some(page(n)));
            assert_eq!(ranges.get_mut(page(n)), Some(&mut n.clone()));
            assert_eq!(ranges.get_mut(range(n * 0x1000, n * 0x1000 + 1)), None);
        }
        for n in 1..10 {
            assert_eq!(ranges.next(page(n).first()), Some(page(n + 1)));
            assert_eq!(ranges.next(Iova(n * 0x1000 - 1)), Some(page(n)));
        }
        assert_eq!(ranges.next(page(10).first()), None);
        let found = |ranges: &mut Ranges<u64>, within| {
            let found = ranges.starting_in(within);
            found.iter().map(|(_, n)| **n).collect::<Vec<_>>()
        };
        assert_eq!(found(&mut ranges, range(0x4800, 0x6000)), [5, 6]);
        for n in [6, 5, 10] {
            ranges.remove(page(n));
            assert_eq!(ranges.overlapping(page(n)), None);
        }
        assert_eq!(ranges.next(page(4).first()), Some(page(7)));
        assert_eq!(
            found(&mut ranges, range(0, u64::MAX)),
            [1, 2, 3, 4, 7, 8, 9]
        );
    }
}
