//! What a guest on POWER does with the windows of its host bridge, as a plain model, and calls that numbers choose: what
//! devices reach is compared with it, on simulated kernels by their tables, on real ones by DMA.

mod model;
mod op;

use vfio_core::Result;
use vfio_core::address::Iova;
use vfio_core::address::IovaRange;
use vfio_core::guest::{AddressSpace, Block, Section};

pub use model::{Model, Target};
pub use op::{Numbers, Op, Place, Which};

/// A block of the guest's memory has so many bytes: whole pages of 64 KiB.
pub const BLOCK: usize = 24 << 16;
/// So many there are; devices only read the last one.
pub const BLOCKS: usize = 3;
/// Where the first block is in the guest; the others follow, with gaps between them.
const BASE: u64 = 0x7000_0000;
const APART: u64 = 0x20_0000;
/// At so many pages of a window something is written: half of them are its first ones, and half its last.
pub const PLACES: usize = 48;

/// Where a block is in the guest.
#[must_use]
pub fn address(block: usize) -> u64 {
    BASE + block as u64 * APART
}

/// Gives a guest its memory.
///
/// # Errors
/// Those of [`Edit::commit`](vfio_core::guest::Edit::commit).
pub fn populate(space: &AddressSpace, blocks: &[Block]) -> Result<()> {
    let mut edit = space.edit();
    for (n, block) in blocks.iter().enumerate() {
        let Some(range) = IovaRange::new(Iova(address(n)), block.range().len() as u64) else {
            continue;
        };
        edit = edit.insert(match n + 1 < BLOCKS {
            true => Section::ram(range, block, 0)?,
            false => Section::rom(range, block, 0)?,
        });
    }
    edit.commit().map(drop)
}
