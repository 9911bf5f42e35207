//! What a device reaches is found out by DMA.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use vfio_core::address::{Iova, IovaRange};
use vfio_core::guest::{AddressSpace, Block};
use vfio_core::kernel::Kernel;

use crate::devices::{Copier, Dma, Driver, TELLING};
use crate::guest::{BLOCK_PAGES, BLOCKS, Change, Layout, Model, Page, Ram, Section};
use crate::random;

use super::view::View;

/// The most bytes that are copied at once.
const MOST: usize = 64;
/// So many sections are looked at, if there are more: a transfer takes a tenth of a second.
const LOOKED_AT: usize = 3;

/// The guest's memory, and what should be in it.
pub(super) struct Guest {
    layout: Layout,
    /// Nothing is looked at elsewhere.
    bounds: IovaRange,
    memory: Vec<Ram>,
    expected: Vec<Vec<u8>>,
}

/// Some bytes that the device is to read or write.
struct Place {
    at: Iova,
    len: usize,
}

/// What is behind a place.
struct Found {
    block: usize,
    offset: usize,
    writes: bool,
}

/// What the device has read, into some place of its buffer.
struct Read {
    at: usize,
    place: Place,
    expected: Option<Vec<u8>>,
}

impl Guest {
    /// Memory full of random bytes.
    pub(super) fn new(kernel: &Arc<dyn Kernel>, layout: Layout) -> Result<Self> {
        let (mut memory, mut expected) = (Vec::new(), Vec::new());
        for _ in 0..BLOCKS {
            let ram = Ram::new(kernel, BLOCK_PAGES * layout.page)?;
            let bytes = random::bytes(BLOCK_PAGES * layout.page)?;
            ram.write(0, &bytes)?;
            memory.push(ram);
            expected.push(bytes);
        }
        Ok(Self {
            layout,
            bounds: IovaRange::ALL,
            memory,
            expected,
        })
    }

    /// From now on the model's pages are there, and as large, and what is outside of the bounds is not looked at.
    pub(super) fn move_to(&mut self, layout: Layout, bounds: IovaRange) {
        self.layout = layout;
        self.bounds = bounds;
    }

    fn is_looked_at(&self, at: Iova, len: usize) -> bool {
        let place = IovaRange::new(at, len as u64);
        place.is_some_and(|place| self.bounds.contains(place))
    }

    /// Makes the change, with this memory.
    pub(super) fn commit(&self, space: &AddressSpace, change: &Change) -> vfio_core::Result<()> {
        let committed = self.layout.edit(space, change, &self.blocks())?.commit()?;
        match committed.unreachable.into_iter().next() {
            None => Ok(()),
            Some((_, error)) => Err(error),
        }
    }

    /// The memory, to make sections of.
    pub(super) fn blocks(&self) -> Vec<Block> {
        self.memory.iter().map(|ram| ram.block().clone()).collect()
    }

    /// Has the device read and write inside of some of the sections, just before them and just behind them: it reaches
    /// what the model says, and nothing else.
    pub(super) fn look(
        &mut self,
        sections: &[Section],
        model: &Model,
        driver: &mut dyn Driver,
    ) -> Result<()> {
        let pages = model.pages();
        match driver.copier() {
            Some(copier) => self.look_at_bytes(sections, &pages, copier),
            None => self.look_at_pages(sections, &pages, driver),
        }
    }

    /// What a device can do that reads and writes in its own way: at one page of each section, and at those around it.
    fn look_at_pages(
        &mut self,
        sections: &[Section],
        pages: &BTreeMap<usize, Page>,
        driver: &mut dyn Driver,
    ) -> Result<()> {
        let page = self.layout.page as u64;
        for section in some(sections)? {
            let range = self.layout.range(section.at, section.len)?;
            let inside = range.first().0 + page * random::up_to(section.len - 1)? as u64;
            for at in [range.first().0 - page, inside, range.last().0 + 1] {
                if !self.is_looked_at(Iova(at), self.layout.page) {
                    continue;
                }
                self.look_at_page(pages, Iova(at), driver)
                    .with_context(|| format!("the page at {at:#x}"))?;
            }
        }
        Ok(())
    }

    fn look_at_page(
        &mut self,
        pages: &BTreeMap<usize, Page>,
        at: Iova,
        driver: &mut dyn Driver,
    ) -> Result<()> {
        let len = self.layout.page;
        let found = self.found(pages, &Place { at, len });
        let expected = |arrives| match arrives {
            true => Dma::Arrived,
            false => Dma::Blocked,
        };
        let reads = expected(found.is_some());
        let writes = expected(found.as_ref().is_some_and(|it| it.writes));
        // Where nothing is, it must not be any page of the memory, such as this one.
        let (block, offset) = match found {
            Some(Found { block, offset, .. }) => (block, offset),
            None => (
                random::up_to(BLOCKS - 1)?,
                len * random::up_to(BLOCK_PAGES - 1)?,
            ),
        };
        let ram = self.memory.get(block).context("no such block")?;
        let view = View {
            ram,
            offset,
            len,
            iova: at,
        };
        let done = driver.reads(&view)?;
        ensure!(done == reads, "that the device reads: {done:?}");
        let done = driver.writes(&view)?;
        ensure!(done == writes, "that the device writes: {done:?}");
        // What a device says of itself is like what others have in their buffers: memory is told by random bytes.
        let bytes = random::bytes(len)?;
        ram.write(offset, &bytes)?;
        let expected = self.expected.get_mut(block).context("no such block")?;
        let here = expected.get_mut(offset..offset + len);
        here.context("no such memory")?.copy_from_slice(&bytes);
        self.is_as_expected()
    }

    fn look_at_bytes(
        &mut self,
        sections: &[Section],
        pages: &BTreeMap<usize, Page>,
        copier: &dyn Copier,
    ) -> Result<()> {
        let held = copier.fill()?;
        let mut slots = (0..).step_by(MOST);
        let mut reads = Vec::new();
        for section in some(sections)? {
            for (place, is_read) in self.places(section)? {
                if !self.is_looked_at(place.at, place.len) {
                    continue;
                }
                let at = slots.next().context("the buffer is full")?;
                if is_read {
                    copier.read(place.at, at, place.len)?;
                    let expected = self.expected_at(pages, &place)?;
                    reads.push(Read {
                        at,
                        place,
                        expected,
                    });
                } else {
                    copier.write(at, place.at, place.len)?;
                    let bytes = held.get(at..at + place.len).context("the buffer is full")?;
                    self.has_written(pages, &place, bytes)?;
                }
            }
        }
        let got = copier.contents()?;
        for Read {
            at,
            place,
            expected,
        } in reads
        {
            let got = got.get(at..at + place.len).context("the buffer is full")?;
            match expected {
                Some(bytes) => ensure!(got == bytes, "the device did not read {place}"),
                None => ensure!(!self.knows(got), "the device has read {place}"),
            }
        }
        Ok(())
    }

    /// Where to look at a section, and whether the device is to read there: both inside, one or the other around it.
    fn places(&self, section: &Section) -> Result<[(Place, bool); 4]> {
        let page = self.layout.page as u64;
        let range = self.layout.range(section.at, section.len)?;
        let inside = || -> Result<Place> {
            let len = len()?;
            let page_start = range.first().0 + page * random::up_to(section.len - 1)? as u64;
            let room = self.layout.page - len;
            let offset = match random::up_to(2)? {
                0 => 0,
                1 => room,
                _ => random::up_to(room)?,
            };
            Ok(Place {
                at: Iova(page_start + offset as u64),
                len,
            })
        };
        let before = len()?;
        let before = Place {
            at: Iova(range.first().0 - before as u64),
            len: before,
        };
        let behind = Place {
            at: Iova(range.last().0 + 1),
            len: len()?,
        };
        Ok([
            (before, coin()?),
            (inside()?, true),
            (inside()?, false),
            (behind, coin()?),
        ])
    }

    fn found(&self, pages: &BTreeMap<usize, Page>, place: &Place) -> Option<Found> {
        let from_base = usize::try_from(place.at.0.checked_sub(self.layout.base.0)?).ok()?;
        let (block, page, writes) = *pages.get(&(from_base / self.layout.page))?;
        Some(Found {
            block,
            offset: page * self.layout.page + from_base % self.layout.page,
            writes,
        })
    }

    /// What the device is to find there; `None` if nothing.
    fn expected_at(&self, pages: &BTreeMap<usize, Page>, place: &Place) -> Result<Option<Vec<u8>>> {
        let Some(Found { block, offset, .. }) = self.found(pages, place) else {
            return Ok(None);
        };
        let block = self.expected.get(block).context("no such block")?;
        let bytes = block.get(offset..offset + place.len);
        Ok(Some(bytes.context("no such memory")?.to_vec()))
    }

    /// The device was to write those bytes: memory has changed there, if it may write, and nowhere else.
    fn has_written(
        &mut self,
        pages: &BTreeMap<usize, Page>,
        place: &Place,
        bytes: &[u8],
    ) -> Result<()> {
        let found = self.found(pages, place).filter(|found| found.writes);
        if let Some(Found { block, offset, .. }) = &found {
            let block = self.expected.get_mut(*block).context("no such block")?;
            let memory = block.get_mut(*offset..offset + bytes.len());
            memory.context("no such memory")?.copy_from_slice(bytes);
        }
        let how = match found {
            Some(_) => "all of it",
            None => "none of it",
        };
        self.is_as_expected()
            .with_context(|| format!("the device was to write {place}, {how} and nothing else"))
    }

    /// Memory has changed where it should, and nowhere else.
    fn is_as_expected(&self) -> Result<()> {
        for (block, (ram, expected)) in self.memory.iter().zip(&self.expected).enumerate() {
            let mut now = vec![0; expected.len()];
            ram.read(0, &mut now)?;
            let mut pairs = now.iter().zip(expected);
            if let Some(first) = pairs.position(|(now, expected)| now != expected) {
                bail!("block {block} is wrong from {first:#x} on");
            }
        }
        Ok(())
    }

    /// Whether some bytes are any of the memory's.
    fn knows(&self, bytes: &[u8]) -> bool {
        let telling = bytes.get(..TELLING).unwrap_or(bytes);
        let mut blocks = self.expected.iter();
        blocks.any(|block| block.windows(TELLING).any(|part| part == telling))
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes at {}", self.len, self.at)
    }
}

/// So many of the sections as are looked at.
fn some(sections: &[Section]) -> Result<impl Iterator<Item = &Section>> {
    let first = random::up_to(sections.len())?;
    let around = sections.iter().cycle().skip(first);
    Ok(around.take(LOOKED_AT.min(sections.len())))
}

/// Enough bytes to be told from others.
fn len() -> Result<usize> {
    Ok(TELLING + random::up_to(MOST - TELLING)?)
}

fn coin() -> Result<bool> {
    Ok(random::up_to(1)? == 0)
}
