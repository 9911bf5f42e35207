//! Ranges of addresses, of which no two overlap, each with something to know of it.

use std::collections::BTreeMap;

use crate::address::{Iova, IovaRange};

/// So many are kept where they cost least.
const FEW: usize = 8;

/// The ranges. What came last is likely to go first (a driver maps a buffer, uses it and unmaps it), so the few
/// newest stand in a row, and a row that is full moves into a tree.
#[derive(Debug)]
pub(super) struct Ranges<T> {
    newest: Vec<(IovaRange, T)>,
    /// By their first address: the last, and what is known.
    others: BTreeMap<u64, (u64, T)>,
}

impl<T> Default for Ranges<T> {
    fn default() -> Self {
        Self {
            newest: Vec::new(),
            others: BTreeMap::new(),
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
        if self.others.is_empty() {
            return None;
        }
        let (&first, &(last, _)) = self.others.range(..=range.last().0).next_back()?;
        inclusive(first, last).filter(|found| found.overlaps(range))
    }

    /// The lowest one that has an address at or above `at`.
    pub(super) fn next(&self, at: Iova) -> Option<IovaRange> {
        let newest = self.newest.iter().map(|(known, _)| *known);
        let before = self.others.range(..at.0).next_back();
        let from = self.others.range(at.0..).next();
        let others = before.into_iter().chain(from);
        let others = others.filter_map(|(&first, &(last, _))| inclusive(first, last));
        let known = newest.chain(others).filter(|known| known.last() >= at);
        known.min_by_key(|known| known.first())
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
            self.others.insert(range.first().0, (range.last().0, what));
        }
    }

    /// Takes the very range out.
    #[inline]
    pub(super) fn remove(&mut self, range: IovaRange) {
        match self.newest.iter().rposition(|&(known, _)| known == range) {
            Some(at) => drop(self.newest.swap_remove(at)),
            None => drop(self.others.remove(&range.first().0)),
        }
    }

    /// What is known of the very range.
    #[inline]
    pub(super) fn get_mut(&mut self, range: IovaRange) -> Option<&mut T> {
        let mut newest = self.newest.iter_mut().rev();
        if let Some((_, what)) = newest.find(|(known, _)| *known == range) {
            return Some(what);
        }
        let (last, what) = self.others.get_mut(&range.first().0)?;
        (*last == range.last().0).then_some(what)
    }

    /// Those that start inside `range`, the lowest first.
    pub(super) fn starting_in(&mut self, range: IovaRange) -> Vec<(IovaRange, &mut T)> {
        let starts_inside =
            |known: IovaRange| range.first() <= known.first() && known.first() <= range.last();
        let newest = self.newest.iter_mut();
        let newest = newest.map(|(known, what)| (*known, what));
        let others = self.others.range_mut(range.first().0..=range.last().0);
        let others =
            others.filter_map(|(&first, (last, what))| Some((inclusive(first, *last)?, what)));
        let mut found: Vec<_> = newest
            .filter(|&(known, _)| starts_inside(known))
            .chain(others)
            .collect();
        found.sort_unstable_by_key(|&(known, _)| known.first());
        found
    }
}

fn inclusive(first: u64, last: u64) -> Option<IovaRange> {
    IovaRange::inclusive(Iova(first), Iova(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: u64, last: u64) -> IovaRange {
        inclusive(first, last).unwrap()
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
        for n in 1..=10 {
            for at in [n * 0x1000 - 1, n * 0x1000 - 0x1000].map(Iova) {
                let expected = if n == 1 { 1 } else { n - 1 };
                assert_eq!(ranges.next(at), Some(page(expected)), "{at}");
            }
        }
        assert_eq!(ranges.next(Iova(0xb000)), None);
        let found = |ranges: &mut Ranges<u64>, within| {
            let found = ranges.starting_in(within);
            found.iter().map(|(_, n)| **n).collect::<Vec<_>>()
        };
        assert_eq!(found(&mut ranges, range(0x4800, 0x6000)), [5, 6]);
        for n in [6, 5, 10] {
            ranges.remove(page(n));
            assert_eq!(ranges.overlapping(page(n)), None);
        }
        assert_eq!(ranges.next(Iova(0x5800)), Some(page(7)));
        assert_eq!(
            found(&mut ranges, range(0, u64::MAX)),
            [1, 2, 3, 4, 7, 8, 9]
        );
    }
}
