//! Making the calls of a plan, and undoing them.
#![allow(unsafe_code)] // What is mapped is of blocks that are kept until it is unmapped.

use crate::address::{Access, HostRange, IovaRange};
use crate::error::{Error, ErrorKind, Result};
use crate::iommu::{Domain, Origin};

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
    pub(super) access: Access,
    pub(super) origin: Option<Origin>,
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
    /// And so many mappings of the next one are unmapped.
    pub(super) unmapped: usize,
    pub(super) error: Error,
    /// The call that failed has unmapped a part of what it should.
    pub(super) is_halfway: bool,
}

/// Makes the calls one after the other, until one fails.
pub(super) fn make(domain: &Domain, steps: &[Step<'_>]) -> std::result::Result<(), Stopped> {
    for (made, step) in steps.iter().enumerate() {
        let (unmapped, result) = one(domain, step);
        let Err(error) = unless_gone(result) else {
            continue;
        };
        let is_unmap = matches!(step, Step::Unmap(_));
        let is_halfway = is_unmap && error.answer().is_none() && error.kind() == ErrorKind::Kernel;
        return Err(Stopped {
            made,
            unmapped,
            is_halfway,
            error: match step.pieces().get(unmapped) {
                Some(piece) => error.because_also(format!("for {}", piece.section)),
                None => error,
            },
        });
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
        match step {
            Step::Map(piece) => {
                let undone = domain.unmap(piece.range).map(drop);
                torn.extend(tear_of(undone, piece, Tear::Left, &blocks));
            }
            Step::Unmap(pieces) => {
                for piece in pieces {
                    torn.extend(tear_of(map(domain, piece), piece, Tear::Missing, &blocks));
                }
            }
        }
    }
    torn
}

/// What is torn by a call that should have undone another.
fn tear_of<'a>(
    undone: Result<()>,
    piece: &Piece<'a>,
    tear: Tear,
    blocks: impl Fn(&Piece<'a>) -> Vec<Block>,
) -> Option<(Torn, Error)> {
    let error = unless_gone(undone).err()?;
    Some((Torn::new(piece, tear, blocks(piece))?, error))
}

impl Torn {
    pub(super) fn new(piece: &Piece<'_>, tear: Tear, blocks: Vec<Block>) -> Option<Self> {
        Some(Self {
            range: piece.range,
            memory: piece.memory()?,
            tear,
            access: piece.access,
            origin: piece.origin,
            _blocks: blocks,
        })
    }
}

/// Makes good what is torn, if the kernel lets it.
pub(super) fn mend(domain: &Domain, torn: &Torn) -> Result<()> {
    let cleared = domain.clear(torn.range); // it may be there in part
    unless_gone(cleared.and_then(|()| match torn.tear {
        // SAFETY: the blocks of what is torn are kept with it, and then by the sections that have them.
        Tear::Missing => unsafe {
            domain.map_from(torn.origin, torn.range, torn.memory, torn.access)
        },
        Tear::Left => Ok(()),
    }))
}

/// A domain that is over has nothing mapped: that is fine.
pub(super) fn unless_gone(answer: Result<()>) -> Result<()> {
    match answer {
        Err(error) if error.kind() == ErrorKind::Gone => Ok(()),
        answer => answer,
    }
}

/// Makes a call; answers how many mappings it has unmapped, too.
fn one(domain: &Domain, step: &Step<'_>) -> (usize, Result<()>) {
    let pieces = match step {
        Step::Map(piece) => return (0, map(domain, piece)),
        Step::Unmap(pieces) => pieces,
    };
    let ranges: Vec<_> = pieces.iter().map(|piece| piece.range).collect();
    match domain.unmap_at_once(&ranges) {
        Ok(true) => return (ranges.len(), Ok(())),
        Ok(false) => {}
        Err(error) => return (0, Err(error)),
    }
    for (unmapped, range) in ranges.iter().enumerate() {
        if let Err(error) = domain.unmap(*range) {
            return (unmapped, Err(error));
        }
    }
    (ranges.len(), Ok(()))
}

/// Maps a piece.
pub(super) fn map(domain: &Domain, piece: &Piece<'_>) -> Result<()> {
    let memory = piece.memory().ok_or_else(|| {
        Error::new(ErrorKind::Invalid, "map", piece.section.to_string()).at(piece.range)
    })?;
    // SAFETY: the sections that the piece is of hold blocks, whose memory stays and is not borrowed; they are dropped when
    // the piece was unmapped, or never.
    unsafe { domain.map_from(piece.origin, piece.range, memory, piece.access) }
}
