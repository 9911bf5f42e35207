//! The capabilities behind an info struct.

use vfio_core::kernel::{Arg, Result};
use vfio_core::uapi::InfoCapHeader;
use zerocopy::{Immutable, IntoBytes};

use crate::arg;
use crate::machine::Profile;

/// A chain of capabilities, in the order in which they were added.
#[derive(Debug)]
pub(crate) struct Caps {
    chain: Vec<Vec<u8>>,
    /// Each takes a multiple of so many bytes.
    alignment: usize,
}

impl Caps {
    pub(crate) fn new(profile: Profile) -> Self {
        Self {
            chain: Vec::new(),
            alignment: profile.cap_alignment(),
        }
    }

    /// Adds a capability: its bytes, from its header on.
    pub(crate) fn add(&mut self, capability: &(impl IntoBytes + Immutable), more: &[u8]) {
        let mut bytes = capability.as_bytes().to_vec();
        bytes.extend(more);
        bytes.resize(bytes.len().next_multiple_of(self.alignment), 0);
        self.chain.push(bytes);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.chain.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.chain.iter().map(Vec::len).sum()
    }

    /// Writes the chain behind an info struct of `start` bytes. Each header's `next` is filled in.
    pub(crate) fn write(&self, arg: &mut Arg<'_>, start: usize) -> Result<()> {
        let mut at = start;
        for (n, capability) in self.chain.iter().enumerate() {
            arg::put(arg, at, capability)?;
            let end = at + capability.len();
            let next = if n + 1 < self.chain.len() { end } else { 0 };
            let next = u32::try_from(next).unwrap_or(0);
            arg::put(
                arg,
                at + std::mem::offset_of!(InfoCapHeader, next),
                next.as_bytes(),
            )?;
            at = end;
        }
        Ok(())
    }
}

/// The header of a capability; the chain fills in where the next one is.
pub(crate) fn header(id: u16) -> InfoCapHeader {
    InfoCapHeader {
        id,
        version: 1,
        next: 0,
    }
}
