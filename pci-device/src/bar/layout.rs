//! What of a BAR is mapped into the guest, and what is trapped: a pure function of what VFIO says of its region.

use std::ops::Range;

use super::pages::{PageSize, without};
use super::slice::{Slice, SliceKind};
use super::sub_page::SubPage;

/// A BAR, as far as its layout depends on it. Offsets and sizes are in bytes.
///
/// ```
/// use pci_device::bar::{BarShape, PageSize, SliceKind};
///
/// // QEMU's nvme: registers, then the MSI-X table, then the pending bits.
/// let shape = BarShape {
///     table: Some(0x2000..0x2410),
///     pending: Some(0x3000..0x3010),
///     ..BarShape::of_region(0x4000, true)
/// };
/// let page = PageSize::new(4096).unwrap();
/// let slices = shape.slices(page);
/// let shown: Vec<_> = slices.iter().map(|it| (it.range.start, it.kind)).collect();
/// assert_eq!(
///     shown,
///     [
///         (0x0000, SliceKind::Mapped),
///         (0x2000, SliceKind::Table),
///         (0x2410, SliceKind::Trapped), // the rest of the table's page
///         (0x3000, SliceKind::Pending),
///         (0x3010, SliceKind::Trapped),
///     ]
/// );
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BarShape {
    /// Its size as the guest sees it, a power of two.
    pub size: u64,
    /// The size of the device's region behind it, from its start on: `size`, but where the MSI-X table was moved behind it
    /// (then less) or to it (then 0).
    pub region_size: u64,
    /// Whether VFIO lets any of it be mapped (`VFIO_REGION_INFO_FLAG_MMAP`).
    ///
    /// The kernel decides that by its own pages (`vfio_pci_probe_mmaps`): memory, and either as large as a page or at the
    /// start of one whose rest nobody else can have (F76).
    pub mappable: bool,
    /// The parts that can be mapped, where not all of it can (`VFIO_REGION_INFO_CAP_SPARSE_MMAP`). One mapping lies inside of
    /// one area, also where two of them touch: the kernel may have different memory behind each.
    pub areas: Option<Vec<Range<u64>>>,
    /// Where no page can be mapped: the MSI-X table of the hardware, unless the kernel says that it may be
    /// (`VFIO_REGION_INFO_CAP_MSIX_MAPPABLE`). `vfio_pci_core_mmap` refused what overlaps it before Linux 4.16; since then
    /// every region with MMAP that has the table says that it may be, because interrupt remapping, and not the table's
    /// content, is what protects the host.
    pub refused: Option<Range<u64>>,
    /// Where the guest sees the MSI-X table, if that is in this BAR. Its pages are never mapped: it is the VMM's, which
    /// translates what the guest writes. (Read through VFIO, the hardware's is ones, and writes are dropped, F78.)
    pub table: Option<Range<u64>>,
    /// Where the guest sees the pending bits of MSI-X, if they are in this BAR. The kernel would map them; but a vector that
    /// the VMM has masked is pending with the VMM, and the hardware knows nothing of it.
    pub pending: Option<Range<u64>>,
    /// What a [quirk](crate::quirk) answers. Its pages are never mapped.
    pub intercepted: Vec<Range<u64>>,
}

impl BarShape {
    /// One that is all of a region of so many bytes, with no MSI-X in it.
    pub fn of_region(size: u64, mappable: bool) -> Self {
        Self {
            size,
            region_size: size,
            mappable,
            ..Self::default()
        }
    }

    /// Its slices, in order, which cover it exactly.
    ///
    /// *Mapped* are all whole pages of the host that VFIO lets be mapped and that have no byte in them of what the guest sees
    /// as table or pending bits; a slice is one mapping. A BAR that is smaller than a page has none: whether it can be
    /// mapped depends on where the guest places it ([`sub_page`](Self::sub_page)).
    ///
    /// The last page may end behind the region, where the BAR was made larger than that: the kernel maps the whole page
    /// (`PAGE_ALIGN` in `vfio_pci_core_mmap`).
    pub fn slices(&self, page: PageSize) -> Vec<Slice> {
        let mut slices = Vec::new();
        let mut at = 0;
        for range in self.mapped(page) {
            self.trap(at..range.start, &mut slices);
            at = range.end;
            let kind = SliceKind::Mapped;
            slices.push(Slice { range, kind });
        }
        self.trap(at..self.size, &mut slices);
        slices
    }

    /// The same for a VMM that maps little: if the BAR has more than `most` bytes, what can be mapped is
    /// [`Deferred`](SliceKind::Deferred).
    pub fn slices_deferred_above(&self, most: u64, page: PageSize) -> Vec<Slice> {
        let mut slices = self.slices(page);
        if self.size > most {
            let mapped = slices.iter_mut().filter(|it| it.kind == SliceKind::Mapped);
            mapped.for_each(|slice| slice.kind = SliceKind::Deferred);
        }
        slices
    }

    /// What can be mapped of it although it is smaller than a page, if anything can.
    pub fn sub_page(&self, page: PageSize) -> Option<SubPage> {
        let can = self.mappable
            && self.size < page.bytes()
            && self.region_size == self.size
            && self.kept_apart().all(Range::is_empty)
            && self.areas().contains(&(0..self.size));
        can.then(|| SubPage::new(self.size, page))?
    }

    /// The parts whose pages are not mapped, whatever VFIO lets.
    fn kept_apart(&self) -> impl Iterator<Item = &Range<u64>> {
        let parts = [&self.refused, &self.table, &self.pending];
        parts.into_iter().flatten().chain(&self.intercepted)
    }

    /// The parts of its region that VFIO lets be mapped, in order.
    fn areas(&self) -> Vec<Range<u64>> {
        let end = self.region_size.min(self.size);
        let mut areas = match &self.areas {
            _ if !self.mappable => Vec::new(),
            None => std::iter::once(0..end).collect(),
            Some(areas) => areas.clone(),
        };
        areas
            .iter_mut()
            .for_each(|area| area.end = area.end.min(end));
        areas.retain(|area| !area.is_empty());
        areas.sort_by_key(|area| area.start);
        areas
    }

    /// The pages that are mapped, in order, none twice.
    fn mapped(&self, page: PageSize) -> Vec<Range<u64>> {
        let with_its_last_page = |area: Range<u64>| match page.up(area.end) {
            Some(end) if area.end == self.region_size && end <= self.size => area.start..end,
            _ => area,
        };
        let mut mapped = Vec::new();
        let mut at = 0;
        for area in self.areas() {
            let pages = page.inside(&with_its_last_page(area));
            let pages = pages.start.max(at)..pages.end;
            if !pages.is_empty() {
                at = pages.end;
                mapped.push(pages);
            }
        }
        for kept in self.kept_apart() {
            let kept = page.around(kept);
            mapped = mapped
                .into_iter()
                .flat_map(|range| without(range, &kept))
                .collect();
        }
        mapped
    }

    /// Cuts what is not mapped where something else begins.
    fn trap(&self, range: Range<u64>, slices: &mut Vec<Slice>) {
        let mut at = range.start;
        while at < range.end {
            let (kind, end) = self.trapped_at(at);
            let end = end.min(range.end);
            slices.push(Slice {
                range: at..end,
                kind,
            });
            at = end;
        }
    }

    /// What an offset belongs to that is not mapped, and up to where at most. Where both are at one place, it is the table.
    fn trapped_at(&self, at: u64) -> (SliceKind, u64) {
        let own = [
            (&self.table, SliceKind::Table),
            (&self.pending, SliceKind::Pending),
        ];
        let mut end = u64::MAX;
        for (range, kind) in own {
            let Some(range) = range.as_ref().filter(|range| !range.is_empty()) else {
                continue;
            };
            if range.contains(&at) {
                return (kind, end.min(range.end));
            }
            if range.start > at {
                end = end.min(range.start);
            }
        }
        match at < self.region_size {
            true => (SliceKind::Trapped, end.min(self.region_size)),
            false => (SliceKind::Empty, end),
        }
    }
}
