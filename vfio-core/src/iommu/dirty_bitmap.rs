//! Which pages of a range are dirty.

use std::fmt;

use crate::address::{Iova, IovaRange};
use crate::error::{Error, ErrorKind, Result};

/// Pages of a word.
const WORD: u64 = u64::BITS as u64;

/// So many words are looked at together: most are 0, and then what they would be merged into is not touched.
const BLOCK: usize = 32;

/// A bit for each page of a range of addresses: whether a device may have written it.
///
/// Its memory is a bit for each page, also of those where nothing is mapped (32 MiB for 1 TiB in pages of 4 KiB):
/// memory with a large hole in it has a bitmap on each side of the hole.
///
/// ```
/// use vfio_core::address::{Iova, IovaRange};
/// use vfio_core::iommu::DirtyBitmap;
///
/// let range = |first, last| IovaRange::inclusive(Iova(first), Iova(last)).unwrap();
/// let mut guest = DirtyBitmap::new(range(0, 0xf_ffff), 4096)?;
/// let mut device = DirtyBitmap::new(range(0x8000, 0xbfff), 4096)?;
/// device.mark(range(0x9004, 0xa003));
///
/// guest.merge(&device)?;
/// assert!(guest.is_dirty(Iova(0x9000)));
/// assert_eq!(guest.dirty_ranges().collect::<Vec<_>>(), [range(0x9000, 0xafff)]);
/// # Ok::<(), vfio_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct DirtyBitmap {
    range: IovaRange,
    page_size: u64,
    /// Bit n % 64 of word n / 64 is page n of the range; the bits behind the last page are 0.
    words: Vec<u64>,
}

impl DirtyBitmap {
    /// One in which no page is dirty.
    ///
    /// `page_size`, in bytes, is a power of two, and `range` is whole pages.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: it is not so. [`ErrorKind::Exhausted`]: there is no memory for so many bits.
    pub fn new(range: IovaRange, page_size: u64) -> Result<Self> {
        let (first, last) = (range.first().0, range.last().0);
        if !page_size.is_power_of_two() || (first | last.wrapping_add(1)) % page_size != 0 {
            let why = format!("{range} is not whole pages of {page_size:#x} bytes");
            return Err(Error::new(ErrorKind::Invalid, "make", "a dirty bitmap").because(why));
        }
        let pages = ((last - first) / page_size).saturating_add(1);
        let mut words = Vec::new();
        fill_with_zeros(&mut words, pages.div_ceil(WORD)).map_err(|error| error.at(range))?;
        Ok(Self {
            range,
            page_size,
            words,
        })
    }

    /// The addresses of its pages.
    pub fn range(&self) -> IovaRange {
        self.range
    }

    /// The size of a page, in bytes.
    pub fn page_size(&self) -> u64 {
        self.page_size
    }

    /// The bits: that of page n of the range is bit n % 64 of word n / 64. Those behind the last page are 0.
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// Whether the page of an address is dirty; outside of the range none is.
    pub fn is_dirty(&self, at: Iova) -> bool {
        let page = IovaRange::new(at, 1).and_then(|at| self.pages_of(at));
        page.is_some_and(|(page, _)| {
            let word = self.words.get(index(page));
            word.is_some_and(|word| word >> (page % WORD) & 1 != 0)
        })
    }

    /// How many pages are dirty.
    pub fn count(&self) -> u64 {
        self.words.iter().map(|it| u64::from(it.count_ones())).sum()
    }

    /// No page is dirty any more.
    pub fn clear(&mut self) {
        self.words.fill(0);
    }

    /// Every page that has an address in `range` is dirty. Pages outside of the bitmap are none of its business.
    pub fn mark(&mut self, range: IovaRange) {
        let Some((first, last)) = self.pages_of(range) else {
            return;
        };
        let words = first / WORD..=last / WORD;
        for (word, n) in self.words.iter_mut().skip(index(first)).zip(words) {
            *word |= bits(n, first, last);
        }
    }

    /// What is dirty in `other` is dirty here, where it is in both ranges.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: its pages are of another size.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        if other.page_size != self.page_size {
            let why = format!("its pages have {:#x} bytes", other.page_size);
            return Err(self.not_merged(other.range.first(), why));
        }
        self.merge_words(other.range.first(), &other.words)
    }

    /// What is dirty in a bitmap of somebody else's, with pages of this size, is dirty here, where it is in the range.
    /// Bit n % 64 of word n / 64 is the n-th page from `first` on; as KVM and VFIO write it.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: `first` is not the first address of a page.
    pub fn merge_words(&mut self, first: Iova, words: &[u64]) -> Result<()> {
        if first.0 % self.page_size != 0 {
            let why = format!("pages have {:#x} bytes", self.page_size);
            return Err(self.not_merged(first, why));
        }
        let (theirs, ours) = (
            first.0 / self.page_size,
            self.range.first().0 / self.page_size,
        );
        match theirs.checked_sub(ours) {
            Some(ahead) => {
                let into = self.words.get_mut(index(ahead)..).unwrap_or_default();
                merge(into, words, ahead % WORD, 0);
            }
            None => {
                let behind = ours - theirs;
                let words = words.get(index(behind)..).unwrap_or_default();
                match (behind % WORD, words.split_first()) {
                    (0, _) => merge(&mut self.words, words, 0, 0),
                    (cut, Some((&cut_word, words))) => {
                        merge(&mut self.words, words, WORD - cut, cut_word);
                    }
                    (_, None) => {}
                }
            }
        }
        let behind_the_last = (WORD - self.pages() % WORD) % WORD;
        if let Some(last) = self.words.last_mut() {
            *last &= u64::MAX >> behind_the_last;
        }
        Ok(())
    }

    /// The dirty pages, the lowest first, those that follow each other in one range.
    pub fn dirty_ranges(&self) -> impl Iterator<Item = IovaRange> {
        let mut page = 0;
        std::iter::from_fn(move || {
            let first = self.find(page, 0)?;
            page = self.find(first, u64::MAX).unwrap_or(self.pages());
            let start = self.range.first().0 + first * self.page_size;
            IovaRange::new(Iova(start), (page - first) * self.page_size)
        })
    }

    fn pages(&self) -> u64 {
        (self.range.last().0 - self.range.first().0) / self.page_size + 1
    }

    /// The first and the last page that have an address in `range`.
    fn pages_of(&self, range: IovaRange) -> Option<(u64, u64)> {
        let range = self.range.intersection(range)?;
        let page = |at: Iova| (at.0 - self.range.first().0) / self.page_size;
        Some((page(range.first()), page(range.last())))
    }

    /// The first page from this one on whose bit is set: in the words as they are if `flipped` is 0, with every bit
    /// flipped if it is all ones.
    fn find(&self, page: u64, flipped: u64) -> Option<u64> {
        let at = index(page);
        let (first, others) = self.words.get(at..)?.split_first()?;
        let (at, bits) = match (first ^ flipped) & (u64::MAX << (page % WORD)) {
            0 => {
                let more = others.iter().position(|&word| word != flipped)?;
                (at + 1 + more, others.get(more)? ^ flipped)
            }
            bits => (at, bits),
        };
        Some(at as u64 * WORD + u64::from(bits.trailing_zeros()))
    }

    #[cold]
    fn not_merged(&self, first: Iova, why: String) -> Error {
        let object = format!("the bitmap from {first} on into that of {}", self.range);
        Error::new(ErrorKind::Invalid, "merge", object).because(why)
    }
}

impl fmt::Debug for DirtyBitmap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DirtyBitmap({}, {} dirty)", self.range, self.count())
    }
}

/// The word that has the bit of a page.
fn index(page: u64) -> usize {
    usize::try_from(page / WORD).unwrap_or(usize::MAX)
}

/// Clears the bits of pages from one to before another.
pub(super) fn clear(words: &mut [u64], from: u64, to: u64) {
    let Some(last) = to.checked_sub(1).filter(|last| from <= *last) else {
        return;
    };
    for (word, n) in words
        .iter_mut()
        .skip(index(from))
        .zip(from / WORD..=last / WORD)
    {
        *word &= !bits(n, from, last);
    }
}

/// The bits of the n-th word that are of the pages from `first` to `last`, of which it has some.
fn bits(n: u64, first: u64, last: u64) -> u64 {
    let from = first.saturating_sub(n * WORD);
    let behind = (n * WORD + (WORD - 1)).saturating_sub(last);
    (u64::MAX << from) & (u64::MAX >> behind)
}

/// Makes it so many words, all 0.
pub(super) fn fill_with_zeros(words: &mut Vec<u64>, len: u64) -> Result<()> {
    words.clear();
    let wanted = usize::try_from(len).unwrap_or(usize::MAX);
    words.try_reserve_exact(wanted).map_err(|_| {
        let object = format!("a dirty bitmap of {len:#x} words");
        Error::new(ErrorKind::Exhausted, "allocate", object)
    })?;
    words.resize(wanted, 0);
    Ok(())
}

/// Adds the bits of `words` to `into`, each `shift` bits further on, below 64; behind the highest bits of `before`,
/// which this shifts in. What does not fit is left out.
fn merge(into: &mut [u64], words: &[u64], shift: u64, mut before: u64) {
    let shifted_in = |before: u64| before >> 1 >> (WORD - 1 - shift);
    let mut merge_block = |into: &mut [u64], words: &[u64]| {
        if words.iter().fold(before, |all, word| all | word) != 0 {
            for (into, &word) in into.iter_mut().zip(words) {
                let bits = word << shift | shifted_in(before);
                if bits != 0 {
                    *into |= bits;
                }
                before = word;
            }
        }
    };
    let len = words.len().min(into.len());
    let blocks = len - len % BLOCK;
    let (words, last_words) = words.split_at(len).0.split_at(blocks);
    let (into, behind) = into.split_at_mut(len);
    let (into, last_into) = into.split_at_mut(blocks);
    let words = words.chunks_exact(BLOCK);
    for (into, words) in into.chunks_exact_mut(BLOCK).zip(words) {
        merge_block(into, words);
    }
    merge_block(last_into, last_words);
    if let Some(into) = behind.first_mut() {
        *into |= shifted_in(before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::{btree_set, vec};
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const PAGE: u64 = 4096;

    fn pages(first: u64, count: u64) -> IovaRange {
        IovaRange::new(Iova(first * PAGE), count * PAGE).unwrap()
    }

    fn bitmap(first: u64, count: u64) -> DirtyBitmap {
        DirtyBitmap::new(pages(first, count), PAGE).unwrap()
    }

    /// The numbers of the dirty pages, asked for one by one.
    fn dirty(bitmap: &DirtyBitmap) -> BTreeSet<u64> {
        let pages = bitmap.range().first().0 / PAGE..=bitmap.range().last().0 / PAGE;
        pages
            .filter(|page| bitmap.is_dirty(Iova(page * PAGE + page % PAGE)))
            .collect()
    }

    /// What the bits of words say, one by one.
    fn said(first: u64, words: &[u64]) -> impl Iterator<Item = u64> {
        let bits = words
            .iter()
            .flat_map(|word| (0..WORD).map(move |bit| word >> bit & 1));
        (first..)
            .zip(bits)
            .filter(|(_, bit)| *bit == 1)
            .map(|(page, _)| page)
    }

    #[test]
    fn what_is_not_whole_pages_has_no_bitmap() {
        let range = |first, last| IovaRange::inclusive(Iova(first), Iova(last)).unwrap();
        for (range, page_size) in [
            (range(0, 0xffe), PAGE),
            (range(1, 0xfff), PAGE),
            (range(0, 0x1000), PAGE),
            (range(0, 0xffff), 3),
            (range(0, 0xffff), 0),
        ] {
            let error = DirtyBitmap::new(range, page_size).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{range} of {page_size}");
        }
        for page_size in [1, PAGE] {
            let error = DirtyBitmap::new(range(0, u64::MAX), page_size).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Exhausted);
        }
    }

    #[test]
    fn the_last_page_of_all_has_its_bit() {
        let last = u64::MAX / PAGE;
        let top = IovaRange::inclusive(Iova((last - 2) * PAGE), Iova(u64::MAX)).unwrap();
        let mut bitmap = DirtyBitmap::new(top, PAGE).unwrap();
        bitmap
            .merge_words(Iova(last * PAGE), &[u64::MAX, 1])
            .unwrap();
        let only = IovaRange::inclusive(Iova(last * PAGE), Iova(u64::MAX)).unwrap();
        assert_eq!(bitmap.dirty_ranges().collect::<Vec<_>>(), [only]);
        assert!(bitmap.is_dirty(Iova(u64::MAX)));
    }

    #[test]
    fn pages_of_another_size_are_not_merged() {
        let mut bitmap = bitmap(0, 64);
        let other = DirtyBitmap::new(pages(0, 64), 2 * PAGE).unwrap();
        let error = bitmap.merge(&other).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let error = bitmap.merge_words(Iova(PAGE / 2), &[1]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert_eq!(bitmap.count(), 0);
    }

    #[test]
    fn a_bitmap_is_shown_in_a_line() {
        let mut bitmap = bitmap(1, 2);
        bitmap.mark(pages(0, 2));
        assert_eq!(
            format!("{bitmap:?}"),
            "DirtyBitmap([0x1000-0x2fff], 1 dirty)"
        );
    }

    /// A word as bitmaps have them: most are empty, some are full.
    fn any_word() -> impl Strategy<Value = u64> {
        prop_oneof![6 => Just(0), 1 => Just(u64::MAX), 3 => any::<u64>()]
    }

    proptest! {
        #[test]
        fn words_are_merged_as_bit_by_bit(
            (first, count) in (0..300u64, 1..6000u64),
            (others_first, words) in (0..6000u64, vec(any_word(), 0..100)),
            before in btree_set(0..6300u64, 0..20),
        ) {
            let mut bitmap = bitmap(first, count);
            for &page in &before {
                bitmap.mark(pages(page, 1));
            }
            bitmap.merge_words(Iova(others_first * PAGE), &words).unwrap();
            let all = before.into_iter().chain(said(others_first, &words));
            let expected: BTreeSet<_> = all.filter(|page| (first..first + count).contains(page)).collect();
            prop_assert_eq!(&dirty(&bitmap), &expected);
            prop_assert_eq!(bitmap.count(), expected.len() as u64);
            let own: Vec<_> = said(first, bitmap.words()).collect();
            prop_assert_eq!(own, expected.into_iter().collect::<Vec<_>>(), "the bits behind the last page are 0");
        }

        #[test]
        fn a_bitmap_is_merged_where_both_are(
            ours in (0..300u64, 1..300u64),
            theirs in (0..300u64, 1..300u64),
            marks in vec((0..600u64, 1..200u64), 0..4),
        ) {
            let mut merged = bitmap(ours.0, ours.1);
            let mut other = bitmap(theirs.0, theirs.1);
            for &(first, count) in &marks {
                other.mark(pages(first, count));
            }
            merged.merge(&other).unwrap();
            let in_ours = |page: &u64| (ours.0..ours.0 + ours.1).contains(page);
            let expected: BTreeSet<_> = dirty(&other).into_iter().filter(in_ours).collect();
            prop_assert_eq!(dirty(&merged), expected);
        }

        #[test]
        fn ranges_are_marked_found_and_cleared(
            (first, count) in (0..300u64, 1..600u64),
            marks in vec((0..1000u64, 1..200u64), 0..6),
        ) {
            let mut bitmap = bitmap(first, count);
            let mut expected = BTreeSet::new();
            for (start, len) in marks {
                // From inside the first page to inside the last.
                let inside = IovaRange::inclusive(Iova(start * PAGE + 7), Iova((start + len) * PAGE - 9));
                bitmap.mark(inside.unwrap());
                expected.extend((start..start + len).filter(|page| (first..first + count).contains(page)));
            }
            prop_assert_eq!(&dirty(&bitmap), &expected);
            let ranges: Vec<_> = bitmap.dirty_ranges().collect();
            let apart = |pair: &[IovaRange]| pair[0].last().0 + 1 < pair[1].first().0;
            prop_assert!(ranges.windows(2).all(apart), "{:?}", ranges);
            let found = ranges.iter().flat_map(|range| range.first().0 / PAGE..=range.last().0 / PAGE);
            prop_assert_eq!(found.collect::<BTreeSet<_>>(), expected);
            bitmap.clear();
            prop_assert_eq!((bitmap.count(), bitmap.dirty_ranges().next()), (0, None));
        }
    }
}
