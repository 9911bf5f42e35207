//! A host bridge that a guest sees, and the devices behind it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::debug;
use vfio_core::address::{Iova, IovaRange, PageSizes};
use vfio_core::guest::{AddressSpace, GuestIommu, Request};
use vfio_core::iommu::{Domain, WindowPages, WindowRequest};
use vfio_core::{AddressSpaceId, Error, ErrorKind, Result};

use super::refused::Refused;
use super::table::Table;

pub(super) const OBJECT: &str = "the windows of a guest's host bridge";

/// The window that a guest begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DefaultWindow {
    /// What the guest calls it by: its logical I/O bus number, which no other window of the guest has.
    pub liobn: u32,
    /// Where it is, in bus addresses. On a POWER host it must lie inside the host's own default window: from 0 on, and of
    /// 1 GiB (under a hypervisor) or 2 GiB at the most.
    pub range: IovaRange,
    /// Base 2 logarithm of the size of its pages: 12, on a POWER host.
    pub page_shift: u32,
}

/// Which windows a guest may create.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DynamicWindows {
    /// What the guest calls the one by that it creates.
    pub liobn: u32,
    /// Where it is: on a POWER host, at 2^59.
    pub start: Iova,
    /// The page sizes that the guest's memory can carry: those of its blocks' pages (64 KiB, or their huge pages), and smaller
    /// ones. The guest is offered those that the hosts of all its devices have.
    pub page_sizes: PageSizes,
    /// How many bytes it has at the most, a power of two: as much as the guest can have memory. A table of 8 bytes a page is
    /// kept of what the guest writes.
    pub largest: u64,
}

/// The DMA of a host bridge that a guest on POWER sees: its windows, with what the guest has written in their tables, and the
/// devices that are behind it.
///
/// The guest's memory is that of an [`AddressSpace`]; where it changes, what devices reach changes in the same commit, as
/// behind any [`GuestIommu`]. What TCEs lead to that is not memory is not mapped; they can be read back all the same. A TCE
/// that leads to memory which the guest does not have yet is not mapped later on: the guest writes it again.
///
/// All methods may be called from several threads at once; one call is made after the other, those of the guest's own
/// processors too.
///
/// When it is dropped, everything is unmapped, and windows that were created for it are removed.
///
/// ```
/// # use std::sync::Arc;
/// use iommu_spapr::guest::{Bridge, DefaultWindow, DynamicWindows};
/// use vfio_core::address::{Iova, IovaRange, PageSizes};
/// # use vfio_core::{OpenOptions, Vfio, guest::AddressSpace, host::Bdf};
///
/// # fn emulate(vfio: &Vfio, bdf: Bdf, memory: &Arc<AddressSpace>) -> Result<(), Box<dyn std::error::Error>> {
/// let bridge = Bridge::new(
///     memory,
///     DefaultWindow {
///         liobn: 0x8000_0000,
///         range: IovaRange::new(Iova(0), 1 << 30).ok_or("no such range")?,
///         page_shift: 12,
///     },
///     Some(DynamicWindows {
///         liobn: 0x8000_0001,
///         start: Iova(1 << 59),
///         page_sizes: PageSizes(0x1_1000), // 4 KiB and 64 KiB
///         largest: 1 << 40,
///     }),
/// )?;
/// let device = vfio.open_with(bdf, OpenOptions::default().in_space(bridge.id()))?;
/// bridge.follow(device.domain())?;
///
/// // H_PUT_TCE: the device reads and writes the guest's page at 0x7000_0000 at its address 0x1000.
/// bridge.put(0x8000_0000, 0x1000, 0x7000_0000 | 0b11)?;
/// assert_eq!(bridge.get(0x8000_0000, 0x1000)?, 0x7000_0003);
///
/// // ibm,create-pe-dma-window: 4 GiB of pages of 64 KiB.
/// let window = bridge.create(16, 32)?;
/// bridge.put_list(window.liobn, window.start.0, &[0x7000_0003, 0x7001_0003])?;
///
/// // The guest starts anew.
/// bridge.reset()?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Bridge {
    pub(super) iommu: GuestIommu,
    pub(super) default: DefaultWindow,
    pub(super) dynamic: Option<DynamicWindows>,
    state: Mutex<State>,
}

#[derive(Debug)]
pub(super) struct State {
    /// Those that the guest has now: the default one, and the one that it has created.
    pub(super) tables: Vec<Table>,
    members: Vec<Member>,
}

/// A domain whose devices are behind the bridge.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) domain: Domain,
    /// Otherwise it is here for windows that could not be removed.
    follows: bool,
    /// Where the host's windows start that were created for the guest's, and for which.
    created: Vec<(u32, Iova)>,
}

impl Bridge {
    /// A bridge that no device is behind, of a guest with that memory.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: the windows are not made of whole pages, or are called the same.
    pub fn new(
        memory: &Arc<AddressSpace>,
        default: DefaultWindow,
        dynamic: Option<DynamicWindows>,
    ) -> Result<Self> {
        let invalid = |why: &str| {
            Error::new(ErrorKind::Invalid, "set up", OBJECT)
                .at(default.range)
                .because(why)
        };
        let page = 1u64.checked_shl(default.page_shift).unwrap_or(0);
        let range = default.range;
        if page == 0 || (range.first().0 | range.size()) & (page - 1) != 0 {
            return Err(invalid("the default window is not made of whole pages"));
        }
        if let Some(dynamic) = &dynamic {
            let is_called_alike = dynamic.liobn == default.liobn;
            let most = IovaRange::new(dynamic.start, dynamic.largest);
            let apart = most.is_some_and(|most| !most.overlaps(range));
            let largest_page = dynamic.page_sizes.iter().last().unwrap_or(0);
            let is_placed = largest_page > 0 && dynamic.start.0 % largest_page == 0;
            if !is_placed || is_called_alike || !apart || !dynamic.largest.is_power_of_two() {
                return Err(invalid(
                    "the window that the guest may create has the same number, overlaps the default one, has no power of \
                     two, or does not start with one of its largest pages",
                ));
            }
        }
        let bridge = Self {
            iommu: GuestIommu::of(memory),
            default,
            dynamic,
            state: Mutex::new(State {
                tables: Vec::new(),
                members: Vec::new(),
            }),
        };
        let table = bridge.default_table();
        let table = table.ok_or_else(|| invalid("there is no memory for its table"))?;
        bridge.state().tables.push(table);
        Ok(bridge)
    }

    /// The name under which devices are [opened](vfio_core::OpenOptions::in_space) that are to be behind it.
    pub fn id(&self) -> AddressSpaceId {
        self.iommu.id()
    }

    /// From now on devices of `domain` reach what the guest's TCEs lead to, beginning with those that there are. Windows of
    /// the host are created as the guest has them. One that follows already is left alone.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfReach`]: the host's IOMMU has no window where the guest has one, and can make none there.
    /// Those of [`GuestIommu::follow`] and of [`Domain::create_window`]. Then it does not follow.
    pub fn follow(&self, domain: &Domain) -> Result<()> {
        let state = &mut *self.state();
        state.forget_those_that_are_over();
        let State { tables, members } = state;
        if members.iter().any(|it| it.follows && it.domain == *domain) {
            return Ok(());
        }
        // What the guest has written is in KVM's table, and what it writes next would not come here.
        if let Some(kvms) = tables.iter().find(|it| it.kernel.is_some()) {
            return Err(Error::new(ErrorKind::Busy, "follow", OBJECT)
                .at(kvms.range)
                .because("KVM has this window: it must be taken back first"));
        }
        let known = members.iter().position(|it| it.domain == *domain);
        let mut member = known.map_or_else(|| Member::of(domain), |at| members.remove(at));
        let made = tables
            .iter()
            .try_for_each(|table| member.make_room(table.liobn, table.range, table.page_size()));
        let translations = tables.iter().flat_map(Table::translations);
        let followed = made.and_then(|()| self.iommu.follow(domain, translations));
        member.follows = followed.is_ok();
        if followed.is_err() {
            member.remove_windows();
        }
        members.push(member);
        members.retain(Member::is_needed);
        followed
    }

    /// Unmaps everything from `domain`, which does not follow any more, and removes the windows that were created in it.
    ///
    /// # Errors
    /// Those of [`GuestIommu::unfollow`]; then it still follows. Those of [`Domain::remove_window`]; then it does not, and
    /// the same call tries again.
    pub fn unfollow(&self, domain: &Domain) -> Result<()> {
        let state = &mut *self.state();
        let mut members = state.members.iter_mut();
        let Some(member) = members.find(|it| it.domain == *domain) else {
            return Ok(());
        };
        self.iommu.unfollow(domain)?;
        member.follows = false;
        let removed = member.remove_created(|_| true);
        state.members.retain(Member::is_needed);
        removed
    }

    /// Brings the guest's windows back to the one that it began with, and clears that: what a reset of the guest does, and the
    /// firmware's `ibm,reset-pe-dma-window`.
    ///
    /// # Errors
    /// What the kernel answered; then the guest's windows are as they were, but for what was unmapped. It can be
    /// asked again.
    pub fn reset(&self) -> Result<()> {
        let state = &mut *self.state();
        state.forget_those_that_are_over();
        self.take_all_back(state).map_err(Refused::into_error)?;
        let all = self.iommu.apply(&[Request::Unmap(IovaRange::ALL)]);
        all.map_err(|unmade| unmade.error)?;
        for table in &mut state.tables {
            table.clear();
        }
        state.remove_created(|liobn| liobn != self.default.liobn)?;
        state
            .tables
            .retain(|table| table.liobn == self.default.liobn);
        if state.tables.is_empty() {
            state.tables.extend(self.default_table());
        }
        Ok(())
    }

    pub(super) fn default_table(&self) -> Option<Table> {
        let DefaultWindow {
            liobn,
            range,
            page_shift,
        } = self.default;
        Table::new(liobn, range, page_shift)
    }

    #[inline]
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Those that follow.
    pub(super) fn following(&mut self) -> impl Iterator<Item = &mut Member> {
        self.members.iter_mut().filter(|it| it.follows)
    }

    /// Tries to remove the windows that were created for some of the guest's.
    pub(super) fn remove_created(&mut self, which: impl Fn(u32) -> bool) -> Result<()> {
        let members = self.members.iter_mut();
        let removed = members.map(|member| member.remove_created(&which));
        let removed = removed.fold(Ok(()), Result::and);
        self.members.retain(Member::is_needed);
        removed
    }

    /// Domains whose last group has left have neither windows nor mappings any more.
    pub(super) fn forget_those_that_are_over(&mut self) {
        let is_over = |it: &Member| {
            let windows = it.domain.windows();
            windows.is_err_and(|error| error.kind() == ErrorKind::Gone)
        };
        self.members.retain(|member| !is_over(member));
    }
}

impl Member {
    fn of(domain: &Domain) -> Self {
        Self {
            domain: domain.clone(),
            follows: false,
            created: Vec::new(),
        }
    }

    fn is_needed(&self) -> bool {
        self.follows || !self.created.is_empty()
    }

    /// Sees to it that the host has a window, or something else that can be mapped, where the guest has one.
    pub(super) fn make_room(&mut self, liobn: u32, range: IovaRange, page_size: u64) -> Result<()> {
        let there = self.domain.capabilities()?;
        let serves = |it: &vfio_core::iommu::Aperture| {
            it.range.contains(range) && page_size % it.page_size == 0
        };
        if there.apertures.iter().any(serves) {
            return Ok(());
        }
        let refused = |why: String| {
            Error::new(ErrorKind::OutOfReach, "follow", OBJECT)
                .at(range)
                .because(why)
        };
        if there.apertures.iter().any(|it| it.range.overlaps(range)) {
            return Err(refused(
                "the host's IOMMU has other pages there, or ends before".to_owned(),
            ));
        }
        let pages = WindowPages::Exactly(page_size);
        let request = WindowRequest::of(range.size(), pages);
        let window = self.domain.create_window(&request)?;
        let start = window.range.first();
        self.created.push((liobn, start));
        if window.range.contains(range) {
            return Ok(());
        }
        self.remove_created(|it| it == liobn)?;
        Err(refused(format!(
            "the host puts a window at {start} instead"
        )))
    }

    /// Removes the host's windows that were created for some of the guest's.
    fn remove_created(&mut self, which: impl Fn(u32) -> bool) -> Result<()> {
        let mut result = Ok(());
        self.created.retain(|(liobn, start)| {
            if !which(*liobn) {
                return true;
            }
            match self.domain.remove_window(*start) {
                Err(error) if error.kind() != ErrorKind::Gone => {
                    result = Err(error);
                    true
                }
                _ => false,
            }
        });
        result
    }

    fn remove_windows(&mut self) {
        if let Err(error) = self.remove_created(|_| true) {
            debug!(%error, "it is there until the devices are closed");
        }
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let state = &mut *self.state();
        if let Err(refused) = self.take_all_back(state) {
            debug!(%refused, "what KVM has mapped is unmapped as a whole");
        }
        for table in &mut state.tables {
            table.kernel = None;
        }
        for member in &mut state.members {
            match self.iommu.unfollow(&member.domain) {
                Ok(()) => member.remove_windows(),
                Err(error) => debug!(%error, "its windows stay"),
            }
        }
    }
}
