//! Making the calls of a plan, and undoing them.
#![allow(unsafe_code)] // What is mapped is of blocks that are kept until it is unmapped.

use crate::address::{HostRange, IovaRange};
use crate::error::{Error, ErrorKind, Result};
use crate::iommu::Domain;

use super::block::Block;
use super::piece::Piece;
use super::plan::Step;

/// What is not as it should be, because a change could be neither made nor undone.
#[derive(Debug, Clone)]
pub struct Torn {
    /// The addresses.
    pub range: IovaRange,
    /// The memory that is, or should be, there.
    pub memory: HostRange,
    /// How it is.
    pub tear: Tear,
    pub(super) access: crate::address::Access,
    /// Kept as long as a device may reach them.
    pub(super) _blocks: Vec<Block>,
}

/// How a domain differs from what its devices should reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tear {
    /// Devices should reach it, and do not.
    Missing,
    /// Devices should not reach it, and may.
    Left,
}

/// Why the calls were not all made.
#[derive(Debug)]
pub(super) struct Stopped {
    /// So many were.
    pub(super) made: usize,
    pub(super) error: Error,
    /// The call that failed has done a part of its work.
    pub(super) halfway: Option<Tear>,
}

/// Makes the calls one after the other, until one fails.
pub(super) fn make(domain: &Domain, steps: &[Step<'_>]) -> std::result::Result<(), Stopped> {
    for (made, step) in steps.iter().enumerate() {
        if let Err(error) = one(domain, step) {
            let is_unmap = matches!(step, Step::Unmap(_));
            let halfway = is_unmap && error.kind() == ErrorKind::Kernel && error.answer().is_none();
            return Err(Stopped {
                made,
                error: error.because_also(format!("for {}", step.piece().section)),
                halfway: halfway.then_some(Tear::Missing),
            });
        }
    }
    Ok(())
}

/// Undoes calls, the last one first; answers what could not be undone. `blocks` are those of a piece.
pub(super) fn undo<'a>(
    domain: &Domain,
    steps: &[Step<'a>],
    blocks: impl Fn(&Piece<'a>) -> Vec<Block>,
) -> Vec<(Torn, Error)> {
    let mut torn = Vec::new();
    for step in steps.iter().rev() {
        let (back, tear) = match step {
            Step::Map(piece) => (Step::Unmap(*piece), Tear::Left),
            Step::Unmap(piece) => (Step::Map(*piece), Tear::Missing),
        };
        match one(domain, &back) {
            Err(error) if error.kind() != ErrorKind::Gone => {
                torn.extend(tear_of(step.piece(), tear, &blocks).map(|torn| (torn, error)));
            }
            _ => {}
        }
    }
    torn
}

pub(super) fn tear_of<'a>(
    piece: &Piece<'a>,
    tear: Tear,
    blocks: impl Fn(&Piece<'a>) -> Vec<Block>,
) -> Option<Torn> {
    Some(Torn {
        range: piece.range,
        memory: piece.memory()?,
        tear,
        access: piece.access,
        _blocks: blocks(piece),
    })
}

/// Makes good what is torn, if the kernel lets it.
pub(super) fn mend(domain: &Domain, torn: &Torn) -> Result<()> {
    let answer = match torn.tear {
        // SAFETY: the blocks of what is torn are kept with it, and then by the sections that have them.
        Tear::Missing => unsafe { domain.map(torn.range, torn.memory, torn.access) },
        Tear::Left => domain.unmap(torn.range).map(drop),
    };
    match answer {
        Err(error) if error.kind() == ErrorKind::Gone => Ok(()),
        answer => answer,
    }
}

fn one(domain: &Domain, step: &Step<'_>) -> Result<()> {
    match step {
        Step::Map(piece) => {
            let memory = piece.memory().ok_or_else(|| {
                Error::new(ErrorKind::Invalid, "map", piece.section.to_string()).at(piece.range)
            })?;
            // SAFETY: the sections that the piece is of hold blocks, whose memory stays and is not borrowed; they are
            // dropped when the piece was unmapped, or never.
            unsafe { domain.map(piece.range, memory, piece.access) }
        }
        Step::Unmap(piece) => domain.unmap(piece.range).map(drop),
    }
}
