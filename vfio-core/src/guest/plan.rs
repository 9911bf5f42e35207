//! The calls that bring one domain from a state to the next.

use crate::address::IovaRange;
use crate::error::{Error, ErrorKind, Result};
use crate::iommu::Domain;

use super::change::Change;
use super::piece::{Piece, join, overlapping};
use super::section::Bus;
use super::sections::Sections;

/// One call.
#[derive(Debug, Clone)]
pub(super) enum Step<'a> {
    Map(Piece<'a>),
    /// Whole mappings, the lowest first, and nothing else is mapped between them.
    Unmap(Vec<Piece<'a>>),
}

impl<'a> Step<'a> {
    pub(super) fn pieces(&self) -> &[Piece<'a>] {
        match self {
            Self::Map(piece) => std::slice::from_ref(piece),
            Self::Unmap(pieces) => pieces,
        }
    }
}

/// The calls for one domain, in their order.
#[derive(Debug, Default)]
pub(super) struct Plan<'a> {
    pub(super) steps: Vec<Step<'a>>,
    /// What is reached before and afterwards, and not all the time.
    pub(super) interrupted: Vec<IovaRange>,
}

impl<'a> Plan<'a> {
    /// Plans a change of what is mapped for `old`, and checks all that can be checked.
    ///
    /// What comes is mapped first, as far as nothing is in its place: that is what fails most often, and what is undone
    /// most surely. What goes is unmapped last.
    pub(super) fn new(domain: &Domain, old: &'a Sections, change: &Change<'a>) -> Result<Self> {
        let doomed = doomed(domain, old, &change.gone);
        let kept = doomed
            .iter()
            .flat_map(|mapping| kept(old, mapping.range, &change.gone));
        let mut wanted: Vec<_> = change.come.iter().copied().chain(kept).collect();
        wanted.sort_unstable_by_key(|piece| piece.range.first());
        let wanted = join(wanted);
        for piece in &wanted {
            check(domain, piece, &doomed)?;
        }
        let mut plan = Self::ordered(&doomed, &wanted);
        plan.fit(domain)?;
        plan.unmap_at_once(domain, &wanted);
        Ok(plan)
    }

    fn ordered(doomed: &[Piece<'a>], wanted: &[Piece<'a>]) -> Self {
        let mut plan = Self::default();
        let (mut exchanged, mut last) = (Vec::new(), Vec::new());
        let mut wanted = wanted.iter().peekable();
        let mut doomed = doomed.iter().peekable();
        // What overlaps, and what overlaps that, is exchanged at once.
        while let Some(start) = lowest(wanted.peek(), doomed.peek()) {
            let mut end = start;
            let (mut unmaps, mut maps) = (Vec::new(), Vec::new());
            loop {
                let counts = (unmaps.len(), maps.len());
                while let Some(piece) = doomed.next_if(|it| it.range.first().0 <= end) {
                    end = end.max(piece.range.last().0);
                    unmaps.push(*piece);
                }
                while let Some(piece) = wanted.next_if(|it| it.range.first().0 <= end) {
                    end = end.max(piece.range.last().0);
                    maps.push(*piece);
                }
                if counts == (unmaps.len(), maps.len()) {
                    break;
                }
            }
            let steps = match (unmaps.is_empty(), maps.is_empty()) {
                (true, _) => &mut plan.steps,
                (false, true) => &mut last,
                (false, false) => {
                    plan.interrupted.extend(common(&unmaps, &maps));
                    &mut exchanged
                }
            };
            steps.extend(unmaps.into_iter().map(|mapping| Step::Unmap(vec![mapping])));
            steps.extend(maps.into_iter().map(Step::Map));
        }
        plan.steps.extend(exchanged);
        plan.steps.extend(last);
        plan
    }

    /// Has it use no more mappings at once than there are: if need be, what goes goes first.
    fn fit(&mut self, domain: &Domain) -> Result<()> {
        let Some(left) = domain.mappings_left() else {
            return Ok(());
        };
        if self.peak() > left {
            self.steps.sort_by_key(|step| matches!(step, Step::Map(_)));
        }
        let needed = self.peak();
        if needed <= left {
            return Ok(());
        }
        let maps = self.steps.iter().filter_map(|step| match step {
            Step::Map(piece) => Some(*piece),
            Step::Unmap(_) => None,
        });
        let could_join = could_join(maps);
        Err(Error::new(ErrorKind::Exhausted, "commit", "guest memory").because(format!(
            "it takes {needed} more mappings, and the kernel has {left} left; {could_join} fewer if sections that follow \
             each other in guest and host were said to leave together"
        )))
    }

    /// Unmaps that follow each other, of mappings that do so too, are one call.
    fn unmap_at_once(&mut self, domain: &Domain, wanted: &[Piece<'a>]) {
        let mut steps: Vec<Step<'a>> = Vec::new();
        for step in self.steps.drain(..) {
            match (steps.last_mut(), step) {
                (Some(Step::Unmap(before)), Step::Unmap(after))
                    if is_next(domain, wanted, before, &after) =>
                {
                    before.extend(after);
                }
                (_, step) => steps.push(step),
            }
        }
        self.steps = steps;
    }

    /// How many mappings there are more on the way than before, at the most.
    fn peak(&self) -> u64 {
        let (mut now, mut peak) = (0i64, 0i64);
        for step in &self.steps {
            match step {
                Step::Map(_) => now += 1,
                Step::Unmap(_) => now -= 1,
            }
            peak = peak.max(now);
        }
        peak.unsigned_abs()
    }
}

/// The mappings that have a byte of what goes, each once.
fn doomed<'a>(domain: &Domain, old: &'a Sections, gone: &[Piece<'a>]) -> Vec<Piece<'a>> {
    let mut doomed: Vec<Piece<'a>> = Vec::new();
    for piece in gone {
        let mut there = domain.mappings_in(piece.range).into_iter();
        if there.all(|mapping| ours(old, mapping).is_some()) {
            domain.cut(piece.range);
        }
        for mapping in domain.mappings_in(piece.range) {
            let is_known = doomed.last().is_some_and(|it| it.range == mapping);
            if !is_known {
                doomed.extend(ours(old, mapping));
            }
        }
    }
    doomed
}

/// What is mapped there, if sections are all that it is of.
pub(super) fn ours(old: &Sections, mapping: IovaRange) -> Option<Piece<'_>> {
    let mut next = Some(mapping.first().0);
    let mut first = None;
    for section in old.overlapping(Bus::Memory, mapping) {
        let piece = section.piece().ok()?;
        if next.is_none_or(|next| piece.range.first().0 > next) {
            return None;
        }
        next = piece.range.last().0.checked_add(1);
        first = first.or(Some(piece));
    }
    let covered = next.is_none_or(|next| next > mapping.last().0);
    let start = first.filter(|_| covered)?;
    let inside = start.inside(mapping)?;
    Some(Piece {
        range: mapping,
        ..inside
    })
}

/// The pieces of a range that stay.
pub(super) fn kept<'a>(old: &'a Sections, range: IovaRange, gone: &[Piece<'a>]) -> Vec<Piece<'a>> {
    let sections = old.overlapping(Bus::Memory, range);
    let pieces = sections.filter_map(|section| section.piece().ok()?.inside(range));
    let mut kept: Vec<_> = pieces.collect();
    for gone in overlapping(gone, range) {
        kept = kept
            .iter()
            .flat_map(|piece| piece.outside(gone.range))
            .collect();
    }
    kept
}

fn check(domain: &Domain, piece: &Piece<'_>, doomed: &[Piece<'_>]) -> Result<()> {
    let named = |error: Error| error.because_also(format!("for {}", piece.section));
    let memory = piece.memory().ok_or_else(|| {
        Error::new(ErrorKind::Invalid, "commit", piece.section.to_string()).at(piece.range)
    })?;
    domain.check_map(piece.range, memory).map_err(named)?;
    let goes = |mapping: &IovaRange| {
        let found = doomed.binary_search_by_key(&mapping.first(), |it| it.range.first());
        found.is_ok()
    };
    match domain
        .mappings_in(piece.range)
        .into_iter()
        .find(|it| !goes(it))
    {
        None => Ok(()),
        Some(other) => Err(named(
            Error::new(ErrorKind::Overlap, "commit", piece.section.to_string())
                .at(piece.range)
                .because(format!(
                    "{other} is mapped already, and not of guest memory"
                )),
        )),
    }
}

/// Whether nothing is mapped between some mappings and others, nor will be.
fn is_next(
    domain: &Domain,
    wanted: &[Piece<'_>],
    before: &[Piece<'_>],
    after: &[Piece<'_>],
) -> bool {
    let (Some(last), Some(first)) = (before.last(), after.first()) else {
        return false;
    };
    let end = last.range.last();
    let new = wanted.get(wanted.partition_point(|it| it.range.first() <= end));
    let is_free = new.is_none_or(|new| new.range.first() > first.range.first());
    is_free && domain.next_mapping(end) == Some(first.range)
}

fn lowest(wanted: Option<&&Piece<'_>>, doomed: Option<&&Piece<'_>>) -> Option<u64> {
    let first = |piece: Option<&&Piece<'_>>| piece.map(|it| it.range.first().0);
    first(wanted).into_iter().chain(first(doomed)).min()
}

/// What is in both.
fn common(some: &[Piece<'_>], others: &[Piece<'_>]) -> Vec<IovaRange> {
    let pairs = some.iter().flat_map(|a| others.iter().map(move |b| (a, b)));
    pairs
        .filter_map(|(a, b)| a.range.intersection(b.range))
        .collect()
}

/// How many of these would go into the mapping before them if they left with it.
fn could_join<'a>(pieces: impl Iterator<Item = Piece<'a>>) -> usize {
    let pieces: Vec<_> = pieces.collect();
    pieces
        .windows(2)
        .filter(|pair| pair[0].follows(&pair[1]))
        .count()
}
