//! Taking mappings away: one, all inside of a range, several at once.

use crate::address::IovaRange;
use crate::error::{Error, ErrorKind, Result};

use super::super::books::NotUnmapped;
use super::super::ledger::Ledger;
use super::Domain;

impl Domain {
    /// Takes away every mapping inside `iova`, each whole, and answers how many bytes they had.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: a mapping is only partly inside; nothing has changed. [`ErrorKind::Busy`]:
    /// another thread is changing one. [`ErrorKind::Gone`]. Otherwise what the kernel answered: the named
    /// mapping may still be there, and so may those after it.
    pub fn unmap(&self, iova: IovaRange) -> Result<u64> {
        let bytes = self.alive("unmap", || {
            let is_one = self.ledger().books.begin_unmap_one(iova);
            match is_one {
                true => self.unmap_one(iova),
                false => Ok(0), // no mapping has so few
            }
        })?;
        match bytes {
            0 => self.unmap_inside(iova),
            bytes => Ok(bytes),
        }
    }

    /// Takes away the mapping of that very range, if the guest has made it in its own IOMMU, or what is there of a larger
    /// one, if the backend takes parts; answers whether that was so.
    pub(crate) fn unmap_translated(&self, iova: IovaRange) -> Result<bool> {
        self.alive("unmap", || {
            let is_one = {
                let ledger = &mut *self.ledger();
                ledger.books.begin_unmap_translated(iova)
                    || (self.takes_part(ledger, iova) && ledger.books.begin_unmap_part(iova))
            };
            match is_one {
                true => self.unmap_one(iova).map(|_| true),
                false => Ok(false),
            }
        })
    }

    /// Writes mappings of which the range has a part down as several, so that each is inside or outside, if the backend takes
    /// parts. Nothing is asked of the kernel.
    pub(crate) fn cut(&self, range: IovaRange) {
        let ledger = &mut *self.ledger();
        if self.takes_part(ledger, range) {
            ledger.books.cut(range);
        }
    }

    /// Whether the backend takes a range that is a part of mappings: whole pages.
    fn takes_part(&self, ledger: &Ledger, range: IovaRange) -> bool {
        self.0.backend.unmaps_parts() && ledger.has_whole_pages(range)
    }

    /// Unmaps what is inside: at once if the backend can; otherwise one mapping after the other until one fails.
    #[cold]
    fn unmap_inside(&self, iova: IovaRange) -> Result<u64> {
        if self.0.backend.unmaps_many() {
            let unmapped = self.alone("unmap", || {
                let mappings = self.begin_unmap(iova)?;
                if self.are_in_one_aperture(&mappings) {
                    return self.unmap_many(&mappings).map(Some);
                }
                self.leave_mapped(mappings);
                Ok(None)
            })?;
            if let Some(bytes) = unmapped {
                return Ok(bytes);
            }
        }
        self.alive("unmap", || {
            let mut bytes = 0;
            let mut left = self.begin_unmap(iova)?.into_iter();
            while let Some(mapping) = left.next() {
                match self.unmap_one(mapping) {
                    Ok(more) => bytes += more,
                    Err(error) => {
                        self.leave_mapped(left);
                        return Err(error);
                    }
                }
            }
            Ok(bytes)
        })
    }

    /// Unmaps these mappings, which come in their order, at once; answers whether that is possible: not if anything else
    /// is mapped between them.
    pub(crate) fn unmap_at_once(&self, mappings: &[IovaRange]) -> Result<bool> {
        let Some(all) = span(mappings).filter(|_| self.0.backend.unmaps_many()) else {
            return Ok(false);
        };
        self.alone("unmap", || {
            let inside = self.begin_unmap(all)?;
            if inside == mappings && self.are_in_one_aperture(mappings) {
                return self.unmap_many(mappings).map(|_| true);
            }
            self.leave_mapped(inside);
            Ok(false)
        })
    }

    /// What was about to be unmapped is not.
    pub(super) fn leave_mapped(&self, mappings: impl IntoIterator<Item = IovaRange>) {
        let books = &mut self.ledger().books;
        let untried = mappings.into_iter();
        untried.for_each(|mapping| books.finish(mapping, true));
    }

    fn are_in_one_aperture(&self, mappings: &[IovaRange]) -> bool {
        span(mappings).is_none_or(|all| self.ledger().is_in_one_aperture(all))
    }

    pub(super) fn begin_unmap(&self, iova: IovaRange) -> Result<Vec<IovaRange>> {
        let mappings = self.ledger().books.begin_unmap(iova);
        mappings.map_err(|why| self.not_unmapped(iova, why))
    }

    /// Unmaps all that is from the first of these mappings to the last. Nobody else may be mapping anything meanwhile.
    fn unmap_many(&self, mappings: &[IovaRange]) -> Result<u64> {
        let Some(all) = span(mappings) else {
            return mappings.first().map_or(Ok(0), |one| self.unmap_one(*one));
        };
        let answer = self.0.backend.unmap(all);
        let expected = mappings.iter().map(|mapping| mapping.size()).sum();
        let takes_parts = self.0.backend.unmaps_parts();
        let gone =
            matches!(answer, Ok(bytes) if bytes == expected || takes_parts && bytes == all.size());
        let books = &mut self.ledger().books;
        mappings
            .iter()
            .for_each(|mapping| books.finish(*mapping, !gone));
        match answer {
            Ok(bytes) if !gone => Err(self.partly_unmapped(all, bytes)),
            answer => answer.map(|_| expected),
        }
    }

    /// Unmaps one mapping, holds the backend to its word, and writes down what came of it.
    #[inline(always)] // the usual way; the other caller is a rare one
    fn unmap_one(&self, mapping: IovaRange) -> Result<u64> {
        let answer = self.0.backend.unmap(mapping);
        let gone = matches!(answer, Ok(bytes) if bytes == mapping.size());
        self.ledger().books.finish(mapping, !gone);
        match answer {
            Ok(bytes) if !gone => Err(self.partly_unmapped(mapping, bytes)),
            answer => answer,
        }
    }

    /// Takes away what is left of the mappings inside `iova`, however much that is.
    pub(crate) fn clear(&self, iova: IovaRange) -> Result<()> {
        self.alive("unmap", || {
            let mut result = Ok(());
            for mapping in self.begin_unmap(iova)? {
                let answer = self.0.backend.unmap(mapping);
                self.ledger().books.finish(mapping, answer.is_err());
                result = result.and(answer.map(drop));
            }
            result
        })
    }

    #[cold]
    fn partly_unmapped(&self, mapping: IovaRange, bytes: u64) -> Error {
        self.error(ErrorKind::Kernel, "unmap", mapping)
            .because(format!(
                "only {bytes:#x} bytes were unmapped; the rest may still be"
            ))
    }

    #[cold]
    fn not_unmapped(&self, iova: IovaRange, why: NotUnmapped) -> Error {
        let (kind, why) = match why {
            NotUnmapped::Bisects(mapping) => (
                ErrorKind::Invalid,
                format!("{mapping} was mapped whole and is only partly inside"),
            ),
            NotUnmapped::Changing(mapping) => (
                ErrorKind::Busy,
                format!("another thread is changing {mapping}"),
            ),
        };
        self.error(kind, "unmap", iova).because(why)
    }
}

/// From the first of several ranges to the last, which come in their order; `None` of one alone.
pub(in crate::iommu) fn span(ranges: &[IovaRange]) -> Option<IovaRange> {
    match ranges {
        [first, .., last] => IovaRange::inclusive(first.first(), last.last()),
        _ => None,
    }
}
