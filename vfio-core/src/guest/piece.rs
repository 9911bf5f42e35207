//! Bytes that devices reach: addresses of the guest, and the memory there.

use crate::address::{Access, HostRange, Iova, IovaRange};
use crate::iommu::Origin;

use super::section::Section;

/// A part of a section, or of several that follow each other in guest and host.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece<'a> {
    pub(super) range: IovaRange,
    /// The address of its first byte in this process.
    pub(super) host: usize,
    pub(super) access: Access,
    /// The (first) section.
    pub(super) section: &'a Section,
    /// If the addresses are a device's behind an IOMMU of the guest: where the guest has the piece, and what it allows.
    pub(super) origin: Option<Origin>,
}

impl<'a> Piece<'a> {
    /// The memory, which is as large as the range.
    pub(super) fn memory(&self) -> Option<HostRange> {
        HostRange::new(self.host, usize::try_from(self.range.size()).ok()?)
    }

    /// Where the guest has it.
    pub(super) fn guest(&self) -> Option<IovaRange> {
        match self.origin {
            None => Some(self.range),
            Some(origin) => origin.range(self.range.size()),
        }
    }

    /// The part of it that is in a range.
    pub(super) fn inside(&self, range: IovaRange) -> Option<Self> {
        let common = self.range.intersection(range)?;
        let before = usize::try_from(common.first().0 - self.range.first().0).ok()?;
        Some(Self {
            range: common,
            host: self.host + before,
            origin: self.origin.map(|it| it.of_part(self.range, common)),
            ..*self
        })
    }

    /// What is left of it without a range: before that, and after it.
    pub(super) fn outside(&self, range: IovaRange) -> impl Iterator<Item = Self> + use<'a> {
        let (first, last) = (self.range.first().0, self.range.last().0);
        let before = range.first().0.checked_sub(1).filter(|end| *end >= first);
        let after = range.last().0.checked_add(1).filter(|start| *start <= last);
        let parts = [
            before.map(|end| (first, end.min(last))),
            after.map(|start| (start.max(first), last)),
        ];
        let whole = *self;
        let ranges = parts.into_iter().flatten();
        ranges.filter_map(move |(first, last)| {
            whole.inside(IovaRange::inclusive(Iova(first), Iova(last))?)
        })
    }

    /// Whether a device finds the same here as in another piece, wherever both are.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let place = |piece: &Self| (piece.host as u64).wrapping_sub(piece.range.first().0);
        self.access == other.access
            && place(self) == place(other)
            && self.section.block() == other.section.block()
    }

    /// Whether another comes right after it, in guest and host, and devices may do the same there.
    pub(super) fn follows(&self, next: &Self) -> bool {
        let is_next = |a: u64, b: u64| a.checked_add(1) == Some(b);
        let end = self.memory().map_or(0, |memory| memory.last() as u64);
        is_next(self.range.last().0, next.range.first().0)
            && is_next(end, next.host as u64)
            && self.access == next.access
    }

    /// Both as one mapping, if the other follows, and leaves whenever this one does.
    pub(super) fn joined(&self, next: &Self) -> Option<Self> {
        let leave_together = std::ptr::eq(self.section, next.section)
            || self.section.unit().is_some() && self.section.unit() == next.section.unit();
        let joins = self.follows(next)
            && leave_together
            && self.section.block() == next.section.block()
            && !self.section.is_peer()
            && !next.section.is_peer();
        joins.then_some(Self {
            range: IovaRange::inclusive(self.range.first(), next.range.last())?,
            ..*self
        })
    }
}

/// Pieces that follow each other, with those that can be one mapping as one.
pub(super) fn join<'a>(pieces: impl IntoIterator<Item = Piece<'a>>) -> Vec<Piece<'a>> {
    let mut joined: Vec<Piece<'a>> = Vec::new();
    for piece in pieces {
        match joined
            .last_mut()
            .and_then(|last| Some((last.joined(&piece)?, last)))
        {
            Some((both, last)) => *last = both,
            None => joined.push(piece),
        }
    }
    joined
}

/// Those of some pieces, which come in the order of their addresses, that have an address in a range.
pub(super) fn overlapping<'s, 'a>(
    pieces: &'s [Piece<'a>],
    range: IovaRange,
) -> impl Iterator<Item = &'s Piece<'a>> + use<'s, 'a> {
    let from = pieces.partition_point(|it| it.range.last() < range.first());
    let after = pieces.iter().skip(from);
    after.take_while(move |it| it.range.first() <= range.last())
}
