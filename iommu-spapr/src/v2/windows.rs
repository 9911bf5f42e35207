//! Making windows, and removing them.

use vfio_core::address::{DmaMask, Iova, IovaRange};
use vfio_core::iommu::{Window, WindowPages, WindowRequest, Windows};
use vfio_core::{Error, ErrorKind, Result};

use crate::planner::{Candidate, Plan};
use crate::{CONTEXT, calls};

use super::{SpaprV2, State};

/// Where windows that are created start on every POWER machine while there is a default window: far above what 32 bits
/// reach.
const HIGH: DmaMask = DmaMask::bits(59);

/// For whom no window was to be had, until one is removed: a CREATE that fails may not be un-accounted
/// (H5), so it is not tried again and again.
#[derive(Debug, Default)]
pub(super) struct NoWindow {
    /// The kernel refused to create one for as many bytes as these, and so for more.
    from_size: Option<u64>,
    /// It was put where a device with this mask does not reach.
    up_to_mask: Option<DmaMask>,
}

impl NoWindow {
    fn holds_for(&self, size: u64, mask: DmaMask) -> bool {
        self.from_size.is_some_and(|least| least <= size)
            || self
                .up_to_mask
                .is_some_and(|most| mask.highest() <= most.highest())
    }
}

impl State {
    fn add(&mut self, window: Window) {
        self.windows.push(window);
        self.windows.sort_by_key(|window| window.range.first());
    }

    /// Whether another window can be created.
    fn has_free_slot(&self, most: u32) -> bool {
        self.windows.len() <= 1 && self.windows.len() < most as usize
    }
}

impl SpaprV2 {
    /// Creates the best window of a plan that the kernel grants, where devices reach it. `refused` is told which it did not
    /// grant.
    fn create_first(
        &self,
        state: &mut State,
        plan: &Plan,
        mask: DmaMask,
        mut refused: impl FnMut(&mut State, Candidate),
    ) -> Result<Window> {
        let mut refusal = None;
        for candidate in plan.candidates() {
            match self.create_one(state, candidate) {
                Ok(window) => return self.reached(state, window, mask),
                Err(error) => refusal = refusal.or(Some(error)),
            }
            if !state.has_free_slot(self.limits.count) {
                break; // one that wraps, and could not be removed
            }
            refused(state, candidate);
        }
        Err(refusal.unwrap_or_else(|| plan.nothing()))
    }

    /// A window that has just been created, if devices reach it; otherwise it goes again.
    fn reached(&self, state: &mut State, window: Window, mask: DmaMask) -> Result<Window> {
        if mask.range().contains(window.range) {
            return Ok(window);
        }
        state.no_window.up_to_mask = Some(mask);
        self.remove_one(state, window.range.first())?;
        let error = Error::new(ErrorKind::OutOfReach, "create a window in", CONTEXT);
        Err(error.at(window.range).because(
            "the device cannot address where the kernel put it; bare metal puts it at 0 once there is no default window",
        ))
    }

    fn create_one(&self, state: &mut State, candidate: Candidate) -> Result<Window> {
        let Candidate {
            page_size,
            size,
            levels,
        } = candidate;
        let start = calls::create_window(&self.container, page_size, size, levels)?;
        let window = |range| Window {
            range,
            page_size,
            levels,
        };
        if let Some(range) = IovaRange::new(start, size) {
            state.add(window(range));
            return Ok(window(range));
        }
        let wraps = Error::new(ErrorKind::Kernel, "VFIO_IOMMU_SPAPR_TCE_CREATE", CONTEXT)
            .because(format!("the window starts at {start} and wraps"));
        if let Err(error) = calls::remove_window(&self.container, start) {
            // It is there, as far as it can be said.
            let range = IovaRange::inclusive(start, Iova(u64::MAX));
            range.into_iter().for_each(|range| state.add(window(range)));
            return Err(wraps.caused_by(vec![error]));
        }
        Err(wraps)
    }

    /// Removes a window of the list, for good: in the list it stays if the kernel refuses.
    fn remove_one(&self, state: &mut State, start: Iova) -> Result<()> {
        calls::remove_window(&self.container, start)?;
        state.windows.retain(|window| window.range.first() != start);
        Ok(())
    }

    /// The best window for a driver's buffers, and remembers if there is none to be had.
    fn usual_window(&self, state: &mut State, size: u64, mask: DmaMask) -> Result<Window> {
        if state.no_window.holds_for(size, mask) {
            let error = Error::new(ErrorKind::Exhausted, "create a window in", CONTEXT);
            return Err(error.because(
                "there was none to be had before; it is tried again when a window was removed",
            ));
        }
        let plan = Plan::usual(&self.limits, size, self.host_page as u64);
        let mut largest = 0;
        let window = self.create_first(state, &plan, mask, |state, candidate| {
            // A smaller one was refused as well: then it is not the size.
            largest = candidate.size.max(largest);
            let least = if candidate.size < largest { 0 } else { size };
            state.no_window.from_size = Some(least);
        })?;
        state.no_window.from_size = None;
        Ok(window)
    }

    /// The default window is not there: it is made anew, if the platform puts it back in its place.
    fn put_back(&self, state: &mut State, initial: Window) -> Result<()> {
        let pages = WindowPages::Exactly(initial.page_size);
        let request = WindowRequest::of(initial.range.size(), pages);
        let plan = Plan::new(&self.limits, &request, self.host_page as u64);
        let made = self.create_first(state, &plan, request.mask, |_, _| {})?;
        if made.range == initial.range {
            return Ok(());
        }
        self.remove_one(state, made.range.first())?;
        Err(
            Error::new(ErrorKind::Unsupported, "reset the windows of", CONTEXT)
                .at(initial.range)
                .because(format!(
                    "the platform puts a window at {} instead; the default one is there again when the devices were \
                     closed and opened again",
                    made.range.first()
                )),
        )
    }
}

impl Windows for SpaprV2 {
    /// A device that can address it gets a window of its own kind, high up and with large pages: the
    /// default one stays free for those that cannot.
    fn make_room(&self, size: u64, mask: DmaMask) -> Result<bool> {
        let state = &mut *self.state();
        if !state.has_free_slot(self.limits.count) || mask.highest() <= HIGH.highest() {
            return Ok(false);
        }
        let before = state.windows.len();
        let made = self.usual_window(state, size, mask);
        let changed = state.windows.len() != before;
        match made {
            Err(error) if changed => {
                tracing::warn!(%error, "a window that does not serve could not be removed");
                Ok(true)
            }
            made => made.map(|_| changed),
        }
    }

    fn create(&self, request: &WindowRequest) -> Result<Window> {
        let state = &mut *self.state();
        if !state.has_free_slot(self.limits.count) {
            let there: Vec<_> = state.windows.iter().map(|w| w.range.to_string()).collect();
            return Err(
                Error::new(ErrorKind::Exhausted, "create a window in", CONTEXT).because(format!(
                    "there are as many as there can be, {}; one must be removed first",
                    there.join(" ")
                )),
            );
        }
        let plan = Plan::new(&self.limits, request, self.host_page as u64);
        self.create_first(state, &plan, request.mask, |_, _| {})
    }

    fn remove(&self, start: Iova) -> Result<()> {
        let state = &mut *self.state();
        if !state.windows.iter().any(|w| w.range.first() == start) {
            return Err(
                Error::new(ErrorKind::Invalid, "remove a window of", CONTEXT)
                    .because(format!("no window starts at {start}")),
            ); // the kernel takes any address inside (H6)
        }
        self.remove_one(state, start)?;
        state.no_window = NoWindow::default();
        Ok(())
    }

    fn reset(&self) -> Result<()> {
        let state = &mut *self.state();
        let initial = self.initial.map(|it| it.aperture());
        let mut there = state.windows.clone();
        there.retain(|window| Some(window.aperture()) != initial);
        let is_there = there.len() < state.windows.len();
        for window in there {
            self.remove_one(state, window.range.first())?;
        }
        state.no_window = NoWindow::default();
        match self.initial.filter(|_| !is_there) {
            None => Ok(()),
            Some(initial) => self.put_back(state, initial),
        }
    }

    /// A page that is clear is cleared once more. Where somebody else maps, the window was made before that.
    fn settle(&self, start: Iova) -> Result<()> {
        let state = &mut *self.state();
        let windows = state.windows.iter().map(Window::aperture);
        let window = state.windows.iter().find(|it| it.range.first() == start);
        let page = window.and_then(|window| IovaRange::new(start, window.page_size));
        let is_clear = |page| !state.tces.is_set(page) && !state.is_handed(page);
        match page {
            Some(page) if is_clear(page) => calls::unmap(&self.container, windows, page),
            _ => Ok(()),
        }
    }

    fn list(&self) -> Vec<Window> {
        self.state().windows.clone()
    }

    fn initial(&self) -> Vec<Window> {
        self.initial.into_iter().collect()
    }
}
