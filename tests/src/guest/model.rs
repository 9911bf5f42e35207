//! Guest memory as a list of sections and an array of pages.

use std::collections::BTreeMap;

use super::{BLOCK_PAGES, Op};

/// What a section's memory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Devices read and write it.
    Ram,
    /// Devices only read it.
    Rom,
    /// As if it were another device's: they reach it as RAM.
    Peer,
    /// Devices do not reach it.
    Protected,
    /// It has none.
    Registers,
}

/// A section. All numbers are of pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Section {
    /// Where it begins.
    pub at: usize,
    /// How long it is.
    pub len: usize,
    /// Which block its memory is of.
    pub block: usize,
    /// Where in the block.
    pub offset: usize,
    /// What it is.
    pub kind: Kind,
    /// What it leaves with.
    pub unit: Option<u64>,
}

/// What a device finds at a page: block, page of it, and whether it may write.
pub type Page = (usize, usize, bool);

/// What the guest sees.
#[derive(Debug, Clone, Default)]
pub struct Model {
    /// No two of them overlap.
    pub sections: Vec<Section>,
}

/// What an edit is made of.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// What goes.
    pub removed: Vec<Section>,
    /// What comes.
    pub inserted: Vec<Section>,
}

impl Model {
    /// What the operations come to.
    pub fn change(&self, ops: &[Op]) -> Change {
        let mut change = Change::default();
        for op in ops {
            let (which, new): (_, fn(Section, usize) -> Section) = match op {
                Op::Insert(section) => {
                    change.inserted.push(*section);
                    continue;
                }
                Op::Remove(which) => {
                    change.removed.extend(self.take(*which, &change));
                    continue;
                }
                Op::Resize(which, len) => ((*which, *len), |it, len| Section { len, ..it }),
                Op::Move(which, at) => ((*which, *at), |it, at| Section { at, ..it }),
                Op::Rebind(which, block) => ((*which, *block), |it, block| Section { block, ..it }),
                Op::Toggle(which) => ((*which, 0), |it, _| {
                    let kind = match it.kind {
                        Kind::Ram => Kind::Rom,
                        Kind::Rom => Kind::Ram,
                        other => other,
                    };
                    Section { kind, ..it }
                }),
            };
            if let Some(old) = self.take(which.0, &change) {
                change.removed.push(old);
                change.inserted.push(new(old, which.1));
            }
        }
        change
    }

    fn take(&self, which: usize, change: &Change) -> Option<Section> {
        let old = *self.sections.get(which % self.sections.len().max(1))?;
        (!change.removed.contains(&old)).then_some(old)
    }

    /// The state after a change, if that can be made.
    pub fn after(&self, change: &Change) -> Option<Self> {
        let kept = self
            .sections
            .iter()
            .filter(|it| !change.removed.contains(it));
        let mut sections: Vec<Section> = kept.copied().collect();
        for new in &change.inserted {
            let inside = new.kind == Kind::Registers || new.offset + new.len <= BLOCK_PAGES;
            let overlaps = |it: &Section| it.at < new.at + new.len && new.at < it.at + it.len;
            if !inside || sections.iter().any(overlaps) {
                return None;
            }
            sections.push(*new);
        }
        Some(Self { sections })
    }

    /// What devices reach.
    pub fn pages(&self) -> BTreeMap<usize, Page> {
        let mut pages = BTreeMap::new();
        for it in &self.sections {
            let writes = match it.kind {
                Kind::Ram | Kind::Peer => true,
                Kind::Rom => false,
                Kind::Protected | Kind::Registers => continue,
            };
            pages.extend((0..it.len).map(|n| (it.at + n, (it.block, it.offset + n, writes))));
        }
        pages
    }
}
