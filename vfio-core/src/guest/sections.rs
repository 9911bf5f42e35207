//! The sections that there are.

use std::collections::{BTreeMap, BTreeSet};

use crate::address::IovaRange;
use crate::error::{Error, ErrorKind, Result};

use super::section::{Bus, Section};

/// Sections by where they start; no two overlap.
#[derive(Debug, Default)]
pub(super) struct Sections(BTreeMap<(Bus, u64), Section>);

impl Sections {
    /// Those that have an address in a range, the lowest first.
    pub(super) fn overlapping(&self, bus: Bus, range: IovaRange) -> impl Iterator<Item = &Section> {
        let from = (bus, range.first().0);
        let before = self.0.range(..from).next_back().map(|(_, section)| section);
        let before =
            before.filter(|section| section.bus() == bus && section.range().overlaps(range));
        let inside = self.0.range(from..=(bus, range.last().0));
        before.into_iter().chain(inside.map(|(_, section)| section))
    }

    /// The one of that very range.
    pub(super) fn get(&self, bus: Bus, range: IovaRange) -> Option<&Section> {
        let found = self.0.get(&(bus, range.first().0))?;
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
        self.0.insert(key, section);
    }

    pub(super) fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    pub(super) fn remove(&mut self, bus: Bus, range: IovaRange) -> Option<Section> {
        self.0.remove(&(bus, range.first().0))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Section> {
        self.0.values()
    }
}
