//! A BAR, or the ROM, as accesses find it: its gate, and its parts.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use vfio_core::Result;
use vfio_core::device::{Region, RegionMap};

use super::gate::{Gate, Pass};
use super::msix_table::MsixTable;
use super::slice::{Access, Answer, Empty, Mapped, Pending, Table, Trapped};
use crate::bar::{Bar, PageSize, Slice, SliceKind, SubPage};

/// What nobody answers.
pub(super) const ONES: u8 = 0xff;

/// A BAR or the ROM. Nothing of it changes but its gate, and whether parts of it are mapped.
#[derive(Debug)]
pub(super) struct BarSpace {
    gate: Gate,
    parts: Box<[Part]>,
    size: u64,
    /// Whether it has ports.
    pub(super) is_io: bool,
    /// How it is mapped if it is smaller than a page.
    pub(super) sub_page: Option<SmallBar>,
    /// Whether a part was touched that is to be mapped then.
    touched: AtomicBool,
}

/// A part, up to where it ends.
#[derive(Debug)]
struct Part {
    range: Range<u64>,
    access: Access,
}

/// A BAR smaller than a page.
#[derive(Debug)]
pub(super) struct SmallBar {
    pub(super) shape: SubPage,
    /// All of it, and so its page.
    pub(super) page: Mapped,
}

impl BarSpace {
    /// A BAR whose region is this. What can be mapped of it is not before it is touched, if it is larger than `most` bytes.
    pub(super) fn of_bar(
        bar: &Bar,
        region: &Arc<Region>,
        msix: Option<&Arc<MsixTable>>,
        page: PageSize,
        most: u64,
    ) -> Self {
        let shape = &bar.shape;
        let part = |slice: Slice| {
            let start = slice.range.start;
            let mapped = |deferred| {
                let size = slice.range.end.min(shape.region_size) - start;
                Access::from(Mapped::new(Arc::clone(region), start, size, deferred))
            };
            let access = match (slice.kind, msix) {
                (SliceKind::Mapped, _) => mapped(false),
                (SliceKind::Deferred, _) => mapped(true),
                (SliceKind::Table, Some(table)) => Table(Arc::clone(table), start).into(),
                (SliceKind::Pending, Some(table)) => Pending(Arc::clone(table), start).into(),
                (SliceKind::Trapped, _) => Trapped(Arc::clone(region)).into(),
                (SliceKind::Empty | SliceKind::Table | SliceKind::Pending, _) => Empty.into(),
            };
            Part {
                range: slice.range,
                access,
            }
        };
        let slices = shape.slices_deferred_above(most, page);
        Self {
            gate: Gate::default(),
            parts: slices.into_iter().map(part).collect(),
            size: shape.size,
            is_io: bar.kind.is_io(),
            sub_page: shape.sub_page(page).map(|shape| SmallBar {
                shape,
                page: Mapped::new(Arc::clone(region), 0, bar.shape.region_size, false),
            }),
            touched: AtomicBool::new(false),
        }
    }

    /// One that is all of a kind, in memory space.
    pub(super) fn of_one(size: u64, access: impl Into<Access>) -> Self {
        let part = Part {
            range: 0..size,
            access: access.into(),
        };
        Self {
            gate: Gate::default(),
            parts: Box::new([part]),
            size,
            is_io: false,
            sub_page: None,
            touched: AtomicBool::new(false),
        }
    }

    /// Its size in bytes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Whether accesses are let in.
    pub(super) fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Reads. While it does not answer, and behind its end, there are ones.
    #[inline]
    pub(super) fn read(&self, offset: u64, bytes: &mut [u8]) -> Result<()> {
        let Some(_pass) = self.gate.enter() else {
            bytes.fill(ONES);
            return Ok(());
        };
        match self.find(offset) {
            Some(part) if part.holds(offset, bytes.len()) => {
                self.touch(part);
                part.access.read(offset, bytes)
            }
            _ => self.read_parts(offset, bytes),
        }
    }

    /// Writes. While it does not answer, and behind its end, what is written is lost.
    #[inline]
    pub(super) fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let Some(_pass) = self.gate.enter() else {
            return Ok(());
        };
        match self.find(offset) {
            Some(part) if part.holds(offset, bytes.len()) => {
                self.touch(part);
                part.access.write(offset, bytes)
            }
            _ => self.write_parts(offset, bytes),
        }
    }

    /// An access that reaches several parts, or the end.
    #[cold]
    fn read_parts(&self, offset: u64, bytes: &mut [u8]) -> Result<()> {
        bytes.fill(ONES);
        let mut rest = bytes;
        let mut at = offset;
        while let Some(part) = self.find(at).filter(|_| !rest.is_empty()) {
            let (here, behind) = rest.split_at_mut(part.len_from(at).min(rest.len()));
            self.touch(part);
            part.access.read(at, here)?;
            at += here.len() as u64;
            rest = behind;
        }
        Ok(())
    }

    #[cold]
    fn write_parts(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let mut rest = bytes;
        let mut at = offset;
        while let Some(part) = self.find(at).filter(|_| !rest.is_empty()) {
            let (here, behind) = rest.split_at(part.len_from(at).min(rest.len()));
            self.touch(part);
            part.access.write(at, here)?;
            at += here.len() as u64;
            rest = behind;
        }
        Ok(())
    }

    /// The part that has an offset.
    #[inline]
    fn find(&self, offset: u64) -> Option<&Part> {
        let at = self.parts.partition_point(|part| part.range.end <= offset);
        self.parts.get(at)
    }

    /// A part that is to be mapped once it was touched.
    #[inline]
    fn touch(&self, part: &Part) {
        if let Access::Mapped(mapped) = &part.access {
            if !mapped.is_wanted() {
                mapped.want();
                self.touched.store(true, Ordering::Release);
            }
        }
    }

    /// Whether a part was touched since this was last asked that is to be mapped now.
    #[inline]
    pub(super) fn was_touched(&self) -> bool {
        self.touched.load(Ordering::Relaxed) && self.touched.swap(false, Ordering::Acquire)
    }

    /// What is to be mapped of it: where each starts and ends in the BAR.
    pub(super) fn mapped(&self) -> impl Iterator<Item = (&Range<u64>, &Mapped)> {
        self.parts.iter().filter_map(|part| match &part.access {
            Access::Mapped(mapped) if mapped.is_wanted() => Some((&part.range, mapped)),
            _ => None,
        })
    }

    /// The mapped part that an offset is in, and the right to use it: it stays where it is until that is given back.
    pub(super) fn enter(&self, offset: u64) -> Option<(Pass<'_>, &Arc<RegionMap>, u64)> {
        let part = self.find(offset)?;
        let Access::Mapped(mapped) = &part.access else {
            return None;
        };
        let pass = self.gate.enter()?;
        Some((pass, mapped.mapping()?, part.range.start))
    }
}

impl Part {
    /// Whether all of an access is in it.
    #[inline]
    fn holds(&self, offset: u64, len: usize) -> bool {
        self.range.end - offset >= len as u64
    }

    /// How much of it is from an offset on.
    fn len_from(&self, offset: u64) -> usize {
        usize::try_from(self.range.end - offset).unwrap_or(usize::MAX)
    }
}
