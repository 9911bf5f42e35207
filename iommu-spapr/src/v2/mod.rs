//! Version 2: memory is registered before it is mapped, and windows can be created.
//!
//! - `windows`: making them.
//! - `registered`: memory that the kernel has pinned.
//! - `tces`: which of it each TCE leads to.

mod registered;
mod tces;
mod windows;

use std::sync::{Mutex, MutexGuard, PoisonError};

use vfio_core::address::{Access, HostRange, IovaRange};
use vfio_core::iommu::{
    Capabilities, ErrorIsolation, IommuBackend, MemoryRegistration, Window, WindowLimits, Windows,
};
use vfio_core::{Container, Error, ErrorKind, Result};

use crate::eeh::Eeh;
use crate::{CONTEXT, calls, window};

use registered::Registered;
use tces::{Target, Tces};
use windows::NoWindow;

pub(crate) fn attach(container: Container) -> Result<Box<dyn IommuBackend>> {
    let info = calls::get_info(&container)?;
    let limits = window::limits(&info).ok_or_else(|| {
        Error::new(ErrorKind::Unsupported, "use version 2 of", CONTEXT)
            .because("the kernel accepted it although the platform cannot create windows")
    })?;
    let host_page = container.kernel().page_size();
    let initial = window::default_window(&info);
    Ok(Box::new(SpaprV2 {
        limits,
        initial,
        state: Mutex::new(State {
            windows: initial.into_iter().collect(),
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
    /// In bytes.
    host_page: usize,
    limits: WindowLimits,
    /// The default window.
    initial: Option<Window>,
    state: Mutex<State>,
    eeh: Eeh,
}

#[derive(Debug, Default)]
struct State {
    /// The lowest first.
    windows: Vec<Window>,
    no_window: NoWindow,
    registered: Registered,
    tces: Tces,
    /// Where somebody else sets TCEs, which nobody here knows.
    handed: Vec<IovaRange>,
}

impl State {
    #[inline]
    fn is_handed(&self, range: IovaRange) -> bool {
        self.handed.iter().any(|it| it.overlaps(range))
    }
}

impl SpaprV2 {
    /// One call at a time: the kernel takes a lock of the container around each of these, too.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers memory for the mapping that starts at `iova`, unless it is held as a whole.
    #[cold]
    fn register_alone(
        &self,
        state: &mut State,
        iova: IovaRange,
        memory: HostRange,
    ) -> Result<Target> {
        let block = state.registered.acquire(
            iova.first(),
            memory,
            self.host_page,
            |block| calls::register(&self.container, block),
            |block| calls::unregister(&self.container, block),
        );
        block.map(|block| Target::Own(block.addr()))
    }

    /// The TCEs of several mappings, or of a part of one, are clear.
    #[cold]
    fn cleared(&self, state: &mut State, range: IovaRange) -> Result<()> {
        let cleared = state.tces.clear(range);
        for (block, change) in cleared.shared {
            state.registered.count(block, change);
        }
        let mut result = Ok(());
        for (own, block) in cleared.own {
            match self.release(state, own, block) {
                Ok(()) => state.tces.forget(own),
                Err(error) => result = result.and(Err(error)),
            }
        }
        result
    }

    /// Gives back a block that no TCE of one mapping points into any more.
    #[cold]
    fn release(&self, state: &mut State, iova: IovaRange, block: usize) -> Result<()> {
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

#[allow(unsafe_code)] // the trait's promise
// SAFETY: the kernel clears every TCE of a range inside a window before its UNMAP returns 0, and anything
// else is an error here, as is a block that it did not take back; a MAP that fails clears the TCEs that it
// set (`tce_iommu_build_v2`). That TCEs never come to point to memory that a mapping did not name is what
// `Registered` sees to.
unsafe impl IommuBackend for SpaprV2 {
    fn capabilities(&self) -> Result<Capabilities> {
        Ok(Capabilities {
            page_sizes: self.limits.page_sizes,
            apertures: self.state().windows.iter().map(Window::aperture).collect(),
            mappings_left: None,
            locked: 0,
            windows: Some(self.limits),
        })
    }

    fn windows(&self) -> Option<&dyn Windows> {
        Some(self)
    }

    fn memory_registration(&self) -> Option<&dyn MemoryRegistration> {
        Some(self)
    }

    fn error_isolation(&self) -> Option<&dyn ErrorIsolation> {
        Some(&self.eeh)
    }

    #[allow(unsafe_code)] // the trait's contract, passed on
    unsafe fn map(&self, iova: IovaRange, memory: HostRange, access: Access) -> Result<()> {
        let state = &mut *self.state();
        let target = match state.registered.held(memory, self.host_page) {
            Some(block) => Target::Shared(block),
            None => self.register_alone(state, iova, memory)?,
        };
        let windows = state.windows.iter().map(Window::aperture);
        // SAFETY: our caller keeps the memory allocated and unborrowed until it is unmapped.
        let mapped = unsafe { calls::map(&self.container, windows, iova, memory, access) };
        match (&mapped, target) {
            (Ok(()), target) => {
                // Nothing was mapped there: that is for our caller to know. What is somebody else's is not known.
                let is_known = !state.is_handed(iova) && state.tces.set(iova, target).is_ok();
                if let (true, Target::Shared(block)) = (is_known, target) {
                    state.registered.count(block, 1);
                }
            }
            (Err(_), Target::Shared(_)) => {}
            (Err(_), Target::Own(block)) => {
                // Nothing is mapped, which is what the caller asks; the block waits for its next try.
                if let Err(error) = self.release(state, iova, block) {
                    tracing::warn!(%error, "memory stays pinned");
                }
            }
        }
        mapped.map_err(|error| self.explain(state, iova, error))
    }

    /// After an error of UNREGISTER the device does not reach the memory any more, but the kernel would
    /// still translate into it: it must not be freed yet. The same call tries again.
    fn unmap(&self, iova: IovaRange) -> Result<u64> {
        let state = &mut *self.state();
        let whole = state.tces.target(iova);
        if whole.is_none() {
            state.tces.check_clear(iova)?;
        }
        let windows = state.windows.iter().map(Window::aperture);
        calls::unmap(&self.container, windows, iova)?;
        match whole {
            Some(Target::Shared(block)) => {
                state.tces.forget(iova);
                state.registered.count(block, -1);
            }
            Some(Target::Own(block)) => {
                self.release(state, iova, block)?;
                state.tces.forget(iova);
            }
            None => self.cleared(state, iova)?,
        }
        Ok(iova.size())
    }

    /// A TCE is a TCE (C45).
    fn unmaps_many(&self) -> bool {
        true
    }

    fn unmaps_parts(&self) -> bool {
        true
    }
}

impl SpaprV2 {
    /// What a refusal of memory has to do with the window's pages, if it has.
    #[cold]
    fn explain(&self, state: &State, iova: IovaRange, error: Error) -> Error {
        let window = state.windows.iter().find(|it| it.range.contains(iova));
        let page_size = window.map_or(0, |window| window.page_size);
        match error.answer().is_some() && page_size > self.host_page as u64 {
            true => error.because_also(format!(
                "the window has pages of {page_size:#x} bytes: memory must be registered at a multiple of that, as a \
                 whole number of them, and be of huge pages as large (hugetlb)"
            )),
            false => error,
        }
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
        let state = &mut *self.state();
        if let Some(range) = state.handed.first() {
            return Err(Error::new(ErrorKind::Busy, "unregister memory in", CONTEXT)
                .at(*range)
                .of_memory(memory)
                .because("KVM sets the TCEs there, and they may lead to it"));
        }
        let registered = &mut state.registered;
        registered.let_go(memory, self.host_page, unregister)
    }

    fn hand_over(&self, range: IovaRange) -> Result<()> {
        let state = &mut *self.state();
        state.tces.check_shared(range)?;
        for (block, change) in state.tces.clear(range).shared {
            state.registered.count(block, change);
        }
        state.handed.push(range);
        Ok(())
    }

    fn take_back(&self, range: IovaRange, mapped: &[(IovaRange, HostRange)]) {
        let state = &mut *self.state();
        state.handed.retain(|it| *it != range);
        for (iova, memory) in mapped {
            if let Some(block) = state.registered.held(*memory, self.host_page) {
                let set = state.tces.set(*iova, Target::Shared(block));
                state.registered.count(block, isize::from(set.is_ok()));
            }
        }
    }
}
