//! A table of TCEs, as a guest has written it.

use vfio_core::address::{Iova, IovaRange};
use vfio_core::guest::{Request, Translation};
use vfio_core::kvm::{Tce, TceTable};

/// A window that a guest sees, and what it has written in it.
#[derive(Debug)]
pub(super) struct Table {
    /// What the guest calls it by.
    pub(super) liobn: u32,
    pub(super) range: IovaRange,
    /// Base 2 logarithm of the size of a page, below 64.
    pub(super) page_shift: u32,
    /// One a page; zeroed memory that nobody has touched costs nothing.
    tces: Vec<u64>,
    /// The host has refused something: what is written may not be what is mapped, and is done again when it is written
    /// again.
    pub(super) is_in_doubt: bool,
    /// The kernel's own, if KVM carries out what the guest writes.
    pub(super) kernel: Option<TceTable>,
}

impl Table {
    /// An empty one of whole pages; `None` if this process has no addresses for it.
    pub(super) fn new(liobn: u32, range: IovaRange, page_shift: u32) -> Option<Self> {
        let pages = range.size().checked_shr(page_shift)?;
        Some(Self {
            liobn,
            range,
            page_shift,
            tces: zeroed(usize::try_from(pages).ok()?)?,
            is_in_doubt: false,
            kernel: None,
        })
    }

    /// Nothing is written, and nothing is mapped.
    pub(super) fn clear(&mut self) {
        self.is_in_doubt = false;
        match zeroed(self.tces.len()) {
            Some(tces) => self.tces = tces,
            None => self.tces.fill(0),
        }
    }

    /// Which entry an address is that of, if so many from there on are in the window.
    #[inline]
    pub(super) fn index(&self, ioba: u64, count: usize) -> Option<usize> {
        let offset = ioba.checked_sub(self.range.first().0)?;
        let at = usize::try_from(offset >> self.page_shift).ok()?;
        let is_inside = at.checked_add(count)? <= self.tces.len();
        let is_page = offset & (self.page_size() - 1) == 0;
        (is_inside && is_page).then_some(at)
    }

    /// What is written there.
    #[inline]
    pub(super) fn get(&self, at: usize) -> u64 {
        self.tces.get(at).copied().unwrap_or_default()
    }

    #[inline]
    pub(super) fn set(&mut self, at: usize, tce: u64) {
        if let Some(entry) = self.tces.get_mut(at) {
            *entry = tce;
        }
    }

    /// Whether that is written there, and done.
    #[inline]
    pub(super) fn has(&self, at: usize, tce: u64) -> bool {
        self.get(at) == tce && !self.is_in_doubt
    }

    /// In bytes.
    #[inline]
    pub(super) fn page_size(&self) -> u64 {
        1 << self.page_shift
    }

    /// Whether a TCE leads to whole pages, if it leads anywhere.
    #[inline]
    pub(super) fn is_aligned(&self, tce: u64) -> bool {
        Tce(tce).access().is_none() || Tce(tce).guest() & (self.page_size() - 1) == 0
    }

    /// The addresses of some entries.
    #[inline]
    pub(super) fn addresses(&self, at: usize, count: usize) -> Option<IovaRange> {
        let start = self.range.first().0 + ((at as u64) << self.page_shift);
        IovaRange::new(Iova(start), (count as u64) << self.page_shift)
    }

    /// Which entries addresses are those of.
    fn entries(&self, range: IovaRange) -> (usize, usize) {
        let offset = range.first().0 - self.range.first().0;
        let number = |bytes: u64| usize::try_from(bytes >> self.page_shift).unwrap_or(usize::MAX);
        (number(offset), number(range.size()))
    }

    /// What one entry that is changed asks of the guest's IOMMU.
    #[inline]
    pub(super) fn change(&self, at: usize, new: u64) -> (Option<Request>, Option<Request>) {
        let Some(range) = self.addresses(at, 1) else {
            return (None, None);
        };
        // What is there is left alone; it may lead to memory that has come since.
        let is_there = self.has(at, new);
        let old = Tce(self.get(at)).access().filter(|_| !is_there);
        let map = translation(range, Tce(new)).map(Request::Map);
        (old.map(|_| Request::Unmap(range)), map)
    }

    /// What entries that are changed ask of the guest's IOMMU: first what goes, then what comes. What follows each other is
    /// one; what is written again as it was may lead to memory that has come since, and is asked for alone.
    pub(super) fn changes(
        &self,
        at: usize,
        count: usize,
        new: impl Fn(usize) -> u64,
    ) -> Vec<Request> {
        let differs = |n: usize| !self.has(at + n, new(n));
        let goes = |n: usize| differs(n) && Tce(self.get(at + n)).access().is_some();
        let comes = |n: usize| Tce(new(n)).access().is_some();
        // Where nothing is, nothing is unmapped either: a gap is no end.
        let next = |n: usize| differs(n + 1) || Tce(self.get(at + n + 1)).access().is_none();
        let unmaps = runs(count, goes, next).filter_map(|(n, len)| {
            let range = self.addresses(at + n, len)?;
            Some(Request::Unmap(range))
        });
        let follows = |n: usize| {
            let (this, that) = (Tce(new(n)), Tce(new(n + 1)));
            comes(n + 1)
                && differs(n)
                && differs(n + 1)
                && this.access() == that.access()
                && this.guest().checked_add(self.page_size()) == Some(that.guest())
        };
        let maps = runs(count, comes, follows).filter_map(|(n, len)| {
            let range = self.addresses(at + n, len)?;
            translation(range, Tce(new(n))).map(Request::Map)
        });
        unmaps.chain(maps).collect()
    }

    /// Writes down a request that was done: of those that a [change](Self::changes) asked for.
    pub(super) fn done(&mut self, request: &Request) {
        let (range, tce, step) = match request {
            Request::Unmap(range) => (*range, 0, 0),
            Request::Map(it) => (it.range, Tce::new(it.to.0, it.access).0, self.page_size()),
        };
        let (at, count) = self.entries(range);
        let entries = self.tces.iter_mut().skip(at).take(count);
        let tces = (0..).map(|n: u64| tce + n * step);
        entries.zip(tces).for_each(|(entry, tce)| *entry = tce);
    }

    /// What is not zero, and where.
    pub(super) fn written(&self) -> impl Iterator<Item = (Iova, u64)> + '_ {
        let entries = self.tces.iter().enumerate();
        let written = entries.filter(|(_, tce)| **tce != 0);
        written.filter_map(|(at, tce)| Some((self.addresses(at, 1)?.first(), *tce)))
    }

    /// All that leads anywhere: the guest's tables, as they are told to who joins.
    pub(super) fn translations(&self) -> impl Iterator<Item = Translation> {
        let new = |n: usize| self.get(n);
        let empty = Self {
            liobn: self.liobn,
            range: self.range,
            page_shift: self.page_shift,
            tces: Vec::new(),
            is_in_doubt: false,
            kernel: None,
        };
        // As if all had been written at once in an empty table.
        let changes = empty.changes(0, self.tces.len(), new);
        changes.into_iter().filter_map(|request| match request {
            Request::Map(translation) => Some(translation),
            Request::Unmap(_) => None,
        })
    }
}

/// What a TCE has addresses lead to, from its page on, if anything.
#[inline]
pub(super) fn translation(range: IovaRange, tce: Tce) -> Option<Translation> {
    let to = Iova(tce.guest());
    let access = tce.access()?;
    Some(Translation { range, to, access })
}

/// So many entries, without touching them; `None` if there is no memory.
fn zeroed(count: usize) -> Option<Vec<u64>> {
    Vec::<u64>::new().try_reserve_exact(count).ok()?;
    Some(vec![0; count])
}

/// The runs of numbers that are meant: the first one, and how many there are. `follows(n)` says whether n + 1 goes on.
fn runs(
    count: usize,
    is_meant: impl Fn(usize) -> bool,
    follows: impl Fn(usize) -> bool,
) -> impl Iterator<Item = (usize, usize)> {
    let mut n = 0;
    std::iter::from_fn(move || {
        while n < count && !is_meant(n) {
            n += 1;
        }
        let first = n;
        if first == count {
            return None;
        }
        n += 1;
        while n < count && follows(n - 1) {
            n += 1;
        }
        Some((first, n - first))
    })
}
