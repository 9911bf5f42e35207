//! TCE tables in the kernel: what a guest of POWER maps, without user space being asked.
#![allow(unsafe_code)] // Takes ownership of pages that the kernel has just mapped, and passes a promise on.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, OnceLock};

use crate::address::{Iova, IovaRange};
use crate::error::{Error, ErrorKind, Result};
use crate::iommu::{Aperture, Domain};
use crate::kernel::{Kernel, Protection, RegionMapping};
use crate::memory::Mapping;
use crate::sync::{Mutex, MutexGuard, PoisonError};

use super::tce::Tce;
use super::vfio_device::{KvmGroup, KvmVfio};
use super::{calls, uapi};

/// The bytes of an entry.
const ENTRY: usize = size_of::<u64>();

/// The base 2 logarithms of the page sizes that a table can have.
const PAGE_SHIFTS: std::ops::RangeInclusive<u32> = 12..=34;

/// An in-kernel TCE table of a VM: what the guest has mapped in one window, by the hypercalls that name its number.
///
/// KVM carries `H_PUT_TCE`, `H_PUT_TCE_INDIRECT` and `H_STUFF_TCE` of that number out by itself: it writes the guest's
/// entry down here, and puts the memory into the window of each group that the table is [attached](Self::attach) to.
/// User space does not see those entries, but can read them here: [`find`](Self::find) says whether one leads to
/// memory that is about to go (H3). What KVM cannot do (memory that is not registered, a guest address without a
/// memory slot) it leaves to user space, which [`put`](Self::put)s the entry down itself.
///
/// Dropping it lets go of every group that it was attached to; the kernel has no other way to do that for one group
/// and keep it added. What the guest has put into the windows *stays there*: it goes when they are unmapped, or removed.
/// The table must go before its window is removed: otherwise the guest goes on mapping memory for a window that is none
/// any more, and that memory counts as mapped for good.
#[derive(Debug)]
pub struct TceTable {
    mapping: OnceLock<Mapping>, // unmapped first: it holds the table as its fd does
    fd: OwnedFd,                // with it, the kernel lets go of the groups
    attached: Mutex<Vec<KvmGroup>>,
    kernel: Arc<dyn Kernel>,
    liobn: u64,
    window: Aperture,
    shift: u32,
    is_attachable: bool,
}

impl TceTable {
    /// Creates a table of the VM for a window: `window` says where that is in bytes, and how large its pages are for
    /// the guest. `liobn` is the number by which the guest names it. The VM's fd need not stay open.
    ///
    /// Nothing is attached. The table counts as locked memory of the process, as a whole and from now on: 8 bytes for
    /// each page.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`]: this kernel's KVM has no such tables, as on every architecture but POWER; the VMM
    /// carries the hypercalls out itself. [`ErrorKind::Invalid`]: the window is not in whole pages of 4 KiB to
    /// 16 GiB, or ends with the last address of all; the fd is none of a VM. [`ErrorKind::Busy`]: the VM has a
    /// table with that number. [`ErrorKind::Exhausted`]: memory, or `RLIMIT_MEMLOCK`. Otherwise what the kernel
    /// answered.
    pub fn create(
        kernel: &Arc<dyn Kernel>,
        vm: BorrowedFd<'_>,
        liobn: u64,
        window: &Aperture,
    ) -> Result<Self> {
        const OPERATION: &str = "KVM_CREATE_SPAPR_TCE_64";
        let invalid = |why: &str| {
            Error::new(ErrorKind::Invalid, OPERATION, "a VM")
                .at(window.range)
                .because(why)
        };
        let shift = window.page_size.trailing_zeros();
        if !window.page_size.is_power_of_two() || !PAGE_SHIFTS.contains(&shift) {
            return Err(invalid("a table has pages of 4 KiB to 16 GiB"));
        }
        let IovaPages { offset, size } = IovaPages::of(window.range, window.page_size)
            .ok_or_else(|| invalid("it is not in whole pages, or ends with the last address"))?;
        if !calls::has_capability(kernel, vm, uapi::CAP_SPAPR_TCE_64)? {
            return Err(Error::new(ErrorKind::Unsupported, OPERATION, "a VM")
                .at(window.range)
                .because("this kernel's KVM cannot have TCE tables: the VMM keeps them"));
        }
        let is_attachable = calls::has_capability(kernel, vm, uapi::CAP_SPAPR_TCE_VFIO)?;
        let create = uapi::CreateSpaprTce64 {
            liobn,
            page_shift: shift,
            flags: 0,
            offset,
            size,
        };
        let fd =
            calls::create_table(kernel, vm, &create).map_err(|error| error.at(window.range))?;
        Ok(Self {
            mapping: OnceLock::new(),
            fd,
            attached: Mutex::default(),
            kernel: Arc::clone(kernel),
            liobn,
            window: *window,
            shift,
            is_attachable,
        })
    }

    /// The number by which the guest names it.
    pub fn liobn(&self) -> u64 {
        self.liobn
    }

    /// The window that it was created for, with the guest's page size.
    pub fn window(&self) -> Aperture {
        self.window
    }

    /// Whether it can be attached: this kernel's KVM puts what a guest maps into the windows of assigned devices. If
    /// not, the table is of use for emulated devices alone. (Under a hypervisor, Linux can since 6.15, and 6.12 in its
    /// later versions.)
    pub fn can_attach(&self) -> bool {
        self.is_attachable
    }

    /// Attaches it to a group that was added: from now on, what the guest puts into the table is what the group's
    /// devices reach. What is in it already is *not* put there. The group's container must have a window that starts
    /// where the table's does, is at least as large, and has pages that are no larger.
    ///
    /// It holds the group as another [`KvmGroup`] would. A group that it is attached to already stays so.
    ///
    /// # Safety
    /// From now on the guest maps what it likes of the memory that is both registered with the group's container and
    /// in a memory slot of the VM: such memory must not be unregistered, nor given back, as long as an entry may lead
    /// there ([`find`](Self::find)), also after its slot has gone, and also after the table has gone: until the windows
    /// were unmapped or removed, or the groups have left their container. It also changes the window under the feet of
    /// the [`Domain`], whose mappings in it the guest can replace: nothing may be mapped there that the guest must not
    /// touch.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`]: this kernel [cannot](Self::can_attach); the VMM carries the hypercalls out
    /// itself. [`ErrorKind::Invalid`]: there is no such window, or the group was added to another VM.
    /// [`ErrorKind::Busy`]: the kernel is letting go of it just now. Otherwise what the kernel answered.
    pub unsafe fn attach(&self, group: &KvmGroup) -> Result<()> {
        if !self.is_attachable {
            return Err(self.error(ErrorKind::Unsupported, "attach").because(
                "this kernel's KVM puts nothing into the tables of assigned devices: the VMM does",
            ));
        }
        let mut attached = self.attached();
        // The kernel would count it, and take back one when the group is taken away.
        if attached.iter().any(|it| it.is(group)) {
            return Ok(());
        }
        let held = group.again()?;
        // SAFETY: passed on to our caller.
        unsafe { held.set_table(self.fd.as_fd()) }.map_err(|error| error.at(self.window.range))?;
        attached.push(held);
        Ok(())
    }

    /// Attaches it to every group of a domain, all of which must have been added. A group that joins later must be
    /// added, and attached by calling this again, before the guest may map anything for it.
    ///
    /// # Safety
    /// That of [`attach`](Self::attach).
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] also: a group of the domain was not added. Otherwise those of [`attach`](Self::attach).
    /// Groups that come before the one that is refused stay attached until the table is dropped.
    pub unsafe fn attach_all(&self, kvm: &KvmVfio, domain: &Domain) -> Result<()> {
        let added = kvm.added_of(domain)?;
        let members = domain.members();
        if added.len() < members {
            return Err(self.error(ErrorKind::Invalid, "attach").because(format!(
                "{} of the {members} groups of the domain are added to the VM",
                added.len(),
            )));
        }
        // SAFETY: passed on to our caller.
        added
            .iter()
            .try_for_each(|group| unsafe { self.attach(group) })
    }

    /// The entry of a page.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfReach`]: it is not in the window. What `mmap` of the table answered; once it was mapped, it
    /// stays so.
    pub fn get(&self, iova: Iova) -> Result<Tce> {
        let page = self.page_of(iova)?;
        self.mapped()?.read(page).map(Tce)
    }

    /// Writes an entry down that user space has carried out: the guest finds it when it asks KVM. It changes what
    /// nobody's devices reach.
    ///
    /// # Errors
    /// Those of [`get`](Self::get).
    pub fn put(&self, iova: Iova, tce: Tce) -> Result<()> {
        let page = self.page_of(iova)?;
        self.mapped()?.write(page, tce.0)
    }

    /// The entries of a part of the window that are not zero, the lowest first; each is read when it is come to. What
    /// is outside of the window has none. The kernel gives memory to the parts of the table that are read, which it
    /// accounted from the beginning.
    ///
    /// # Errors
    /// What `mmap` of the table answered; once it was mapped, it stays so.
    pub fn tces(&self, within: IovaRange) -> Result<impl Iterator<Item = (Iova, Tce)> + '_> {
        let mapping = self.mapped()?;
        let start = self.window.range.first().0;
        let pages = within.intersection(self.window.range).map(|within| {
            let first = (within.first().0 - start) >> self.shift;
            let last = (within.last().0 - start) >> self.shift;
            first..=last
        });
        Ok(pages.into_iter().flatten().filter_map(move |page| {
            let place = usize::try_from(page).ok()?.checked_mul(ENTRY)?;
            let tce: u64 = mapping.read(place).ok()?;
            (tce != 0).then(|| (Iova(start + (page << self.shift)), Tce(tce)))
        }))
    }

    /// The first entry of a part of the window that leads to one of those addresses of the guest, with any right;
    /// `None`: no device reaches them through it. The answer holds as long as the guest does not run.
    ///
    /// # Errors
    /// Those of [`tces`](Self::tces).
    pub fn find(&self, within: IovaRange, guest: IovaRange) -> Result<Option<Iova>> {
        let leads_there = |tce: Tce| {
            tce.page(self.window.page_size)
                .is_some_and(|page| page.overlaps(guest))
        };
        let mut tces = self.tces(within)?;
        Ok(tces.find(|(_, tce)| leads_there(*tce)).map(|(at, _)| at))
    }

    fn attached(&self) -> MutexGuard<'_, Vec<KvmGroup>> {
        self.attached.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the entry of a page is, in bytes.
    fn page_of(&self, iova: Iova) -> Result<usize> {
        let range = self.window.range;
        let at = IovaRange::inclusive(iova, iova).filter(|it| range.contains(*it));
        let page = at.map(|_| (iova.0 - range.first().0) >> self.shift);
        page.and_then(|page| usize::try_from(page).ok()?.checked_mul(ENTRY))
            .ok_or_else(|| {
                self.error(ErrorKind::OutOfReach, "access")
                    .because(format!("{iova} is outside of it"))
            })
    }

    /// The whole table.
    fn mapped(&self) -> Result<&Mapping> {
        if let Some(mapping) = self.mapping.get() {
            return Ok(mapping);
        }
        let mapping = self.map()?;
        // Where another thread was faster, this one is unmapped again.
        Ok(self.mapping.get_or_init(|| mapping))
    }

    fn map(&self) -> Result<Mapping> {
        const OPERATION: &str = "mmap";
        let bytes = usize::try_from(self.window.range.size() >> self.shift)
            .ok()
            .and_then(|pages| pages.checked_mul(ENTRY))
            .and_then(|bytes| bytes.checked_next_multiple_of(self.kernel.page_size()));
        let bytes = bytes.ok_or_else(|| {
            self.error(ErrorKind::Exhausted, OPERATION)
                .because("it is larger than the addresses of this process")
        })?;
        let rights = Protection {
            read: true,
            write: true,
        };
        let align = self.kernel.page_size();
        let mapped = self
            .kernel
            .map_region(self.fd.as_fd(), 0, bytes, rights, align);
        match mapped {
            Ok(RegionMapping::Pages(addr)) => {
                // SAFETY: the kernel has just made this mapping, and nobody else knows it.
                Ok(unsafe { Mapping::of_device(&self.kernel, addr, bytes) })
            }
            Ok(RegionMapping::Registers(_)) => Err(self
                .error(ErrorKind::Kernel, OPERATION)
                .because("it is no memory")),
            Err(errno) => {
                Err(Error::kernel(OPERATION, self.to_string(), errno).at(self.window.range))
            }
        }
    }

    fn error(&self, kind: ErrorKind, operation: &'static str) -> Error {
        Error::new(kind, operation, self.to_string()).at(self.window.range)
    }
}

impl fmt::Display for TceTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TCE table {:#x}", self.liobn)
    }
}

/// A window as the kernel wants it.
struct IovaPages {
    /// Where it starts, in pages.
    offset: u64,
    /// How many pages it has.
    size: u64,
}

impl IovaPages {
    /// `None`: not whole pages, or one more than the kernel can count.
    fn of(range: IovaRange, page_size: u64) -> Option<Self> {
        let part = page_size - 1;
        let end = range.last().0.checked_add(1)?;
        if (range.first().0 | end) & part != 0 {
            return None;
        }
        Some(Self {
            offset: range.first().0 / page_size,
            size: (end - range.first().0) / page_size,
        })
    }
}
