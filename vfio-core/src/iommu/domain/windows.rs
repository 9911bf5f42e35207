//! The windows of an IOMMU that has them.

use tracing::debug;

use crate::address::{DmaMask, Iova, IovaRange};
use crate::error::{ErrorKind, Result};

use super::super::ledger::Ledger;
use super::super::windows::{Window, WindowRequest, Windows};
use super::Domain;

impl Domain {
    /// The windows that there are, the lowest first, on an IOMMU that lets programs make them; none on any other.
    ///
    /// # Errors
    /// [`ErrorKind::Gone`] after the last group left.
    pub fn windows(&self) -> Result<Vec<Window>> {
        let list = || Ok(self.0.backend.windows().map(Windows::list));
        self.alive("ask", list).map(Option::unwrap_or_default)
    }

    /// The windows that it began with, which [`reset_windows`](Self::reset_windows) comes back to.
    pub fn initial_windows(&self) -> Vec<Window> {
        let windows = self.0.backend.windows();
        windows.map(Windows::initial).unwrap_or_default()
    }

    /// Creates a window, on an IOMMU that lets programs do that. [`alloc`](Self::alloc) makes one of itself where that
    /// serves; this is for those who want others, as an emulator does whose guest has asked for one.
    ///
    /// Where it starts is the platform's to say, which is why the request says what the devices can address. Bare-metal
    /// POWER puts a window at 0 if there is none (after [`remove_window`](Self::remove_window) of that one), and at 2^59
    /// otherwise; a hypervisor at 2^59 always, but for one like the default window.
    ///
    /// ```
    /// # use vfio_core::{Result, iommu::{Domain, WindowPages, WindowRequest}};
    /// # fn huge(domain: &Domain) -> Result<()> {
    /// let huge = WindowPages::Carried(2 << 20); // memory on huge pages of 2 MiB
    /// let window = domain.create_window(&WindowRequest::of(16 << 30, huge))?;
    /// assert!(window.page_size <= 2 << 20);
    /// domain.remove_window(window.range.first())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: `size` is 0. [`ErrorKind::Unsupported`]: this IOMMU has no windows to be made, or none with
    /// such pages. [`ErrorKind::Exhausted`]: there are as many as there can be. [`ErrorKind::OutOfReach`]: the kernel has
    /// put it where the mask does not reach. [`ErrorKind::Gone`]. Otherwise what the kernel answered. Then there is none more
    /// than before.
    pub fn create_window(&self, request: &WindowRequest) -> Result<Window> {
        const OPERATION: &str = "create a window in";
        if request.size == 0 {
            return Err(self
                .refused(ErrorKind::Invalid, OPERATION)
                .because("it would have no address"));
        }
        self.with_windows(OPERATION, |windows, ledger| {
            let created = windows.create(request);
            self.learn_apertures(ledger)?;
            created
        })
    }

    /// Removes the window that starts at `start`, on an IOMMU that lets programs make them.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: there is no such window. [`ErrorKind::Busy`]: something is mapped or
    /// reserved in it. [`ErrorKind::Unsupported`]: this IOMMU has no windows. [`ErrorKind::Gone`].
    /// Otherwise what the kernel answered.
    pub fn remove_window(&self, start: Iova) -> Result<()> {
        const OPERATION: &str = "remove a window of";
        self.with_windows(OPERATION, |windows, ledger| {
            let mut there = windows.list().into_iter();
            let window = there.find(|window| window.range.first() == start);
            let window = window.ok_or_else(|| {
                self.refused(ErrorKind::Invalid, OPERATION)
                    .because(format!("no window starts at {start}"))
            })?;
            self.is_unused(ledger, OPERATION, window.range)?;
            windows.remove(start)?;
            self.learn_apertures(ledger)
        })
    }

    /// Makes the windows those that the context began with.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`]: something is mapped or reserved in one that would go. [`ErrorKind::Unsupported`]: this IOMMU has
    /// no windows, or cannot before its devices are closed and opened again. [`ErrorKind::Gone`]. Otherwise what the
    /// kernel answered; then some of those that go may have gone.
    pub fn reset_windows(&self) -> Result<()> {
        const OPERATION: &str = "reset the windows of";
        self.with_windows(OPERATION, |windows, ledger| {
            let initial: Vec<_> = windows.initial().iter().map(Window::aperture).collect();
            let goes = |window: &Window| !initial.contains(&window.aperture());
            for window in windows.list().into_iter().filter(goes) {
                self.is_unused(ledger, OPERATION, window.range)?;
            }
            let reset = windows.reset();
            self.learn_apertures(ledger)?;
            reset
        })
    }

    /// Sees to it that the kernel has made the windows that have an address in a range, which it may put off until something
    /// is asked of them (C43). Memory must have been mapped, or follow, before. It does nothing where there are no windows.
    ///
    /// # Errors
    /// [`ErrorKind::Gone`]. What the kernel answered.
    pub fn settle_window(&self, range: IovaRange) -> Result<()> {
        self.alive("settle a window of", || {
            let Some(windows) = self.0.backend.windows() else {
                return Ok(());
            };
            let there = windows.list().into_iter();
            let mut there = there.filter(|window| window.range.overlaps(range));
            there.try_for_each(|window| windows.settle(window.range.first()))
        })
    }

    fn is_unused(&self, ledger: &Ledger, operation: &'static str, window: IovaRange) -> Result<()> {
        match ledger.books.in_use(window) {
            None => Ok(()),
            Some(used) => Err(self
                .error(ErrorKind::Busy, operation, window)
                .because(format!("{used} is mapped or reserved"))),
        }
    }

    /// Runs a change of the windows while the context lives, and nothing comes into use in one of them.
    fn with_windows<T>(
        &self,
        operation: &'static str,
        change: impl FnOnce(&dyn Windows, &mut Ledger) -> Result<T>,
    ) -> Result<T> {
        self.alive(operation, || match self.0.backend.windows() {
            Some(windows) => change(windows, &mut self.ledger()),
            None => Err(self
                .refused(ErrorKind::Unsupported, operation)
                .because("this IOMMU has no windows that could be made or removed")),
        })
    }

    /// Lets the backend create a window; learns what it did.
    pub(super) fn make_room(&self, size: u64, mask: DmaMask) -> Result<()> {
        let made = match self.0.backend.windows() {
            Some(windows) => windows.make_room(size, mask),
            None => Ok(false),
        };
        match made {
            Ok(false) => Ok(()),
            Ok(true) => self.learn_apertures(&mut self.ledger()),
            Err(error) => {
                debug!(%error, "no window could be made; going on with those that there are");
                Err(error)
            }
        }
    }
}
