//! Blocks of guest memory that a domain knows, before parts of them are mapped.
#![allow(unsafe_code)] // What is registered is a block, which is kept as long.

use tracing::warn;

use crate::error::Result;
use crate::iommu::Domain;

use super::block::Block;
use super::carry_out::unless_gone;

/// A block that is registered in a domain, until this is dropped.
#[derive(Debug)]
pub(super) struct Registered {
    domain: Domain,
    pub(super) block: Block,
}

impl Registered {
    /// Registers those of some blocks that are not among `known`; all or none.
    pub(super) fn all<'a>(
        domain: &Domain,
        blocks: impl Iterator<Item = &'a Block>,
        known: &[Self],
    ) -> Result<Vec<Self>> {
        let mut made: Vec<Self> = Vec::new();
        if !domain.registers_memory() {
            return Ok(made);
        }
        for block in blocks {
            if known.iter().chain(&made).all(|it| it.block != *block) {
                // SAFETY: the block is kept with what is made here, which ends what is registered before that.
                unless_gone(unsafe { domain.register(block.range()) })?;
                made.push(Self {
                    domain: domain.clone(),
                    block: block.clone(),
                });
            }
        }
        Ok(made)
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let memory = self.block.range();
        if let Err(error) = unless_gone(self.domain.unregister(memory)) {
            // No device reaches it; whoever registers these addresses next tries again.
            warn!(%error, %memory, "memory stays pinned");
        }
    }
}
