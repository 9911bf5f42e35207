//! From the model's pages to addresses.

use vfio_core::address::{Iova, IovaRange};
use vfio_core::guest::{self, AddressSpace, Block, Edit};
use vfio_core::{Error, ErrorKind, Result};

use super::{Change, Kind, Section};

/// Where the model's guest is among a device's addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Layout {
    /// Where its first page is.
    pub base: Iova,
    /// The size of its pages.
    pub page: usize,
}

impl Layout {
    /// The addresses of so many pages.
    ///
    /// # Errors
    /// There are no such addresses.
    pub fn range(self, at: usize, len: usize) -> Result<IovaRange> {
        let place = |pages: usize| u64::try_from(pages.checked_mul(self.page)?).ok();
        let first = place(at).and_then(|at| self.base.0.checked_add(at));
        let range = first.zip(place(len));
        let range = range.and_then(|(first, len)| IovaRange::new(Iova(first), len));
        range.ok_or_else(|| Error::new(ErrorKind::Invalid, "name", format!("{len} pages at {at}")))
    }

    /// The change as an edit, with these blocks of memory.
    ///
    /// # Errors
    /// Those of [`guest::Section::ram`].
    pub fn edit<'a>(
        self,
        space: &'a AddressSpace,
        change: &Change,
        blocks: &[Block],
    ) -> Result<Edit<'a>> {
        let mut edit = space.edit();
        for gone in &change.removed {
            edit = edit.remove(self.range(gone.at, gone.len)?);
        }
        for new in &change.inserted {
            edit = edit.insert(self.section(new, blocks)?);
        }
        Ok(edit)
    }

    fn section(self, it: &Section, blocks: &[Block]) -> Result<guest::Section> {
        let range = self.range(it.at, it.len)?;
        let block = blocks
            .get(it.block)
            .ok_or_else(|| Error::new(ErrorKind::Invalid, "find", format!("block {}", it.block)))?;
        let offset = it.offset * self.page;
        let section = match it.kind {
            Kind::Ram => guest::Section::ram(range, block, offset),
            Kind::Rom => guest::Section::rom(range, block, offset),
            Kind::Peer => guest::Section::peer(range, block, offset),
            Kind::Protected => guest::Section::protected(range, block, offset),
            Kind::Registers => Ok(guest::Section::registers(range)),
        }?;
        Ok(match it.unit {
            Some(unit) => section.leaving_with(unit),
            None => section,
        })
    }
}
