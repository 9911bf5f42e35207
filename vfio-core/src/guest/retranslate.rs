//! The calls that keep what is mapped by a guest's IOMMU in step with its memory.

use crate::address::IovaRange;
use crate::error::Result;
use crate::iommu::{Domain, Origin};

use super::change::Change;
use super::piece::{Piece, overlapping};
use super::plan::{Plan, Step, kept};
use super::section::Bus;
use super::sections::Sections;
use super::translation::translated;

impl<'a> Plan<'a> {
    /// Plans a change of the guest's memory, as far as the guest's IOMMU leads there: a mapping that has a byte of what
    /// goes is exchanged for what is there then.
    pub(super) fn behind_iommu(
        domain: &Domain,
        old: &'a Sections,
        change: &Change<'a>,
    ) -> Result<Self> {
        let mut plan = Self::default();
        if change.gone.is_empty() {
            return Ok(plan);
        }
        cut_what_goes(domain, old, change);
        for (range, origin) in domain.translated_in(IovaRange::ALL) {
            let Some((mapping, guest)) = mapping(old, range, origin) else {
                continue;
            };
            if overlapping(&change.gone, guest).next().is_none() {
                continue;
            }
            let stays = kept(old, guest, &change.gone);
            let after = stays.iter().chain(&change.come);
            let after: Vec<_> = after
                .filter_map(|piece| translated(piece, range, origin))
                .collect();
            plan.interrupted
                .extend(after.iter().filter_map(Piece::guest));
            plan.exchange(domain, mapping, after)?;
        }
        Ok(plan)
    }

    /// Plans that the mappings that are partly in a range are not, and stay mapped outside of it.
    pub(super) fn without(
        domain: &Domain,
        sections: &'a Sections,
        range: IovaRange,
    ) -> Result<Self> {
        let mut plan = Self::default();
        domain.cut(range);
        for (mapped, origin) in domain.translated_in(range) {
            let mapping = mapping(sections, mapped, origin);
            if let Some((mapping, _)) = mapping.filter(|_| !range.contains(mapped)) {
                plan.exchange(domain, mapping, mapping.outside(range).collect())?;
            }
        }
        Ok(plan)
    }

    /// A mapping goes, and these come in its place.
    fn exchange(
        &mut self,
        domain: &Domain,
        mapping: Piece<'a>,
        after: Vec<Piece<'a>>,
    ) -> Result<()> {
        for piece in &after {
            if let Some(memory) = piece.memory() {
                domain.check_map(piece.range, memory)?;
            }
        }
        self.steps.push(Step::Unmap(vec![mapping]));
        self.steps.extend(after.into_iter().map(Step::Map));
        Ok(())
    }
}

/// Has each mapping lead to what goes alone or to what stays alone, where the backend lets it be so.
fn cut_what_goes(domain: &Domain, old: &Sections, change: &Change<'_>) {
    for (range, origin) in domain.translated_in(IovaRange::ALL) {
        let Some((mapping, guest)) = mapping(old, range, origin) else {
            continue;
        };
        for gone in overlapping(&change.gone, guest) {
            if let Some(part) = translated(gone, mapping.range, origin) {
                domain.cut(part.range);
            }
        }
    }
}

/// What is mapped there, and where the guest has it.
pub(super) fn mapping(
    sections: &Sections,
    range: IovaRange,
    origin: Origin,
) -> Option<(Piece<'_>, IovaRange)> {
    let guest = origin.range(range.size())?;
    // It was of one section, which may be several now.
    let section = sections.overlapping(Bus::Memory, guest).next()?;
    let first = translated(&section.piece().ok()?, range, origin)?;
    Some((Piece { range, ..first }, guest))
}
