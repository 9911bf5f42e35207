//! Many ranges of addresses, of which no two overlap.

use crate::address::{Iova, IovaRange};

/// A row that has so many is cut in two.
const MOST: usize = 32;

/// The ranges, by their addresses, in rows that follow each other. No row is empty.
///
/// To find one is two binary searches, in memory that is together. What was found or added last is found at once: whoever
/// begins to change one comes back to say how that ended.
#[derive(Debug)]
pub(super) struct Rows<T> {
    /// Where the first range of each row begins.
    firsts: Vec<u64>,
    rows: Vec<Vec<Entry<T>>>,
    len: usize,
    /// Where one was found or added last; whatever is there now.
    last: Place,
}

#[derive(Debug)]
struct Entry<T> {
    range: IovaRange,
    what: T,
}

/// Where an entry is: the row, and the place in it.
type Place = (usize, usize);

impl<T> Default for Rows<T> {
    fn default() -> Self {
        Self {
            firsts: Vec::new(),
            rows: Vec::new(),
            len: 0,
            last: (0, 0),
        }
    }
}

impl<T> Rows<T> {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// One that overlaps `range`.
    pub(super) fn overlapping(&self, range: IovaRange) -> Option<IovaRange> {
        let found = self.entry(self.last_until(range.last())?)?.range;
        found.overlaps(range).then_some(found)
    }

    /// Adds one, unless it overlaps another: answers that.
    #[inline]
    pub(super) fn insert(&mut self, range: IovaRange, what: T) -> Result<(), IovaRange> {
        let before = self.last_until(range.last());
        let place = match before {
            None => (0, 0),
            Some((row, at)) => match self.entry((row, at)) {
                Some(entry) if entry.range.overlaps(range) => return Err(entry.range),
                _ => (row, at + 1),
            },
        };
        self.put(place, Entry { range, what });
        Ok(())
    }

    #[inline]
    fn put(&mut self, (number, at): Place, entry: Entry<T>) {
        let first = entry.range.first();
        self.len += 1;
        self.last = (number, at);
        let Some(row) = self.rows.get_mut(number) else {
            self.firsts.push(first.0);
            self.rows.push(vec![entry]);
            return;
        };
        row.insert(at, entry);
        if at == 0 {
            set(&mut self.firsts, number, first);
        }
        if row.len() > MOST {
            self.cut(number);
        }
    }

    #[cold]
    fn cut(&mut self, number: usize) {
        let Some(row) = self.rows.get_mut(number) else {
            return;
        };
        let behind = row.split_off(row.len() / 2);
        if let Some(entry) = behind.first() {
            self.firsts.insert(number + 1, entry.range.first().0);
            self.rows.insert(number + 1, behind);
        }
    }

    /// Takes the very range out.
    #[inline]
    pub(super) fn remove(&mut self, range: IovaRange) -> Option<T> {
        let (number, at) = self.place(range)?;
        let row = self.rows.get_mut(number)?;
        let removed = row.remove(at);
        self.len -= 1;
        if at == 0 {
            self.learn_first(number);
        }
        Some(removed.what)
    }

    /// The first entry of a row has gone.
    #[cold]
    fn learn_first(&mut self, number: usize) {
        match self.entry((number, 0)).map(|entry| entry.range.first()) {
            Some(first) => set(&mut self.firsts, number, first),
            None => {
                self.rows.remove(number);
                self.firsts.remove(number);
            }
        }
    }

    /// What is known of the very range.
    #[inline]
    pub(super) fn get_mut(&mut self, range: IovaRange) -> Option<&mut T> {
        let (row, at) = self.place(range)?;
        self.last = (row, at);
        let entry = self.rows.get_mut(row)?.get_mut(at)?;
        Some(&mut entry.what)
    }

    /// The first one that begins behind an address.
    pub(super) fn next(&self, after: Iova) -> Option<IovaRange> {
        let (row, at) = match self.last_until(after) {
            Some((row, at)) => (row, at + 1),
            None => (0, 0),
        };
        let here = self.rows.get(row)?.get(at);
        let found = here.or_else(|| self.rows.get(row + 1)?.first())?;
        Some(found.range)
    }

    /// Those that start inside `range`, the lowest first.
    pub(super) fn starting_in(
        &mut self,
        range: IovaRange,
    ) -> impl Iterator<Item = (IovaRange, &mut T)> {
        let (first, last) = (range.first(), range.last());
        let row = self.firsts.partition_point(|start| *start <= first.0);
        let rows = self.rows.iter_mut().skip(row.saturating_sub(1));
        let entries = rows.flatten();
        let inside = entries.skip_while(move |entry| entry.range.first() < first);
        let inside = inside.take_while(move |entry| entry.range.first() <= last);
        inside.map(|entry| (entry.range, &mut entry.what))
    }

    /// Where the last one is that begins at an address or before it.
    #[inline]
    fn last_until(&self, address: Iova) -> Option<Place> {
        let rows = self.firsts.partition_point(|first| *first <= address.0);
        let row = rows.checked_sub(1)?;
        let entries = self.rows.get(row)?;
        let until = entries.partition_point(|entry| entry.range.first() <= address);
        Some((row, until.checked_sub(1)?))
    }

    /// Where the very range is.
    #[inline]
    fn place(&self, range: IovaRange) -> Option<Place> {
        match self.entry(self.last) {
            Some(entry) if entry.range == range => Some(self.last),
            _ => self.find(range),
        }
    }

    fn find(&self, range: IovaRange) -> Option<Place> {
        let place = self.last_until(range.first())?;
        (self.entry(place)?.range == range).then_some(place)
    }

    #[inline]
    fn entry(&self, (row, at): Place) -> Option<&Entry<T>> {
        self.rows.get(row)?.get(at)
    }
}

fn set(firsts: &mut [u64], row: usize, first: Iova) {
    if let Some(place) = firsts.get_mut(row) {
        *place = first.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(n: u64) -> IovaRange {
        IovaRange::new(Iova(n * 0x1000), 0x1000).unwrap()
    }

    /// A number that no other in a row of so many is.
    fn scattered(n: u64, count: u64) -> u64 {
        n * 7919 % count
    }

    #[test]
    fn rows_are_cut_and_go() {
        const COUNT: u64 = 1000;
        let mut it = Rows::default();
        for n in (0..COUNT).map(|n| scattered(n, COUNT)) {
            assert_eq!(it.overlapping(page(2 * n)), None);
            assert_eq!(it.insert(page(2 * n), n), Ok(()));
            assert_eq!(it.get_mut(page(2 * n)), Some(&mut n.clone()));
        }
        assert_eq!(it.len(), 1000);
        assert!(it.rows.len() > 7, "{} rows", it.rows.len());
        assert!(it.rows.iter().all(|row| (1..=MOST).contains(&row.len())));
        for n in 0..COUNT {
            assert_eq!(it.overlapping(page(2 * n)), Some(page(2 * n)));
            assert_eq!(it.insert(page(2 * n), n), Err(page(2 * n)));
            assert_eq!(it.overlapping(page(2 * n + 1)), None);
            assert_eq!(it.get_mut(page(2 * n)), Some(&mut n.clone()));
            assert_eq!(it.get_mut(page(2 * n + 1)), None);
            let next = (n + 1 < COUNT).then(|| page(2 * n + 2));
            assert_eq!(it.next(page(2 * n).first()), next);
        }
        for n in (0..COUNT).map(|n| scattered(n, COUNT)) {
            assert_eq!(it.remove(page(2 * n)), Some(n));
            assert_eq!(it.remove(page(2 * n)), None);
            assert_eq!(it.overlapping(page(2 * n)), None);
        }
        assert_eq!((it.len(), it.rows.len(), it.firsts.len()), (0, 0, 0));
    }

    #[test]
    fn what_is_where_another_was_found_last_is_not_taken_for_it() {
        let mut it = Rows::default();
        for n in [4, 2, 6] {
            it.insert(page(n), n).unwrap();
        }
        assert_eq!(it.get_mut(page(2)), Some(&mut 2));
        assert_eq!(it.remove(page(2)), Some(2));
        assert_eq!(it.get_mut(page(2)), None);
        assert_eq!(it.get_mut(page(4)), Some(&mut 4));
        it.insert(page(3), 3).unwrap();
        assert_eq!(it.get_mut(page(4)), Some(&mut 4));
        assert_eq!(it.remove(page(6)), Some(6));
    }

    #[test]
    fn those_inside_are_found_in_all_rows() {
        let mut it = Rows::default();
        for n in (0..500).map(|n| scattered(n, 500)) {
            it.insert(page(n), n).unwrap();
        }
        let mut found = |first, last| {
            let within = IovaRange::inclusive(Iova(first), Iova(last)).unwrap();
            let found = it.starting_in(within);
            found.map(|(_, n)| *n).collect::<Vec<_>>()
        };
        assert_eq!(found(0x4800, 0x6000), [5, 6]);
        assert!(found(0x3000, u64::MAX).into_iter().eq(3..500));
        assert!(found(0, 0x12_3fff).into_iter().eq(0..0x124));
        assert_eq!(found(0x1f_4000, u64::MAX), [0; 0]);
    }
}
