//! What a guest says to its own IOMMU.

use std::fmt;

use crate::address::{Access, Iova, IovaRange};
use crate::error::{Error, ErrorKind, Result};
use crate::iommu::Origin;

use super::piece::Piece;
use super::section::{Bus, Section};
use super::sections::Sections;

/// Addresses of a device, and what the guest has them lead to: an entry of its IOMMU's tables, or many that follow each
/// other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Translation {
    /// The device's addresses.
    pub range: IovaRange,
    /// The first one of as many of the guest's.
    pub to: Iova,
    /// What the guest lets devices do there.
    pub access: Access,
}

/// What is asked of a guest's IOMMU, or told to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// Devices are to reach guest memory.
    Map(Translation),
    /// Devices are not to reach anything at these addresses of theirs, whatever was there: an unmap, an invalidation.
    /// That of [`IovaRange::ALL`] is one of all that there is.
    Unmap(IovaRange),
}

impl Translation {
    /// The guest's addresses.
    fn guest(&self) -> Result<IovaRange> {
        let guest = IovaRange::new(self.to, self.range.size());
        guest.ok_or_else(|| self.leads_nowhere())
    }

    #[cold]
    fn leads_nowhere(&self) -> Error {
        Error::new(ErrorKind::Invalid, "map", self.to_string())
            .at(self.range)
            .because("the guest has no such addresses")
    }

    /// The one piece that devices reach by it, if it is inside of one section.
    #[inline]
    pub(super) fn one_piece<'a>(&self, sections: &'a Sections) -> Option<Piece<'a>> {
        self.piece(sections.holding(self.guest().ok()?)?)
    }

    /// What devices reach by it, the lowest addresses first: as much of sections as there is.
    pub(super) fn pieces<'a>(
        &self,
        sections: &'a Sections,
    ) -> Result<impl Iterator<Item = Piece<'a>> + use<'a>> {
        let translation = *self;
        let there = sections.overlapping(Bus::Memory, self.guest()?);
        Ok(there.filter_map(move |section| translation.piece(section)))
    }

    fn piece<'a>(&self, section: &'a Section) -> Option<Piece<'a>> {
        let piece = section.piece().ok()?;
        translated(&piece, self.range, self.origin())
    }

    pub(super) fn origin(&self) -> Origin {
        Origin {
            guest: self.to,
            access: self.access,
        }
    }
}

/// What a device reaches of a piece of the guest's memory, at addresses that lead to the guest's from `origin` on.
pub(super) fn translated<'a>(
    piece: &Piece<'a>,
    range: IovaRange,
    origin: Origin,
) -> Option<Piece<'a>> {
    let inside = piece.inside(origin.range(range.size())?)?;
    let guest = inside.range.first();
    let start = range.first().0 + (guest.0 - origin.guest.0);
    Some(Piece {
        range: IovaRange::new(Iova(start), inside.range.size())?,
        access: inside.access.common(origin.access)?,
        origin: Some(Origin { guest, ..origin }),
        ..inside
    })
}

impl fmt::Display for Translation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "guest memory from {} on for {}", self.to, self.range)
    }
}
