//! Version 2: memory is registered before it is mapped, and windows can be created.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use vfio_core::address::{Access, DmaMask, HostRange, Iova, IovaRange};
use vfio_core::iommu::{Aperture, Capabilities, IommuBackend, WindowLimits};
use vfio_core::{Container, Error, ErrorKind, Result};

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
        container,
    }))
}

#[derive(Debug)]
struct SpaprV2 {
    container: Container,
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
    blocks: BTreeMap<u64, HostRange>,
}

impl SpaprV2 {
    /// One call at a time: the kernel takes a lock of the container around each of these, too.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn create(&self, size: u64) -> Result<Aperture> {
        let mut refusal = None;
        for candidate in candidates(&self.limits, size, self.host_page as u64) {
            match self.create_one(candidate) {
                Ok(window) => return Ok(window),
                Err(error) => refusal = refusal.or(Some(error)),
            }
        }
        Err(refusal.unwrap_or_else(|| {
            Error::new(ErrorKind::Unsupported, "create a window in", CONTEXT).because(format!(
                "none of the page sizes {} serves {size:#x} bytes",
                self.limits.page_sizes
            ))
        }))
    }

    fn create_one(&self, candidate: Candidate) -> Result<Aperture> {
        let Candidate {
            page_size,
            size,
            levels,
        } = candidate;
        let start = calls::create_window(&self.container, page_size, size, levels)?;
        let range = IovaRange::new(start, size).ok_or_else(|| {
            Error::new(ErrorKind::Kernel, "VFIO_IOMMU_SPAPR_TCE_CREATE", CONTEXT)
                .because(format!("the window starts at {start} and wraps"))
        })?;
        Ok(Aperture { range, page_size })
    }
}

impl IommuBackend for SpaprV2 {
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
    fn make_room(&self, size: u64, mask: DmaMask) -> Result<()> {
        let mut state = self.state();
        let enough = state.windows.len() > 1 || state.windows.len() >= self.limits.count as usize;
        if enough || mask.highest() <= HIGH.highest() {
            return Ok(());
        }
        let window = self.create(size)?;
        if mask.range().contains(window.range) {
            state.windows.push(window);
            state.windows.sort_by_key(|window| window.range.first());
            return Ok(());
        }
        calls::remove_window(&self.container, window.range)?;
        Err(
            Error::new(ErrorKind::OutOfReach, "create a window in", CONTEXT)
                .at(window.range)
                .because("the device cannot address where the kernel put it"),
        )
    }

    fn remove_window(&self, start: Iova) -> Result<()> {
        let mut state = self.state();
        let Some(at) = state.windows.iter().position(|w| w.range.first() == start) else {
            return Err(
                Error::new(ErrorKind::Invalid, "remove a window of", CONTEXT)
                    .because(format!("no window starts at {start}")),
            ); // the kernel takes any address inside (H6)
        };
        calls::remove_window(&self.container, state.windows[at].range)?;
        state.windows.remove(at);
        Ok(())
    }

    #[allow(unsafe_code)] // the trait's contract, passed on
    unsafe fn map(&self, iova: IovaRange, memory: HostRange, access: Access) -> Result<()> {
        let state = &mut *self.state();
        let block = state.registered.acquire(memory, self.host_page, |block| {
            calls::register(&self.container, block)
        })?;
        // SAFETY: our caller keeps the memory allocated and unborrowed until it is unmapped.
        let mapped = unsafe { calls::map(&self.container, &state.windows, iova, memory, access) };
        match mapped {
            Ok(()) => {
                state.blocks.insert(iova.first().0, block);
                Ok(())
            }
            Err(error) => {
                self.release(&mut state.registered, block);
                Err(error)
            }
        }
    }

    fn unmap(&self, iova: IovaRange) -> Result<u64> {
        let state = &mut *self.state();
        calls::unmap(&self.container, &state.windows, iova)?;
        if let Some(block) = state.blocks.remove(&iova.first().0) {
            self.release(&mut state.registered, block);
        }
        Ok(iova.size())
    }
}

impl SpaprV2 {
    /// Gives back a block that no TCE of one mapping points into any more. If the kernel does not take it
    /// back, it stays pinned until the container is closed; no device reaches it.
    fn release(&self, registered: &mut Registered, block: HostRange) {
        let released = registered.release(block, |block| calls::unregister(&self.container, block));
        if let Err(error) = released {
            tracing::warn!(%error, "memory stays registered until the container is closed");
        }
    }
}
