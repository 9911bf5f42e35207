//! Guest memory as a list of sections and an array of pages.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::Index;

/// Sections begin in so many pages.
pub(crate) const PAGES: usize = 48;
pub(crate) const BLOCKS: usize = 3;
pub(crate) const BLOCK_PAGES: usize = 24;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Ram,
    Rom,
    Peer,
    Protected,
    Registers,
}

/// All numbers are of pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Section {
    pub(crate) at: usize,
    pub(crate) len: usize,
    pub(crate) block: usize,
    pub(crate) offset: usize,
    pub(crate) kind: Kind,
    pub(crate) unit: Option<u64>,
}

/// A part of an edit.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    Insert(Section),
    Remove(Index),
    Resize(Index, usize),
    Move(Index, usize),
    /// RAM becomes ROM, and the other way.
    Toggle(Index),
    /// Other memory comes behind the same addresses.
    Rebind(Index, usize),
}

/// What a device finds at a page: block, page of it, and whether it may write.
pub(crate) type Page = (usize, usize, bool);

#[derive(Debug, Clone, Default)]
pub(crate) struct Model {
    pub(crate) sections: Vec<Section>,
}

/// What an edit is made of.
#[derive(Debug, Clone, Default)]
pub(crate) struct Change {
    pub(crate) removed: Vec<Section>,
    pub(crate) inserted: Vec<Section>,
}

impl Model {
    /// What the operations come to.
    pub(crate) fn change(&self, ops: &[Op]) -> Change {
        let mut change = Change::default();
        for op in ops {
            let (which, new): (_, fn(Section, usize) -> Section) = match op {
                Op::Insert(section) => {
                    change.inserted.push(*section);
                    continue;
                }
                Op::Remove(which) => {
                    change.removed.extend(self.take(which, &change));
                    continue;
                }
                Op::Resize(which, len) => ((which, *len), |it, len| Section { len, ..it }),
                Op::Move(which, at) => ((which, *at), |it, at| Section { at, ..it }),
                Op::Rebind(which, block) => ((which, *block), |it, block| Section { block, ..it }),
                Op::Toggle(which) => ((which, 0), |it, _| {
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

    fn take(&self, which: &Index, change: &Change) -> Option<Section> {
        let old = *self.sections.get(which.index(self.sections.len().max(1)))?;
        (!change.removed.contains(&old)).then_some(old)
    }

    /// The state after a change, if that can be made.
    pub(crate) fn after(&self, change: &Change) -> Option<Self> {
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
    pub(crate) fn pages(&self) -> BTreeMap<usize, Page> {
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

fn section() -> impl Strategy<Value = Section> {
    let kind = prop_oneof![
        6 => Just(Kind::Ram),
        2 => Just(Kind::Rom),
        1 => Just(Kind::Peer),
        1 => Just(Kind::Protected),
        1 => Just(Kind::Registers),
    ];
    let unit = prop_oneof![Just(None), (0..2_u64).prop_map(Some)];
    let place = (
        0..PAGES,
        1..9_usize,
        0..BLOCKS,
        any::<Option<bool>>(),
        0..BLOCK_PAGES,
    );
    (place, kind, unit).prop_map(|((at, len, block, straight, offset), kind, unit)| Section {
        at,
        len: len.min(PAGES - at),
        block,
        // Mostly so that neighbours follow each other in memory too.
        offset: match straight {
            Some(true) => at % BLOCK_PAGES,
            _ => offset,
        },
        kind,
        unit,
    })
}

fn op() -> impl Strategy<Value = Op> {
    let which = any::<Index>;
    prop_oneof![
        6 => section().prop_map(Op::Insert),
        3 => which().prop_map(Op::Remove),
        2 => (which(), 1..12_usize).prop_map(|(which, len)| Op::Resize(which, len)),
        1 => (which(), 0..PAGES).prop_map(|(which, at)| Op::Move(which, at)),
        2 => which().prop_map(Op::Toggle),
        1 => (which(), 0..BLOCKS).prop_map(|(which, block)| Op::Rebind(which, block)),
    ]
}

/// Edits, one after the other.
pub(crate) fn edits(count: usize) -> impl Strategy<Value = Vec<Vec<Op>>> {
    prop::collection::vec(prop::collection::vec(op(), 1..6), 1..count)
}
