//! Version 2: memory is registered before it is mapped, and windows can be created.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use vfio_core::address::{Access, DmaMask, HostRange, Iova, IovaRange};
use vfio_core::iommu::{
    Aperture, Capabilities, ErrorIsolation, IommuBackend, MemoryRegistration, WindowLimits,
};
use vfio_core::{Container, Error, ErrorKind, Result};

use crate::eeh::Eeh;
use crate::registered::Registered;
use crate::window::{Candidate, candidates};
use crate::{CONTEXT, calls, window};

/// Where windows that are created start on every POWER machine: far above what 32 bits reach.
const HIGH: DmaMask = DmaMask::bits(59);

pub(crate) fn attach(container: Container) -> Result<Box<dyn IommuBackend>> {
    let info = calls::get_info(&container)?;
    let limits = window::limits(&info).ok_or_else(|| {
        Error::new(ErrorKind::Unsupported, "use version 2 of", CONTEXT)
            .because("the kernel accepted it although the platform cannot create windows")
    })?;
    let host_page = container.kernel().page_size();
    Ok(Box::new(SpaprV2 {
        limits,
        state: Mutex::new(State {
            windows: window::default_window(&info).into_iter().collect(),
            ..State::default()
        }),
        host_page,
        eeh: Eeh::of(&container),
        container,
    }))
}

#[derive(Debug)]
struct SpaprV2 {
    container: Container,
    eeh: Eeh,
    host_page: usize,
    limits: WindowLimits,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The lowest first.
    windows: Vec<Aperture>,
    registered: Registered,
    /// The block that each mapping uses, by the mapping's first address.
    blocks: BTreeMap<Iova, HostRange>,
    no_window: NoWindow,
}

/// For whom no window was to be had, until one is removed: a CREATE that fails may not be un-accounted
/// (H5), so it is not tried again and again.
#[derive(Debug, Default)]
struct NoWindow {
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

impl SpaprV2 {
    /// One call at a time: the kernel takes a lock of the container around each of these, too.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Creates the best window that the kernel grants. It is in the list afterwards.
    fn create(&self, state: &mut State, size: u64) -> Result<Aperture> {
        let mut refusal = None;
        let mut largest = 0;
        for candidate in candidates(&self.limits, size, self.host_page as u64) {
            match self.create_one(state, candidate) {
                Ok(window) => return Ok(window),
                Err(error) => refusal = refusal.or(Some(error)),
            }
            if !self.has_free_slot(state) {
                break; // one that wraps, and could not be removed
            }
            // A smaller one was refused as well: then it is not the size.
            largest = candidate.size.max(largest);
            let least = if candidate.size < largest { 0 } else { size };
            state.no_window.from_size = Some(least);
        }
        Err(refusal.unwrap_or_else(|| {
            Error::new(ErrorKind::Unsupported, "create a window in", CONTEXT).because(format!(
                "none of the page sizes {} serves {size:#x} bytes",
                self.limits.page_sizes
            ))
        }))
    }

    /// Creates a window for a device with `mask`, and remembers if there is none to be had.
    fn make_window(&self, state: &mut State, size: u64, mask: DmaMask) -> Result<()> {
        let error = |kind| Error::new(kind, "create a window in", CONTEXT);
        if state.no_window.holds_for(size, mask) {
            return Err(error(ErrorKind::Exhausted).because(
                "there was none to be had before; it is tried again when a window was removed",
            ));
        }
        let window = self.create(state, size)?;
        state.no_window.from_size = None;
        if mask.range().contains(window.range) {
            return Ok(());
        }
        state.no_window.up_to_mask = Some(mask);
        self.remove(state, window.range.first())?;
        Err(error(ErrorKind::OutOfReach)
            .at(window.range)
            .because("the device cannot address where the kernel put it"))
    }

    fn create_one(&self, state: &mut State, candidate: Candidate) -> Result<Aperture> {
        let Candidate {
            page_size,
            size,
            levels,
        } = candidate;
        let start = calls::create_window(&self.container, page_size, size, levels)?;
        if let Some(range) = IovaRange::new(start, size) {
            let window = Aperture { range, page_size };
            state.add(window);
            return Ok(window);
        }
        let wraps = Error::new(ErrorKind::Kernel, "VFIO_IOMMU_SPAPR_TCE_CREATE", CONTEXT)
            .because(format!("the window starts at {start} and wraps"));
        if let Err(error) = calls::remove_window(&self.container, start) {
            // It is there, as far as it can be said.
            let range = IovaRange::inclusive(start, Iova(u64::MAX));
            let said = range.map(|range| Aperture { range, page_size });
            said.into_iter().for_each(|window| state.add(window));
            return Err(wraps.caused_by(vec![error]));
        }
        Err(wraps)
    }

    /// Removes a window of the list, for good: in the list it stays if the kernel refuses.
    fn remove(&self, state: &mut State, start: Iova) -> Result<()> {
        calls::remove_window(&self.container, start)?;
        state.windows.retain(|window| window.range.first() != start);
        Ok(())
    }

    /// Whether another window can be created.
    fn has_free_slot(&self, state: &State) -> bool {
        state.windows.len() <= 1 && state.windows.len() < self.limits.count as usize
    }
}

impl State {
    fn add(&mut self, window: Aperture) {
        self.windows.push(window);
        self.windows.sort_by_key(|window| window.range.first());
    }
}

#[allow(unsafe_code)] // the trait's promise
// SAFETY: the kernel clears every TCE of a range inside a window before its UNMAP returns 0, and anything
// else is an error here, as is a block that it did not take back; a MAP that fails clears the TCEs that it
// set (`tce_iommu_build_v2`). That TCEs never come to point to memory that a mapping did not name is what
// `Registered` sees to.
unsafe impl IommuBackend for SpaprV2 {
    fn capabilities(&self) -> Result<Capabilities> {
        Ok(Capabilities {
            page_sizes: self.limits.page_sizes,
            apertures: self.state().windows.clone(),
            mappings_left: None,
            windows: Some(self.limits),
        })
    }

    /// A device that can address it gets a window of its own kind, high up and with large pages: the
    /// default one stays free for those that cannot.
    fn make_room(&self, size: u64, mask: DmaMask) -> Result<bool> {
        let state = &mut *self.state();
        if !self.has_free_slot(state) || mask.highest() <= HIGH.highest() {
            return Ok(false);
        }
        let before = state.windows.len();
        let made = self.make_window(state, size, mask);
        let changed = state.windows.len() != before;
        match made {
            Err(error) if changed => {
                tracing::warn!(%error, "a window that does not serve could not be removed");
                Ok(true)
            }
            made => made.map(|()| changed),
        }
    }

    fn remove_window(&self, start: Iova) -> Result<()> {
        let state = &mut *self.state();
        if !state.windows.iter().any(|w| w.range.first() == start) {
            return Err(
                Error::new(ErrorKind::Invalid, "remove a window of", CONTEXT)
                    .because(format!("no window starts at {start}")),
            ); // the kernel takes any address inside (H6)
        }
        self.remove(state, start)?;
        state.no_window = NoWindow::default();
        Ok(())
    }

    fn error_isolation(&self) -> Option<&dyn ErrorIsolation> {
        Some(&self.eeh)
    }

    fn memory_registration(&self) -> Option<&dyn MemoryRegistration> {
        Some(self)
    }

    #[allow(unsafe_code)] // the trait's contract, passed on
    unsafe fn map(&self, iova: IovaRange, memory: HostRange, access: Access) -> Result<()> {
        let state = &mut *self.state();
        let block = state.registered.acquire(
            iova.first(),
            memory,
            self.host_page,
            |block| calls::register(&self.container, block),
            |block| calls::unregister(&self.container, block),
        )?;
        // SAFETY: our caller keeps the memory allocated and unborrowed until it is unmapped.
        let mapped = unsafe { calls::map(&self.container, &state.windows, iova, memory, access) };
        match mapped {
            Ok(()) => {
                state.blocks.insert(iova.first(), block);
            }
            Err(_) => {
                // Nothing is mapped, which is what the caller asks; the block waits for its next try.
                if let Err(error) = self.release(state, iova, block) {
                    tracing::warn!(%error, "memory stays pinned");
                }
            }
        }
        mapped
    }

    /// After an error of UNREGISTER the device does not reach the memory any more, but the kernel would
    /// still translate into it: it must not be freed yet. The same call tries again.
    fn unmap(&self, iova: IovaRange) -> Result<u64> {
        let state = &mut *self.state();
        calls::unmap(&self.container, &state.windows, iova)?;
        if let Some(&block) = state.blocks.get(&iova.first()) {
            self.release(state, iova, block)?;
            state.blocks.remove(&iova.first());
        }
        Ok(iova.size())
    }
}

impl SpaprV2 {
    /// Gives back a block that no TCE of one mapping points into any more.
    fn release(&self, state: &mut State, iova: IovaRange, block: HostRange) -> Result<()> {
        let unregister = |block| {
            calls::unregister(&self.container, block).map_err(|error| {
                error
                    .at(iova)
                    .because("it is unmapped, but stays pinned until the kernel takes it back")
            })
        };
        state.registered.release(iova.first(), block, unregister)
    }
}

/// Whole blocks (D49): what is registered can be mapped in parts, and at several places.
impl MemoryRegistration for SpaprV2 {
    #[allow(unsafe_code)] // the trait's contract: that the memory stays, which `Registered` relies on
    unsafe fn register(&self, memory: HostRange) -> Result<()> {
        self.state().registered.hold(
            memory,
            self.host_page,
            |block| calls::register(&self.container, block),
            |block| calls::unregister(&self.container, block),
        )
    }

    fn unregister(&self, memory: HostRange) -> Result<()> {
        let unregister = |block| calls::unregister(&self.container, block);
        let registered = &mut self.state().registered;
        registered.let_go(memory, self.host_page, unregister)
    }
}
