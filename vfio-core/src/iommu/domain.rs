//! What a user holds of an IOMMU context.

mod handed;
mod unmap;
mod windows;

use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::address::{Access, DmaMask, HostRange, Iova, IovaRange};
use crate::container::Container;
use crate::error::{Error, ErrorKind, Result};
use crate::host::Bdf;
use crate::kernel::Kernel;
use crate::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};

use super::backend::{Capabilities, IommuBackend};
use super::buffer::DmaBuffer;
use super::dirty::DirtyTracking;
use super::dirty_pages::DirtyPages;
use super::error_isolation::ErrorIsolation;
use super::ledger::{Ledger, Refusal};
use super::live_update::LiveUpdate;
use super::origin::Origin;
use super::partitionable_endpoint::PartitionableEndpoint;
use super::placement::Placement;
use super::reservation::Reservation;

pub(crate) use handed::Mapped;
pub(super) use unmap::span;

/// One attached life of an IOMMU context: what its devices may reach, and the way to change it.
///
/// The contract is the same over every backend: a mapping lies inside one aperture, an overlap is
/// refused, an unmap covers whole mappings and answers how many bytes they had, an empty range cannot be
/// said. Every check is made before the kernel is asked.
///
/// It is a handle: clones speak of the same context. When the last group has left the container (over a
/// backend without groups: when its last device was closed), the kernel drops the context with all its
/// mappings; every handle then answers [`ErrorKind::Gone`], and can not touch whatever comes next. A handle that outlives its device keeps the empty container's fd open.
///
/// All methods may be called from several threads at once. Calls on different ranges run concurrently here;
/// whether they do below is the backend's and the kernel's matter (on sPAPR one waits for the other). A group that
/// comes or goes waits for the calls that are in the kernel, and new ones wait for it: a device that joins a context
/// where many gigabytes are being pinned is opened when that is done. Other contexts are not held up.
#[derive(Clone)]
pub struct Domain(Arc<Shared>);

struct Shared {
    name: &'static str,
    kernel: Arc<dyn Kernel>,
    /// What groups are put into; `None` over a backend that has no container.
    container: Option<Container>,
    backend: Box<dyn IommuBackend>,
    /// No call of the kernel that maps or unmaps is made under its lock.
    ledger: Mutex<Ledger>,
    /// Held for reading by every call on the context, for writing by its end.
    life: RwLock<Life>,
    /// Somebody has its dirty pages tracked.
    is_tracked: AtomicBool,
}

/// Where in its life an IOMMU context is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    /// So many groups are in it; devices, where there are no groups.
    Attached(usize),
    /// The last group left, and the kernel dropped every mapping.
    Ended,
    /// The last group could not be taken out: mappings may be there still.
    Unreleased,
}

impl Domain {
    pub(crate) fn new(
        name: &'static str,
        kernel: Arc<dyn Kernel>,
        container: Option<Container>,
        backend: Box<dyn IommuBackend>,
    ) -> Result<Self> {
        let capabilities = checked(&*backend)?;
        let ledger = Ledger::new(capabilities.apertures, capabilities.mappings_left);
        Ok(Self(Arc::new(Shared {
            name,
            kernel,
            container,
            backend,
            ledger: Mutex::new(ledger),
            life: RwLock::new(Life::Attached(1)),
            is_tracked: AtomicBool::new(false),
        })))
    }

    /// The name of the backend that was chosen.
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    pub(crate) fn kernel(&self) -> &Arc<dyn Kernel> {
        &self.0.kernel
    }

    pub(crate) fn container(&self) -> Option<&Container> {
        self.0.container.as_ref()
    }

    /// Opens a device where that is the backend's business.
    pub(crate) fn open_device(&self, bdf: Bdf) -> Result<OwnedFd> {
        self.0.backend.open_device(bdf)
    }

    /// How many groups are in it; devices, where there are no groups.
    pub(crate) fn members(&self) -> usize {
        let life = self.0.life.read().unwrap_or_else(PoisonError::into_inner);
        match *life {
            Life::Attached(members) => members,
            Life::Ended | Life::Unreleased => 0,
        }
    }

    /// Whether a device or group is in it still.
    pub(crate) fn is_attached(&self) -> bool {
        let life = self.0.life.read().unwrap_or_else(PoisonError::into_inner);
        matches!(*life, Life::Attached(_))
    }

    /// Whether the kernel has dropped the context with all its mappings.
    pub(crate) fn is_over(&self) -> bool {
        let life = self.0.life.read().unwrap_or_else(PoisonError::into_inner);
        matches!(*life, Life::Ended)
    }

    pub(crate) fn downgrade(&self) -> WeakDomain {
        WeakDomain(Arc::downgrade(&self.0))
    }

    /// Asks the kernel what the context can do now.
    ///
    /// # Errors
    /// [`ErrorKind::Gone`] after the last group left; what the kernel answered.
    pub fn capabilities(&self) -> Result<Capabilities> {
        self.alive("ask", || self.0.backend.capabilities())
    }

    /// The addresses that can be mapped, the lowest first, as the kernel told last. Nobody is asked.
    ///
    /// # Errors
    /// [`ErrorKind::Gone`] after the last group left.
    pub fn usable_ranges(&self) -> Result<Vec<IovaRange>> {
        self.alive("ask", || {
            let apertures = &self.ledger().apertures;
            Ok(apertures.iter().map(|aperture| aperture.range).collect())
        })
    }

    /// Lets devices reach `memory` at `iova`.
    ///
    /// Both are multiples of the page size of the [`Aperture`](super::Aperture) that holds `iova`, in bytes, and of one
    /// size. The kernel pins the memory.
    ///
    /// # Safety
    /// Until the range is unmapped, or the life of the context has ended, a device may read (and, if
    /// `access` says so, write) the memory at any time: it must stay allocated, and no reference to it may
    /// exist that this would invalidate.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: sizes differ, or something is misaligned. [`ErrorKind::OutOfReach`]: not
    /// inside one aperture. [`ErrorKind::Overlap`]. [`ErrorKind::Gone`]. Otherwise what the kernel
    /// answered. Then nothing has changed.
    #[allow(unsafe_code)] // a contract about memory that the type system cannot see
    pub unsafe fn map(&self, iova: IovaRange, memory: HostRange, access: Access) -> Result<()> {
        // SAFETY: passed on to our caller.
        unsafe { self.map_from(None, iova, memory, access) }
    }

    /// As [`map`](Self::map), and remembers what the guest has said to its own IOMMU.
    ///
    /// # Safety
    /// That of [`map`](Self::map).
    #[allow(unsafe_code)] // as there
    #[inline(always)] // the usual way, for both who call it
    pub(crate) unsafe fn map_from(
        &self,
        origin: Option<Origin>,
        iova: IovaRange,
        memory: HostRange,
        access: Access,
    ) -> Result<()> {
        self.alive("map", || {
            let taken = self.ledger().begin_map(iova, memory, origin);
            taken.map_err(|why| self.not_mapped(iova, memory, &why))?;
            // SAFETY: passed on to our caller.
            let result = unsafe { self.0.backend.map(iova, memory, access) };
            self.ledger().books.finish(iova, result.is_ok());
            result
        })
    }

    /// What [`map`](Self::map) checks before it asks the kernel, but for what is mapped already.
    pub(crate) fn check_map(&self, iova: IovaRange, memory: HostRange) -> Result<()> {
        self.alive("map", || {
            let checked = self.ledger().check(iova, memory);
            checked.map_err(|why| self.not_mapped(iova, memory, &why))
        })
    }

    /// The first mapping that begins behind an address.
    pub(crate) fn next_mapping(&self, after: Iova) -> Option<IovaRange> {
        self.ledger().books.next(after)
    }

    /// The mappings that have an address in a range, the lowest first.
    pub(crate) fn mappings_in(&self, range: IovaRange) -> Vec<IovaRange> {
        self.ledger().books.overlapping(range)
    }

    /// Those of them that the guest has mapped in its own IOMMU.
    pub(crate) fn translated_in(&self, range: IovaRange) -> Vec<(IovaRange, Origin)> {
        self.ledger().books.translated(range)
    }

    /// How many mappings can still be made, by our own count, where the kernel counts them.
    pub(crate) fn mappings_left(&self) -> Option<u64> {
        self.ledger().mappings_left()
    }

    /// Whether memory is to be [registered](Self::register) before parts of it are mapped.
    pub(crate) fn registers_memory(&self) -> bool {
        self.0.backend.memory_registration().is_some()
    }

    /// Registers memory, where that is to be done.
    ///
    /// # Safety
    /// That of [`MemoryRegistration::register`](super::MemoryRegistration::register).
    #[allow(unsafe_code)] // as there
    pub(crate) unsafe fn register(&self, memory: HostRange) -> Result<()> {
        let Some(kernel) = self.0.backend.memory_registration() else {
            return Ok(());
        };
        // SAFETY: passed on to our caller.
        self.alive("register memory in", || unsafe { kernel.register(memory) })
    }

    /// Undoes [`register`](Self::register).
    pub(crate) fn unregister(&self, memory: HostRange) -> Result<()> {
        match self.0.backend.memory_registration() {
            Some(kernel) => self.alive("unregister memory in", || kernel.unregister(memory)),
            None => Ok(()),
        }
    }

    /// Whether what is mapped counts as locked by this process.
    pub(crate) fn locks_what_is_mapped(&self) -> bool {
        self.0.backend.locks_what_is_mapped()
    }

    /// Reserves `size` bytes of addresses that a device with `mask` can use, rounded up to the page size
    /// of the aperture. It may create a window. The highest aperture under the mask is taken first, so
    /// that the low addresses are left to the devices that need them.
    ///
    /// Nothing is mapped. The reservation keeps later ones away until it is dropped; it does not keep
    /// [`map`](Self::map) with an address of somebody's own choice away.
    ///
    /// # Errors
    /// [`ErrorKind::Exhausted`]: there is no such place. [`ErrorKind::Invalid`]: `size` is 0.
    /// [`ErrorKind::Gone`]. Otherwise why no window could be created, where that would have made the place.
    pub fn alloc(&self, size: u64, mask: DmaMask) -> Result<Reservation> {
        const OPERATION: &str = "allocate addresses";
        let object = || format!("{size:#x} bytes up to {}", mask.highest());
        if size == 0 {
            return Err(Error::new(ErrorKind::Invalid, OPERATION, object()));
        }
        self.alive(OPERATION, || {
            let no_room = self.make_room(size, mask);
            let found = self.ledger().reserve(size, mask);
            match (found, no_room) {
                (Some(found), _) => Ok(Reservation::new(self, found)),
                (None, Err(error)) => Err(error),
                (None, Ok(())) => Err(Error::new(ErrorKind::Exhausted, OPERATION, object())
                    .because(format!("{} has no such place free", self.name()))),
            }
        })
    }

    /// Reserves `size` bytes of addresses from `start` on, rounded up to the page size of the aperture, of which
    /// `start` is a multiple. It creates no window.
    ///
    /// Nothing is mapped. The reservation keeps others away as one of [`alloc`](Self::alloc) does.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: `size` is 0, `start` is misaligned, or there are not so many addresses from there
    /// on. [`ErrorKind::OutOfReach`]: not inside one aperture. [`ErrorKind::Overlap`]: something is mapped or
    /// reserved there. [`ErrorKind::Gone`].
    pub fn alloc_at(&self, start: Iova, size: u64) -> Result<Reservation> {
        const OPERATION: &str = "allocate addresses";
        let error = |kind, why: String| {
            let object = format!("{size:#x} bytes from {start} on");
            Error::new(kind, OPERATION, object).because(why)
        };
        let wanted = IovaRange::new(start, size)
            .ok_or_else(|| error(ErrorKind::Invalid, "there are no such addresses".into()))?;
        self.alive(OPERATION, || {
            let mut ledger = self.ledger();
            match ledger.reserve_at(wanted) {
                Ok(found) => Ok(Reservation::new(self, found)),
                Err(refusal) => {
                    let (kind, why) = match refusal {
                        Refusal::Taken(by) => {
                            (ErrorKind::Overlap, format!("{by} is mapped or reserved"))
                        }
                        other => ledger.explain(&other),
                    };
                    Err(error(kind, why).at(wanted))
                }
            }
        })
    }

    pub(super) fn unreserve(&self, range: IovaRange) {
        self.ledger().books.unreserve(range);
    }

    /// The largest page size that an aperture has.
    pub(crate) fn largest_page_size(&self) -> u64 {
        let apertures = &self.ledger().apertures;
        apertures.iter().map(|a| a.page_size).max().unwrap_or(1)
    }

    /// Asks the backend anew where mappings can be: under the lock, so that an older answer never replaces a
    /// newer one.
    fn learn_apertures(&self, ledger: &mut Ledger) -> Result<()> {
        ledger.apertures = checked(&*self.0.backend)?.apertures;
        Ok(())
    }

    /// Zeroed memory of at least `size` bytes that a device can reach and use as `access` says, at the addresses
    /// that `place` names (a [`DmaMask`]: anywhere below it; an [`Iova`]: there): allocated, kept out of child
    /// processes, mapped, and unmapped when it is dropped. Until then nobody else is given these addresses.
    ///
    /// ```
    /// # use vfio_core::{Result, address::{Access, DmaMask, Iova}, iommu::{Domain, Placement}};
    /// # fn buffers(domain: &Domain) -> Result<()> {
    /// let mask = DmaMask::bits(32);
    /// let anywhere = domain.buffer(4096, mask, Access::ReadWrite)?;
    /// let there = domain.buffer(4096, Iova(0x10_0000), Access::Read)?;
    /// let same = domain.buffer(4096, Placement::SameAsMemory(mask), Access::Read)?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of [`alloc`](Self::alloc) or [`alloc_at`](Self::alloc_at), before the kernel is asked; those of
    /// [`map`](Self::map); out of memory.
    pub fn buffer(
        &self,
        size: usize,
        place: impl Into<Placement>,
        access: Access,
    ) -> Result<DmaBuffer> {
        DmaBuffer::new(self, size, place.into(), access)
    }

    /// Has the kernel keep track of the pages that devices write, until the answer is stopped or dropped. One at a time
    /// can. Read [`DirtyPages`] first: behind `vfio-pci` every mapped page is dirty, always.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`]: the backend or the kernel cannot (sPAPR, type1 version 1, kernels before 5.8).
    /// [`ErrorKind::Busy`]: somebody tracks them already. [`ErrorKind::Gone`]. What the kernel answered; then nothing
    /// is tracked.
    pub fn dirty_pages(&self) -> Result<DirtyPages> {
        DirtyPages::start(self)
    }

    /// Runs a call about dirty pages while the context lives.
    pub(super) fn with_tracking<T>(
        &self,
        operation: &'static str,
        call: impl FnOnce(&dyn DirtyTracking) -> Result<T>,
    ) -> Result<T> {
        self.alive(operation, || match self.0.backend.dirty_tracking() {
            Some(tracking) => call(tracking),
            None => Err(self
                .refused(ErrorKind::Unsupported, operation)
                .because("this IOMMU keeps no track of them")),
        })
    }

    /// The unit in which errors of its devices are isolated, on a POWER host (EEH).
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`], and why: this IOMMU or this host isolates no errors, or several groups are in the
    /// context. [`ErrorKind::Gone`]. What the kernel answered.
    pub fn partitionable_endpoint(&self) -> Result<PartitionableEndpoint> {
        PartitionableEndpoint::of(self)
    }

    /// Runs a call about errors that are isolated, while the context lives and has one group.
    pub(super) fn with_isolation<T>(
        &self,
        operation: &'static str,
        call: impl FnOnce(&dyn ErrorIsolation) -> Result<T>,
    ) -> Result<T> {
        let life = self.0.life.read().unwrap_or_else(PoisonError::into_inner);
        let unsupported = |why| Err(self.refused(ErrorKind::Unsupported, operation).because(why));
        match (*life, self.0.backend.error_isolation()) {
            (Life::Attached(_), None) => unsupported("this IOMMU isolates no errors"),
            (Life::Attached(1), Some(kernel)) => call(kernel),
            (Life::Attached(_), Some(_)) => {
                unsupported("it has several groups, of which the kernel tells one")
            }
            (ended, _) => Err(self.dead(ended, operation)),
        }
    }

    /// Runs a call about the addresses of mappings, if the kernel can have it, while the context lives and nobody else
    /// calls.
    pub(super) fn with_live_update<T>(
        &self,
        operation: &'static str,
        call: impl FnOnce(&dyn LiveUpdate) -> Result<T>,
    ) -> Result<T> {
        self.alone(operation, || match self.0.backend.live_update() {
            Some(kernel) => kernel.check().and_then(|()| call(kernel)),
            None => Err(self
                .refused(ErrorKind::Unsupported, operation)
                .because("this IOMMU cannot have them changed")),
        })
    }

    /// Takes the place of the one who has dirty pages tracked; answers whether it was free.
    pub(super) fn begin_tracking(&self) -> bool {
        !self.0.is_tracked.swap(true, Ordering::AcqRel)
    }

    /// Gives that place up.
    pub(super) fn end_tracking(&self) {
        self.0.is_tracked.store(false, Ordering::Release);
    }

    /// Lets another group in, which `join` puts into the container, while no call is in the kernel.
    pub(crate) fn enter<T>(&self, join: impl FnOnce() -> Result<T>) -> Result<T> {
        let mut life = self.0.life.write().unwrap_or_else(PoisonError::into_inner);
        let Life::Attached(members) = &mut *life else {
            return Err(self.dead(*life, "join"));
        };
        let joined = join()?;
        *members += 1;
        Ok(joined)
    }

    /// After another group has come: what the IOMMUs of all of them can map may be less.
    pub(crate) fn learn(&self) -> Result<()> {
        self.alive("ask", || self.learn_apertures(&mut self.ledger()))
    }

    /// `release` takes a group out of the container. With the last one this life ends: no call is in the
    /// kernel then, and none comes after it. That it has ended is asked, not believed: a container that was handed
    /// over may have groups that nobody told of.
    pub(crate) fn leave(&self, release: impl FnOnce() -> Result<()>) -> Result<()> {
        let mut life = self.0.life.write().unwrap_or_else(PoisonError::into_inner);
        if let Life::Attached(members) = &mut *life {
            if *members > 1 {
                return release().map(|()| *members -= 1);
            }
        }
        let released = release().and_then(|()| self.container().map_or(Ok(()), Container::is_over));
        *life = match released {
            Ok(()) => Life::Ended,
            Err(_) => Life::Unreleased,
        };
        released
    }

    /// Runs a call on the context while it lives.
    #[inline]
    fn alive<T>(&self, operation: &'static str, call: impl FnOnce() -> Result<T>) -> Result<T> {
        let life = self.0.life.read().unwrap_or_else(PoisonError::into_inner);
        match *life {
            Life::Attached(_) => call(),
            ended => Err(self.dead(ended, operation)),
        }
    }

    /// Runs a call on the context while it lives and nobody else calls.
    fn alone<T>(&self, operation: &'static str, call: impl FnOnce() -> Result<T>) -> Result<T> {
        let life = self.0.life.write().unwrap_or_else(PoisonError::into_inner);
        match *life {
            Life::Attached(_) => call(),
            ended => Err(self.dead(ended, operation)),
        }
    }

    #[cold]
    fn dead(&self, life: Life, operation: &'static str) -> Error {
        let (kind, why) = match life {
            Life::Unreleased => (
                ErrorKind::Busy,
                "its last group could not be taken out; mappings may still be there",
            ),
            _ => (
                ErrorKind::Gone,
                "its last group left the container; the kernel dropped every mapping",
            ),
        };
        Error::new(kind, operation, self.object()).because(why)
    }

    #[cold]
    fn not_mapped(&self, iova: IovaRange, memory: HostRange, refusal: &Refusal) -> Error {
        let (kind, why) = self.ledger().explain(refusal);
        let error = self.error(kind, "map", iova);
        error.of_memory(memory).because(why)
    }

    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.0.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn object(&self) -> String {
        format!("the {} context", self.name())
    }

    fn error(&self, kind: ErrorKind, operation: &'static str, iova: IovaRange) -> Error {
        self.refused(kind, operation).at(iova)
    }

    /// That something cannot be done with the context.
    pub(super) fn refused(&self, kind: ErrorKind, operation: &'static str) -> Error {
        Error::new(kind, operation, self.object())
    }
}

/// A domain that is held by others.
#[derive(Debug)]
pub(crate) struct WeakDomain(Weak<Shared>);

impl WeakDomain {
    pub(crate) fn upgrade(&self) -> Option<Domain> {
        self.0.upgrade().map(Domain)
    }

    /// Whether anybody has a handle of it; it may have ended.
    pub(crate) fn is_held(&self) -> bool {
        self.0.strong_count() > 0
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Domain").field(&self.name).finish()
    }
}

/// What a backend can do: page sizes are powers of two, or nothing here would make sense.
fn checked(backend: &dyn IommuBackend) -> Result<Capabilities> {
    let capabilities = backend.capabilities()?;
    let mut apertures = capabilities.apertures.iter();
    match apertures.find(|a| !a.page_size.is_power_of_two()) {
        None => Ok(capabilities),
        Some(odd) => Err(
            Error::new(ErrorKind::Kernel, "use", "what the IOMMU can map")
                .at(odd.range)
                .because(format!("its pages would have {:#x} bytes", odd.page_size)),
        ),
    }
}

/// The same context.
impl PartialEq for Domain {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Domain {}

impl fmt::Debug for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
