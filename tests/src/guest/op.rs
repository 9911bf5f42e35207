//! What edits are made of.

use super::{BLOCK_PAGES, BLOCKS, Kind, LONGEST, PAGES, Section};

/// A part of an edit. Which section it is about is counted around those that there are.
#[derive(Debug, Clone)]
pub enum Op {
    /// It comes.
    Insert(Section),
    /// It goes.
    Remove(usize),
    /// It has another length.
    Resize(usize, usize),
    /// It begins elsewhere.
    Move(usize, usize),
    /// RAM becomes ROM, and the other way.
    Toggle(usize),
    /// Other memory comes behind the same addresses.
    Rebind(usize, usize),
}

/// What an operation is chosen by: any numbers. The smaller, the simpler.
pub type Numbers = [u8; 6];

impl Op {
    /// The operation that these numbers choose.
    pub fn of([what, place, len, block, kind, more]: Numbers) -> Self {
        let [place, len, block, more] = [place, len, block, more].map(usize::from);
        match what % 15 {
            0..6 => Self::Insert(section([place, len, block, more], kind)),
            6..9 => Self::Remove(place),
            9..11 => Self::Resize(place, 1 + len % LONGEST),
            11 => Self::Move(place, len % PAGES),
            12..14 => Self::Toggle(place),
            _ => Self::Rebind(place, block % BLOCKS),
        }
    }
}

fn section([place, len, block, more]: [usize; 4], kind: u8) -> Section {
    let at = place % PAGES;
    Section {
        at,
        len: (1 + len % 8).min(PAGES - at),
        block: block % BLOCKS,
        // Half of them so that neighbours follow each other in memory too.
        offset: match more % 2 {
            0 => at % BLOCK_PAGES,
            _ => more / 2 % BLOCK_PAGES,
        },
        kind: match kind % 11 {
            0..6 => Kind::Ram,
            6..8 => Kind::Rom,
            8 => Kind::Peer,
            9 => Kind::Protected,
            _ => Kind::Registers,
        },
        unit: match kind / 11 % 4 {
            0 | 1 => None,
            unit => Some(unit.into()),
        },
    }
}
