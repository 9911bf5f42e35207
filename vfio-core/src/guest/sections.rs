//! The sections that there are.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use crate::address::IovaRange;
use crate::error::{Error, ErrorKind, Result};

use super::section::{Bus, Section};

/// Sections by where they start; no two overlap.
#[derive(Debug, Default)]
pub(super) struct Sections {
    by_start: BTreeMap<(Bus, u64), Section>,
    /// Where the one starts that [`holding`](Self::holding) has found last: most of a guest's memory is in one.
    last: Cell<u64>,
}

impl Sections {
    /// Those that have an address in a range, the lowest first.
    pub(super) fn overlapping(&self, bus: Bus, range: IovaRange) -> impl Iterator<Item = &Section> {
        let from = (bus, range.first().0);
        let before = self
            .by_start
            .range(..from)
            .next_back()
            .map(|(_, section)| section);
        let before =
            before.filter(|section| section.bus() == bus && section.range().overlaps(range));
        let inside = self.by_start.range(from..=(bus, range.last().0));
        before.into_iter().chain(inside.map(|(_, section)| section))
    }

    /// The one of memory that has all of a range.
    pub(super) fn holding(&self, range: IovaRange) -> Option<&Section> {
        let last = self.by_start.get(&(Bus::Memory, self.last.get()));
        match last.filter(|section| section.range().contains(range)) {
            Some(section) => Some(section),
            None => self.holding_anew(range),
        }
    }

    #[cold]
    fn holding_anew(&self, range: IovaRange) -> Option<&Section> {
        let found = self.overlapping(Bus::Memory, range).next();
        let found = found.filter(|section| section.range().contains(range))?;
        self.last.set(found.range().first().0);
        Some(found)
    }

    /// The one of that very range.
    pub(super) fn get(&self, bus: Bus, range: IovaRange) -> Option<&Section> {
        let found = self.by_start.get(&(bus, range.first().0))?;
        (found.range() == range).then_some(found)
    }

    /// What comes by a change, if it can be made: what goes is there, and what comes overlaps nothing.
    pub(super) fn changed(
        &self,
        removed: &[(Bus, IovaRange)],
        inserted: Vec<Section>,
    ) -> Result<Self> {
        let mut gone = BTreeSet::new();
        for (bus, range) in removed {
            let is_there = self.get(*bus, *range).is_some();
            if !is_there || !gone.insert((*bus, range.first().0)) {
                return Err(Error::new(ErrorKind::Invalid, "remove", "a section")
                    .at(*range)
                    .because("there is no section of these very addresses"));
            }
        }
        let mut new = Self::default();
        for section in inserted {
            let (bus, range) = (section.bus(), section.range());
            let known = self.overlapping(bus, range);
            let mut known = known.filter(|it| !gone.contains(&(bus, it.range().first().0)));
            if let Some(other) = known.next().or_else(|| new.overlapping(bus, range).next()) {
                let why = format!("{other} is there");
                return Err(
                    Error::new(ErrorKind::Overlap, "insert", section.to_string()).because(why),
                );
            }
            new.insert(section);
        }
        Ok(new)
    }

    fn insert(&mut self, section: Section) {
        let key = (section.bus(), section.range().first().0);
        self.by_start.insert(key, section);
    }

    pub(super) fn extend(&mut self, others: Self) {
        self.by_start.extend(others.by_start);
    }

    pub(super) fn remove(&mut self, bus: Bus, range: IovaRange) -> Option<Section> {
        self.by_start.remove(&(bus, range.first().0))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Section> {
        self.by_start.values()
    }
}
