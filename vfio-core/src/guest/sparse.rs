//! Memory of which parts come and go.

use crate::address::{Iova, IovaRange};
use crate::error::{Error, ErrorKind, Result};

use super::block::Block;
use super::edit::Edit;
use super::section::Section;

/// A large range of the guest's addresses, of whose memory only some blocks are there, as virtio-mem has it.
///
/// Each block is a section, and so a mapping, of its own: any of them can go alone, and a change of some leaves the others
/// be. Which are there is the caller's to know. Memory of blocks that are not there is reached by no device, and can be
/// given back to the host as soon as the change is committed. Not so on POWER: there `memory` is pinned as a whole as long as
/// one of its blocks is there, and devices would find the old pages where a block comes back. There, each block is a
/// [`Block`] of its own, or nothing is given back.
///
/// ```
/// # use vfio_core::{Result, address::{Iova, IovaRange}};
/// # use vfio_core::guest::{AddressSpace, Block, SparseRam};
/// # fn plug(space: &AddressSpace, memory: &Block, range: IovaRange, part: IovaRange) -> Result<()> {
/// let region = SparseRam::new(range, memory, 0, 2 << 20)?;
/// let _ = region.plug(space.edit(), part)?.commit()?;
/// let _ = region.unplug(space.edit(), part)?.commit()?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct SparseRam {
    range: IovaRange,
    memory: Block,
    offset: usize,
    block_size: u64,
}

impl SparseRam {
    /// As much of `memory`, from `offset` bytes into it on, as `range` has, in blocks of `block_size` bytes: a power of two,
    /// of which size and start of the range are multiples.
    ///
    /// The larger the blocks, the fewer [mappings](super::AddressSpace::mappings_left) it takes: as many as there are
    /// [blocks](Self::blocks), if all of them come.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: that is not inside of the memory, or not made of such blocks.
    pub fn new(range: IovaRange, memory: &Block, offset: usize, block_size: u64) -> Result<Self> {
        Section::ram(range, memory, offset)?;
        let part_of_block = block_size.wrapping_sub(1);
        let is_whole = (range.first().0 | range.size()) & part_of_block == 0;
        if !block_size.is_power_of_two() || !is_whole {
            let why = format!("it is not made of blocks of {block_size:#x} bytes");
            return Err(invalid("make", range).because(why));
        }
        Ok(Self {
            range,
            memory: memory.clone(),
            offset,
            block_size,
        })
    }

    /// All of its addresses.
    pub fn range(&self) -> IovaRange {
        self.range
    }

    /// How many blocks it has.
    pub fn blocks(&self) -> u64 {
        self.range.size() / self.block_size
    }

    /// The blocks of a part come.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: it is not made of blocks of this. That one is there already, the commit says
    /// ([`ErrorKind::Overlap`]).
    pub fn plug<'a>(&self, edit: Edit<'a>, part: IovaRange) -> Result<Edit<'a>> {
        let mut blocks = self.blocks_of("plug", part)?;
        blocks.try_fold(edit, |edit, block| {
            let before = block.first().0 - self.range.first().0;
            let before = usize::try_from(before).map_err(|_| invalid("plug", part))?;
            let section = Section::ram(block, &self.memory, self.offset + before)?;
            Ok(edit.insert(section))
        })
    }

    /// The blocks of a part go.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: it is not made of blocks of this. That one is not there, the commit says, with the same kind.
    pub fn unplug<'a>(&self, edit: Edit<'a>, part: IovaRange) -> Result<Edit<'a>> {
        let blocks = self.blocks_of("unplug", part)?;
        Ok(blocks.fold(edit, Edit::remove))
    }

    fn blocks_of(
        &self,
        operation: &'static str,
        part: IovaRange,
    ) -> Result<impl Iterator<Item = IovaRange> + use<>> {
        let size = self.block_size;
        if !self.range.contains(part) || (part.first().0 | part.size()) & (size - 1) != 0 {
            let why = format!("{} has blocks of {size:#x} bytes", self.range);
            return Err(invalid(operation, part).because(why));
        }
        let first = part.first().0;
        let blocks = (0..part.size() / size).map(move |n| first + n * size);
        Ok(blocks.filter_map(move |start| IovaRange::new(Iova(start), size)))
    }
}

fn invalid(operation: &'static str, range: IovaRange) -> Error {
    Error::new(ErrorKind::Invalid, operation, "blocks of guest memory").at(range)
}
