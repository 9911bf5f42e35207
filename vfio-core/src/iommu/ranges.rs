//! Ranges of addresses that one is found among.

use crate::address::{Iova, IovaRange};

use super::rows::Rows;

/// So many are kept where they cost least.
const FEW: usize = 8;

/// Ranges of addresses, of which no two overlap, each with something to know of it: books of what is mapped.
///
/// A driver of a few buffers pays for a look at each, and a guest's own IOMMU with thousands for two searches: as long as
/// they are few they are in no order, and where there were more in rows, until all are gone.
///
/// ```
/// use vfio_core::address::{Iova, IovaRange};
/// use vfio_core::iommu::Ranges;
///
/// let range = IovaRange::new(Iova(0x1000), 0x2000).unwrap();
/// let inside = IovaRange::new(Iova(0x1000), 0x1000).unwrap();
/// let mut ranges = Ranges::default();
/// assert_eq!(ranges.insert(range, "a"), Ok(()));
/// assert_eq!(ranges.insert(inside, "b"), Err(range));
/// assert_eq!(ranges.overlapping(inside), Some(range));
/// ranges.remove(range);
/// assert_eq!(ranges.overlapping(inside), None);
/// ```
#[derive(Debug)]
pub struct Ranges<T> {
    few: Vec<(IovaRange, T)>,
    /// All of them, if there are any here.
    many: Rows<T>,
}

impl<T> Default for Ranges<T> {
    fn default() -> Self {
        Self {
            few: Vec::new(),
            many: Rows::default(),
        }
    }
}

impl<T> Ranges<T> {
    /// One that overlaps `range`.
    #[inline]
    pub fn overlapping(&self, range: IovaRange) -> Option<IovaRange> {
        match self.many.len() {
            0 => self.few_overlapping(range),
            _ => self.many.overlapping(range),
        }
    }

    #[inline]
    fn few_overlapping(&self, range: IovaRange) -> Option<IovaRange> {
        let mut few = self.few.iter();
        let found = few.find(|(known, _)| known.overlaps(range));
        found.map(|&(known, _)| known)
    }

    /// The first one that begins behind an address.
    pub fn next(&self, after: Iova) -> Option<IovaRange> {
        let few = self.few.iter().map(|(known, _)| *known);
        let few = few.filter(|known| known.first() > after);
        let many = self.many.next(after);
        few.chain(many).min_by_key(|known| known.first())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.few.len() + self.many.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds one.
    ///
    /// # Errors
    /// Another one, which it overlaps: it is not added.
    #[inline(always)] // the usual way to map
    pub fn insert(&mut self, range: IovaRange, what: T) -> Result<(), IovaRange> {
        if self.many.len() > 0 {
            return self.many.insert(range, what);
        }
        if let Some(other) = self.few_overlapping(range) {
            return Err(other);
        }
        if self.few.len() == FEW {
            return self.insert_last_of_few(range, what);
        }
        self.few.push((range, what));
        Ok(())
    }

    /// Adds one that overlaps none, with which they are too many for the place of few.
    #[cold]
    fn insert_last_of_few(&mut self, range: IovaRange, what: T) -> Result<(), IovaRange> {
        for (known, what) in self.few.drain(..) {
            self.many.insert(known, what)?;
        }
        self.many.insert(range, what)
    }

    /// Takes the very range out.
    #[inline]
    pub fn remove(&mut self, range: IovaRange) {
        if self.many.len() > 0 {
            self.many.remove(range);
            return;
        }
        let mut few = self.few.iter();
        if let Some(at) = few.rposition(|&(known, _)| known == range) {
            self.few.swap_remove(at);
        }
    }

    /// What is known of the very range.
    #[inline]
    pub fn get_mut(&mut self, range: IovaRange) -> Option<&mut T> {
        if self.many.len() > 0 {
            return self.many.get_mut(range);
        }
        let mut few = self.few.iter_mut().rev(); // the newest one is asked for most often
        let found = few.find(|(known, _)| *known == range);
        found.map(|(_, what)| what)
    }

    /// Those that start inside `range`, the lowest first.
    pub fn starting_in(&mut self, range: IovaRange) -> Vec<(IovaRange, &mut T)> {
        let starts_inside =
            |known: IovaRange| range.first() <= known.first() && known.first() <= range.last();
        let few = self.few.iter_mut();
        let few = few.map(|(known, what)| (*known, what));
        let mut found: Vec<_> = few.filter(|&(known, _)| starts_inside(known)).collect();
        found.sort_unstable_by_key(|&(known, _)| known.first());
        found.extend(self.many.starting_in(range));
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: u64, last: u64) -> IovaRange {
        IovaRange::inclusive(Iova(first), Iova(last)).unwrap()
    }

    fn page(n: u64) -> IovaRange {
        range(n * 0x1000, n * 0x1000 + 0xfff)
    }

    #[test]
    fn few_and_many_are_found_alike() {
        let mut ranges = Ranges::default();
        let all = [5, 1, 9, 3, 7, 2, 8, 4, 6, 10];
        for (count, n) in all.into_iter().enumerate() {
            assert_eq!(ranges.overlapping(page(n)), None);
            assert_eq!(ranges.insert(page(n), n), Ok(()));
            assert_eq!(ranges.insert(page(n), n), Err(page(n)));
            assert_eq!(
                (ranges.len(), ranges.many.len() > 0),
                (count + 1, count >= FEW)
            );
            for n in &all[..=count] {
                assert_eq!(ranges.overlapping(page(*n)), Some(page(*n)));
                assert_eq!(ranges.get_mut(page(*n)), Some(&mut n.clone()));
                assert_eq!(ranges.get_mut(range(n * 0x1000, n * 0x1000 + 1)), None);
            }
            let lowest = *all[..=count].iter().min().unwrap();
            assert_eq!(ranges.next(Iova(0)), Some(page(lowest)));
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
        for n in all {
            ranges.remove(page(n));
            assert_eq!(ranges.overlapping(page(n)), None);
        }
        assert_eq!((ranges.len(), ranges.next(Iova(0))), (0, None));
        for n in [3, 1, 2] {
            ranges.insert(page(n), n).unwrap();
        }
        assert_eq!(ranges.many.len(), 0);
        assert_eq!(found(&mut ranges, range(0, u64::MAX)), [1, 2, 3]);
        assert_eq!(found(&mut ranges, range(0x2000, 0x2fff)), [2]);
        ranges.remove(page(1));
        assert_eq!(found(&mut ranges, range(0, u64::MAX)), [2, 3]);
    }
}
