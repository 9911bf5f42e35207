//! The windows of a guest, and what is written in them.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use iommu_spapr::guest::{Bridge, DefaultWindow, DynamicWindows, Refused};
use vfio_core::address::PageSizes;

use super::op::{Op, Place, Which};
use super::{BLOCK, BLOCKS, PLACES, address};

/// What the guest sees.
#[derive(Debug, Clone)]
pub struct Model {
    default: DefaultWindow,
    dynamic: DynamicWindows,
    /// How many windows the hosts let the guest create, and with which pages.
    offered: (u32, PageSizes),
    windows: BTreeMap<u32, Window>,
}

#[derive(Debug, Clone)]
struct Window {
    start: u64,
    page_shift: u32,
    pages: u64,
    /// By the number of the page; those that are 0 are not here.
    tces: BTreeMap<u64, u64>,
}

/// What a device finds at an address: a place in a block, and whether it may read and write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// Which block.
    pub block: usize,
    /// Where in it, in bytes.
    pub offset: usize,
    /// It may be read.
    pub reads: bool,
    /// It may be written.
    pub writes: bool,
}

impl Model {
    /// That of a bridge which has just been made. The hosts offer so many windows, with such pages.
    #[must_use]
    pub fn new(default: DefaultWindow, dynamic: DynamicWindows, offered: (u32, PageSizes)) -> Self {
        let mut model = Self {
            default,
            dynamic,
            offered,
            windows: BTreeMap::new(),
        };
        model.reset();
        model
    }

    fn reset(&mut self) {
        let DefaultWindow {
            liobn,
            range,
            page_shift,
        } = self.default;
        let window = Window::new(range.first().0, page_shift, range.size() >> page_shift);
        self.windows = BTreeMap::from([(liobn, window)]);
    }

    /// From now on the hosts offer that.
    pub fn offer(&mut self, windows: u32, page_sizes: PageSizes) {
        self.offered = (windows, page_sizes);
    }

    fn liobn(&self, which: Which) -> u32 {
        match which {
            Which::Default => self.default.liobn,
            Which::Dynamic => self.dynamic.liobn,
        }
    }

    /// Makes a call of the guest, and checks what it answers.
    ///
    /// # Errors
    /// It was answered otherwise than it should have been; or the host refused what it could do.
    pub fn call(&mut self, op: &Op, bridge: &Bridge) -> Result<()> {
        let answer = match op {
            Op::Put(place, tce) => {
                let (liobn, ioba) = self.address(*place);
                bridge.put(liobn, ioba, *tce)
            }
            Op::List(place, tces) => {
                let (liobn, ioba) = self.address(*place);
                bridge.put_list(liobn, ioba, tces)
            }
            Op::Stuff(place, count) => {
                let (liobn, ioba) = self.address(*place);
                bridge.stuff(liobn, ioba, 0, *count)
            }
            Op::Create(page_shift, pages_shift) => bridge
                .create(*page_shift, page_shift + pages_shift)
                .map(|created| {
                    debug_assert_eq!(created.start, self.dynamic.start);
                    debug_assert_eq!(created.liobn, self.dynamic.liobn);
                }),
            Op::Remove(which) => bridge.remove(self.liobn(*which)),
            Op::Reset => bridge.reset().map_err(Refused::Host),
        };
        let after = self.after(op);
        match (answer, after) {
            (Ok(()), Some(after)) => {
                *self = after;
                self.check_tables(op, bridge)
            }
            (Ok(()), None) => bail!("{op:?} was done, and cannot be"),
            (Err(Refused::Host(error)), Some(_)) => {
                Err(anyhow::Error::new(error).context(format!("{op:?}")))
            }
            (Err(refused), Some(_)) => bail!("{op:?} was refused: {refused}"),
            (Err(Refused::Host(error)), None) => {
                Err(anyhow::Error::new(error).context("a host was asked for what cannot be"))
            }
            (Err(Refused::Parameter(_) | Refused::Resource(_)), None) => Ok(()),
        }
    }

    /// The state after a call, if that can be done.
    fn after(&self, op: &Op) -> Option<Self> {
        let mut after = self.clone();
        match op {
            Op::Put(place, tce) => after.write(*place, &[*tce])?,
            Op::List(place, tces) => after.write(*place, tces)?,
            Op::Stuff(place, count) => after.write(*place, &vec![0; *count])?,
            Op::Create(page_shift, pages_shift) => {
                let is_there = self.windows.contains_key(&self.dynamic.liobn);
                let (windows, sizes) = self.offered;
                let sizes = sizes.0 & self.dynamic.page_sizes.0;
                let fits = 1u64 << (page_shift + pages_shift) <= self.dynamic.largest;
                if is_there || windows == 0 || sizes >> page_shift & 1 == 0 || !fits {
                    return None;
                }
                let window = Window::new(self.dynamic.start.0, *page_shift, 1 << pages_shift);
                after.windows.insert(self.dynamic.liobn, window);
            }
            Op::Remove(which) => {
                after.windows.remove(&self.liobn(*which))?;
            }
            Op::Reset => after.reset(),
        }
        Some(after)
    }

    fn write(&mut self, place: Place, tces: &[u64]) -> Option<()> {
        let liobn = self.liobn(place.window);
        let window = self.windows.get_mut(&liobn)?;
        let first = window.number(place.number);
        let page = 1u64 << window.page_shift;
        if first + tces.len() as u64 > window.pages {
            return None;
        }
        if tces
            .iter()
            .any(|tce| tce & 3 != 0 && (tce & !3) % page != 0)
        {
            return None;
        }
        for (n, tce) in (first..).zip(tces) {
            match tce {
                0 => window.tces.remove(&n),
                tce => window.tces.insert(n, *tce),
            };
        }
        Some(())
    }

    fn address(&self, place: Place) -> (u32, u64) {
        let liobn = self.liobn(place.window);
        let window = self.windows.get(&liobn);
        let ioba = window.map_or(0, |it| {
            it.start + (it.number(place.number) << it.page_shift)
        });
        (liobn, ioba)
    }

    /// What the guest reads back is what it has written.
    fn check_tables(&self, op: &Op, bridge: &Bridge) -> Result<()> {
        for (liobn, window) in &self.windows {
            for number in 0..PLACES {
                let n = window.number(number);
                let ioba = window.start + (n << window.page_shift);
                let read = bridge.get(*liobn, ioba).context("read back")?;
                let written = window.tces.get(&n).copied().unwrap_or(0);
                ensure!(
                    read == written,
                    "after {op:?}: {liobn:#x} has {read:#x} at {ioba:#x}, not {written:#x}"
                );
            }
        }
        Ok(())
    }

    /// The windows that there are: where each starts, and the base 2 logarithm of the size of its pages.
    pub fn windows(&self) -> impl Iterator<Item = (u64, u32)> {
        self.windows.values().map(|it| (it.start, it.page_shift))
    }

    /// What devices reach at each page of the window that starts there, by the number of the page.
    #[must_use]
    pub fn reached(&self, start: u64) -> BTreeMap<u64, Target> {
        let mut windows = self.windows.values();
        let Some(window) = windows.find(|it| it.start == start) else {
            return BTreeMap::new();
        };
        let page = 1u64 << window.page_shift;
        let all = window.tces.iter();
        all.filter_map(|(n, tce)| Some((*n, target(*tce, page)?)))
            .collect()
    }
}

impl Window {
    fn new(start: u64, page_shift: u32, pages: u64) -> Self {
        Self {
            start,
            page_shift,
            pages,
            tces: BTreeMap::new(),
        }
    }

    /// The number of a page, of the first ones and the last ones.
    fn number(&self, number: usize) -> u64 {
        let number = number as u64;
        match number < PLACES as u64 / 2 {
            true => number,
            false => self.pages - PLACES as u64 + number,
        }
    }
}

/// What a TCE leads to: memory, with the rights that both have.
fn target(tce: u64, page: u64) -> Option<Target> {
    let (at, rights) = (tce & !3, tce & 3);
    let block = (0..BLOCKS).find(|block| {
        let start = address(*block);
        start <= at && at + page <= start + BLOCK as u64
    })?;
    let (reads, writes) = (rights & 1 != 0, rights & 2 != 0 && block + 1 < BLOCKS);
    (reads || writes).then_some(Target {
        block,
        offset: usize::try_from(at - address(block)).ok()?,
        reads,
        writes,
    })
}
