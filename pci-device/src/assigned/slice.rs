//! What becomes of an access to a part of a BAR.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use enum_dispatch::enum_dispatch;
use vfio_core::Result;
use vfio_core::device::{Region, RegionMap};

use super::msix_table::MsixTable;
use super::rom::Rom;

/// Answers accesses to a part of a BAR. `offset` is one in the BAR, in bytes, and the bytes are inside of the part.
#[enum_dispatch]
pub(super) trait Answer {
    fn read(&self, offset: u64, bytes: &mut [u8]) -> Result<()>;
    fn write(&self, offset: u64, bytes: &[u8]) -> Result<()>;
}

/// The kinds of parts.
#[enum_dispatch(Answer)]
#[derive(Debug)]
pub(super) enum Access {
    Trapped,
    Mapped,
    Table,
    Pending,
    Empty,
    Rom,
}

/// Registers that are reached through VFIO, one call an access.
#[derive(Debug)]
pub(super) struct Trapped(pub(super) Arc<Region>);

impl Answer for Trapped {
    #[inline]
    fn read(&self, offset: u64, bytes: &mut [u8]) -> Result<()> {
        self.0.read_bytes(offset, bytes)
    }

    #[inline]
    fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.0.write_bytes(offset, bytes)
    }
}

/// Pages that the guest reaches itself, once they are mapped. What comes here all the same goes the same way.
#[derive(Debug)]
pub(super) struct Mapped {
    region: Arc<Region>,
    /// Where it starts in the BAR, in bytes, and how much of the region it is.
    start: u64,
    size: u64,
    map: OnceLock<Arc<RegionMap>>,
    /// Whether it is to be mapped: those that are deferred, only once they were touched.
    wanted: AtomicBool,
}

impl Mapped {
    pub(super) fn new(region: Arc<Region>, start: u64, size: u64, deferred: bool) -> Self {
        Self {
            region,
            start,
            size,
            map: OnceLock::new(),
            wanted: AtomicBool::new(!deferred),
        }
    }

    /// The mapping, if it is there.
    pub(super) fn mapping(&self) -> Option<&Arc<RegionMap>> {
        self.map.get()
    }

    /// Whether it is to be mapped.
    pub(super) fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed)
    }

    /// It is to be mapped from now on.
    pub(super) fn want(&self) {
        self.wanted.store(true, Ordering::Relaxed);
    }

    /// Maps it, unless it is.
    pub(super) fn map(&self) -> Result<&Arc<RegionMap>> {
        if let Some(map) = self.map.get() {
            return Ok(map);
        }
        let map = Arc::new(self.region.map_part(self.start, self.size)?);
        Ok(self.map.get_or_init(|| map))
    }

    /// The mapping, if all of an access is one of a register in it.
    #[inline]
    fn register(&self, offset: u64, len: usize) -> Option<(&RegionMap, usize)> {
        let map = self.map.get()?;
        let at = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        let is_one = len.is_power_of_two() && len <= 8 && at % len == 0;
        (is_one && at + len <= map.len()).then_some((map, at))
    }
}

impl Answer for Mapped {
    /// Registers have the bytes of this host's memory: what the device has written, in its order.
    #[inline]
    fn read(&self, offset: u64, bytes: &mut [u8]) -> Result<()> {
        let Some((map, at)) = self.register(offset, bytes.len()) else {
            return self.region.read_bytes(offset, bytes);
        };
        match bytes.len() {
            1 => bytes.copy_from_slice(&map.read::<u8>(at)?.to_ne_bytes()),
            2 => bytes.copy_from_slice(&map.read::<u16>(at)?.to_ne_bytes()),
            4 => bytes.copy_from_slice(&map.read::<u32>(at)?.to_ne_bytes()),
            _ => bytes.copy_from_slice(&map.read::<u64>(at)?.to_ne_bytes()),
        }
        Ok(())
    }

    #[inline]
    fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let Some((map, at)) = self.register(offset, bytes.len()) else {
            return self.region.write_bytes(offset, bytes);
        };
        match *bytes {
            [a] => map.write(at, a),
            [a, b] => map.write(at, u16::from_ne_bytes([a, b])),
            [a, b, c, d] => map.write(at, u32::from_ne_bytes([a, b, c, d])),
            [a, b, c, d, e, f, g, h] => map.write(at, u64::from_ne_bytes([a, b, c, d, e, f, g, h])),
            _ => self.region.write_bytes(offset, bytes),
        }
    }
}

/// The MSI-X table, from this offset in the BAR on.
#[derive(Debug)]
pub(super) struct Table(pub(super) Arc<MsixTable>, pub(super) u64);

/// The pending bits of MSI-X, from this offset in the BAR on. They cannot be written.
#[derive(Debug)]
pub(super) struct Pending(pub(super) Arc<MsixTable>, pub(super) u64);

/// Nothing: the place beside a table that was moved.
#[derive(Debug)]
pub(super) struct Empty;

/// How far an offset is behind a start; a part has no offset before its own.
fn behind(offset: u64, start: u64) -> usize {
    usize::try_from(offset.saturating_sub(start)).unwrap_or(usize::MAX)
}

impl Answer for Table {
    fn read(&self, offset: u64, bytes: &mut [u8]) -> Result<()> {
        self.0.read(behind(offset, self.1), bytes);
        Ok(())
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.0.write(behind(offset, self.1), bytes);
        Ok(())
    }
}

impl Answer for Pending {
    fn read(&self, offset: u64, bytes: &mut [u8]) -> Result<()> {
        self.0.read_pending(behind(offset, self.1), bytes);
        Ok(())
    }

    fn write(&self, _: u64, _: &[u8]) -> Result<()> {
        Ok(())
    }
}

impl Answer for Empty {
    fn read(&self, _: u64, bytes: &mut [u8]) -> Result<()> {
        bytes.fill(0);
        Ok(())
    }

    fn write(&self, _: u64, _: &[u8]) -> Result<()> {
        Ok(())
    }
}
