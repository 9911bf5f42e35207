//! What can be mapped, and what is: every check that needs no kernel.

use crate::address::{DmaMask, HostRange, Iova, IovaRange};
use crate::error::ErrorKind;

use super::backend::Aperture;
use super::books::Books;
use super::origin::Origin;

/// The apertures of a domain, and its books.
#[derive(Debug)]
pub(super) struct Ledger {
    /// The lowest first; their page sizes are powers of two.
    pub(super) apertures: Vec<Aperture>,
    /// How many mappings there can be, where the kernel counts them.
    most_mappings: Option<u64>,
    pub(super) books: Books,
}

/// Why a range is refused. What there is to say of it is said later, outside of the usual way.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Sizes,
    Outside,
    /// For pages of so many bytes.
    Misaligned(u64),
    Taken(IovaRange),
}

impl Ledger {
    pub(super) fn new(apertures: Vec<Aperture>, mappings_left: Option<u32>) -> Self {
        Self {
            apertures,
            most_mappings: mappings_left.map(u64::from),
            books: Books::default(),
        }
    }

    /// How many mappings can still be made.
    pub(super) fn mappings_left(&self) -> Option<u64> {
        Some(self.most_mappings?.saturating_sub(self.books.count()))
    }

    /// Checks a mapping that is about to be made, and takes its place in the books.
    #[inline]
    pub(super) fn begin_map(
        &mut self,
        iova: IovaRange,
        memory: HostRange,
        origin: Option<Origin>,
    ) -> Result<(), Refusal> {
        self.check(iova, memory)?;
        self.books.begin_map(iova, origin).map_err(Refusal::Taken)
    }

    /// Checks a mapping whose memory is about to have a new address, and takes its place in the books; answers whether it
    /// was there already.
    pub(super) fn begin_renew(
        &mut self,
        iova: IovaRange,
        memory: HostRange,
    ) -> Result<bool, Refusal> {
        self.check(iova, memory)?;
        self.books.begin_renew(iova).map_err(Refusal::Taken)
    }

    /// That is over. A mapping that was not known before is one that the kernel had not counted among those left.
    pub(super) fn finish_renew(&mut self, iova: IovaRange, is_known: bool, is_renewed: bool) {
        if let Some(most) = self
            .most_mappings
            .as_mut()
            .filter(|_| is_renewed && !is_known)
        {
            *most = most.saturating_add(1);
        }
        self.books.finish(iova, is_known || is_renewed);
    }

    /// Checks a mapping, but for what is there already.
    #[inline(always)] // the usual way to map
    pub(super) fn check(&self, iova: IovaRange, memory: HostRange) -> Result<(), Refusal> {
        if iova.size() != memory.len() as u64 {
            return Err(Refusal::Sizes);
        }
        let page_size = self.aperture_of(iova)?.page_size;
        let part_of_page = page_size.wrapping_sub(1);
        match (iova.first().0 | iova.size() | memory.addr() as u64) & part_of_page {
            0 => Ok(()),
            _ => Err(Refusal::Misaligned(page_size)),
        }
    }

    /// Reserves whole pages for `size` bytes below the mask: in the highest aperture that has such a place, and
    /// there at the lowest. Answers the page size too.
    pub(super) fn reserve(&mut self, size: u64, mask: DmaMask) -> Option<(IovaRange, u64)> {
        self.apertures.iter().rev().find_map(|aperture| {
            let page_size = aperture.page_size;
            let within = aperture.range.intersection(mask.range())?;
            let size = size.checked_next_multiple_of(page_size)?;
            let range = self.books.reserve(within, size, page_size)?;
            Some((range, page_size))
        })
    }

    /// Reserves the whole pages of a range that starts with one. Answers the page size too.
    pub(super) fn reserve_at(&mut self, wanted: IovaRange) -> Result<(IovaRange, u64), Refusal> {
        let &Aperture { range, page_size } = self.aperture_of(wanted)?;
        let start = wanted.first();
        if start.0 % page_size != 0 {
            return Err(Refusal::Misaligned(page_size));
        }
        let last = Iova(wanted.last().0 | (page_size - 1));
        let whole = IovaRange::inclusive(start, last).filter(|&whole| range.contains(whole));
        let whole = whole.ok_or(Refusal::Outside)?;
        self.books.reserve_at(whole).map_err(Refusal::Taken)?;
        Ok((whole, page_size))
    }

    #[inline]
    fn aperture_of(&self, range: IovaRange) -> Result<&Aperture, Refusal> {
        let mut apertures = self.apertures.iter();
        let found = apertures.find(|aperture| aperture.range.contains(range));
        found.ok_or(Refusal::Outside)
    }

    pub(super) fn is_in_one_aperture(&self, range: IovaRange) -> bool {
        self.aperture_of(range).is_ok()
    }

    /// Whether it is made of whole pages of one aperture.
    pub(super) fn has_whole_pages(&self, range: IovaRange) -> bool {
        let aperture = self.aperture_of(range);
        aperture.is_ok_and(|it| (range.first().0 | range.size()) % it.page_size == 0)
    }

    /// A refusal in words.
    pub(super) fn explain(&self, refusal: &Refusal) -> (ErrorKind, String) {
        match refusal {
            Refusal::Sizes => {
                let why = "addresses and memory are not of one size";
                (ErrorKind::Invalid, why.to_owned())
            }
            Refusal::Outside => {
                let apertures = self.apertures.iter();
                let ranges: Vec<_> = apertures.map(|a| a.range.to_string()).collect();
                let why = format!("the IOMMU can map {}", ranges.join(" "));
                (ErrorKind::OutOfReach, why)
            }
            Refusal::Misaligned(page_size) => {
                let why = format!("addresses and sizes must be multiples of {page_size:#x}");
                (ErrorKind::Invalid, why)
            }
            Refusal::Taken(other) => (ErrorKind::Overlap, format!("{other} is mapped already")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel has counted what somebody else has mapped, before it said how many are left.
    #[test]
    fn a_mapping_that_becomes_known_leaves_as_many_as_before() {
        let pages = |first: u64, count: usize| {
            let iova = IovaRange::new(Iova(first << 12), (count as u64) << 12).unwrap();
            (iova, HostRange::new(0x7000_0000, count << 12).unwrap())
        };
        let (all, _) = pages(0, 0x1000);
        let aperture = Aperture {
            range: all,
            page_size: 1 << 12,
        };
        let mut ledger = Ledger::new(vec![aperture], Some(10));
        let (iova, memory) = pages(1, 2);
        for (is_known, is_renewed) in [(false, false), (false, true), (true, false), (true, true)] {
            assert_eq!(ledger.begin_renew(iova, memory), Ok(is_known));
            ledger.finish_renew(iova, is_known, is_renewed);
            assert_eq!(ledger.mappings_left(), Some(10));
        }
        ledger.books.finish(iova, false);
        assert_eq!(ledger.mappings_left(), Some(11), "it is unmapped");
        let (cut, part) = pages(1, 1);
        ledger.begin_map(iova, memory, None).unwrap();
        assert_eq!(ledger.begin_renew(cut, part), Err(Refusal::Taken(iova)));
        assert_eq!(ledger.begin_renew(iova, part), Err(Refusal::Sizes));
    }
}
