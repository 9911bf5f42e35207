//! A part of what a guest sees.

use std::fmt;

use crate::address::{Access, HostRange, IovaRange};
use crate::error::{Error, ErrorKind, Result};

use super::block::Block;
use super::piece::Piece;

/// A range of the guest's addresses, and what is there.
///
/// Devices reach RAM, ROM and other devices' memory; an address space leaves the rest out, and says so in an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    range: IovaRange,
    content: Content,
    unit: Option<u64>,
}

/// What is at a section's addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    /// Memory: a block of it, and how far into it the section starts.
    Memory(Kind, Block, usize),
    /// Registers, which the VMM emulates.
    Registers,
    /// Ports of x86, which are not among the addresses of memory.
    Ports,
}

/// What a section's memory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ram,
    /// Mapped so that devices can only read it.
    Rom,
    /// A mapped BAR of another device.
    Peer,
    /// Of a guest whose memory nobody else may see.
    Protected,
}

/// What the addresses of a section are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Bus {
    Memory,
    Ports,
}

impl Section {
    /// RAM, which devices read and write: as much of `block`, from `offset` bytes into it on, as `range` has.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: that is not inside the block.
    pub fn ram(range: IovaRange, block: &Block, offset: usize) -> Result<Self> {
        Self::memory(Kind::Ram, range, block, offset)
    }

    /// RAM that devices only read, as the guest does.
    ///
    /// # Errors
    /// As for [`ram`](Self::ram).
    pub fn rom(range: IovaRange, block: &Block, offset: usize) -> Result<Self> {
        Self::memory(Kind::Rom, range, block, offset)
    }

    /// A BAR of another device that is mapped in this process, for transfers from device to device. Not every kernel can
    /// map it for the IOMMU: that is no error, and [reported](super::Committed::unreachable). What is not made of whole
    /// pages of the IOMMU, as BARs smaller than a page are not, is left out, and said in an event. Whoever moves the BAR
    /// removes the section first.
    ///
    /// # Errors
    /// As for [`ram`](Self::ram).
    pub fn peer(range: IovaRange, block: &Block, offset: usize) -> Result<Self> {
        Self::memory(Kind::Peer, range, block, offset)
    }

    /// Memory that no device may reach.
    ///
    /// # Errors
    /// As for [`ram`](Self::ram).
    pub fn protected(range: IovaRange, block: &Block, offset: usize) -> Result<Self> {
        Self::memory(Kind::Protected, range, block, offset)
    }

    /// Registers that the VMM emulates: no device reaches them through the IOMMU.
    pub fn registers(range: IovaRange) -> Self {
        Self {
            range,
            content: Content::Registers,
            unit: None,
        }
    }

    /// I/O ports, of which `range` are the numbers. They are no part of memory.
    pub fn ports(range: IovaRange) -> Self {
        Self {
            range,
            content: Content::Ports,
            unit: None,
        }
    }

    /// The same as a part of `unit`, a number of the caller's: sections of a unit are only removed together. Those that
    /// follow each other in guest and in host can then be one mapping.
    #[must_use]
    pub fn leaving_with(mut self, unit: u64) -> Self {
        self.unit = Some(unit);
        self
    }

    fn memory(kind: Kind, range: IovaRange, block: &Block, offset: usize) -> Result<Self> {
        let section = Self {
            range,
            content: Content::Memory(kind, block.clone(), offset),
            unit: None,
        };
        let inside = section
            .host()
            .is_some_and(|host| block.range().contains(host));
        match inside {
            true => Ok(section),
            false => Err(Error::new(ErrorKind::Invalid, "make", section.to_string())
                .at(range)
                .of_memory(block.range())
                .because(format!(
                    "{offset:#x} bytes into its block there is not so much"
                ))),
        }
    }

    /// The guest's addresses.
    pub fn range(&self) -> IovaRange {
        self.range
    }

    /// The memory that is there, in this process.
    pub fn host(&self) -> Option<HostRange> {
        match &self.content {
            Content::Memory(_, block, offset) => {
                let start = block.range().addr().checked_add(*offset)?;
                HostRange::new(start, usize::try_from(self.range.size()).ok()?)
            }
            _ => None,
        }
    }

    pub(super) fn bus(&self) -> Bus {
        match self.content {
            Content::Ports => Bus::Ports,
            _ => Bus::Memory,
        }
    }

    pub(super) fn is_peer(&self) -> bool {
        matches!(self.content, Content::Memory(Kind::Peer, ..))
    }

    /// What devices are to reach of it; `None` with the reason if nothing.
    pub(super) fn piece(&self) -> std::result::Result<Piece<'_>, &'static str> {
        let Content::Memory(kind, block, offset) = &self.content else {
            return Err(match self.content {
                Content::Ports => "it is not memory",
                _ => "it is not RAM",
            });
        };
        let access = match kind {
            Kind::Ram | Kind::Peer => Access::ReadWrite,
            Kind::Rom => Access::Read,
            Kind::Protected => return Err("it is protected"),
        };
        Ok(Piece {
            range: self.range,
            host: block.range().addr() + offset,
            access,
            section: self,
            origin: None,
        })
    }

    /// The block that a piece of it is of.
    pub(super) fn block(&self) -> Option<&Block> {
        match &self.content {
            Content::Memory(_, block, _) => Some(block),
            _ => None,
        }
    }

    /// The block of memory of this process that devices are to reach.
    pub(super) fn reachable_block(&self) -> Option<&Block> {
        match &self.content {
            Content::Memory(Kind::Ram | Kind::Rom, block, _) => Some(block),
            _ => None,
        }
    }

    pub(super) fn unit(&self) -> Option<u64> {
        self.unit
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match &self.content {
            Content::Memory(Kind::Ram, ..) => "RAM",
            Content::Memory(Kind::Rom, ..) => "ROM",
            Content::Memory(Kind::Peer, ..) => "another device's memory",
            Content::Memory(Kind::Protected, ..) => "protected memory",
            Content::Registers => "registers",
            Content::Ports => "ports",
        };
        write!(f, "section {} of {name}", self.range)
    }
}
