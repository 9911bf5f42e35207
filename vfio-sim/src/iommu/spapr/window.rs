//! DMA windows and their tables.

use std::collections::BTreeMap;

use vfio_core::kernel::{Errno, Result};
use vfio_core::uapi::SpaprTceCreate;

use crate::iommu::{Mapping, WindowId};
use crate::machine::{Platform, Spapr as Hardware};

/// The pages of the default window.
pub(super) const DEFAULT_PAGE_SHIFT: u32 = 12;

/// How many levels a table has at most (`POWERNV_IOMMU_MAX_LEVELS`).
const MOST_LEVELS: u32 = 5;

/// How many pages a hypervisor says that its windows can have.
const MOST_ENTRIES: u64 = 1 << 37;

/// The bytes of one entry.
const TCE_BYTES: u64 = 8;

/// The largest piece of memory that the kernel gives for a table: pages of so many host pages (`MAX_PAGE_ORDER` of a
/// kernel with 64 KiB pages).
const LARGEST_PIECE: u64 = 256;

/// An entry: where one page leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tce {
    pub(super) vaddr: u64,
    pub(super) read: bool,
    pub(super) write: bool,
}

/// A window with its table.
#[derive(Debug, Clone)]
pub(super) struct Window {
    id: WindowId,
    start: u64,
    size: u64,
    page_shift: u32,
    /// By the page's first address.
    entries: BTreeMap<u64, Tce>,
    table: Table,
}

/// What the table of a window costs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Table {
    /// What is accounted, in bytes.
    bytes: u64,
    /// One level, in bytes; of pseries, whose tables are the hypervisor's, nothing.
    piece: u64,
}

impl Window {
    /// The window that every context has.
    pub(super) fn default_of(hardware: &Hardware, host_page: u64) -> Self {
        let (start, size) = hardware.default_window;
        let size = u64::from(size);
        let table =
            Table::with(hardware, DEFAULT_PAGE_SHIFT, size, 1, host_page).unwrap_or_default();
        Self {
            id: WindowId::default(),
            start: start.into(),
            size,
            page_shift: DEFAULT_PAGE_SHIFT,
            entries: BTreeMap::new(),
            table,
        }
    }

    /// A window as it was asked for, in that slot, with a table that was accounted already; `is_taken` tells whether
    /// a window starts somewhere (D54).
    pub(super) fn created(
        hardware: &Hardware,
        slot: usize,
        create: &SpaprTceCreate,
        table: Table,
        host_page: u64,
        is_taken: impl Fn(u64) -> bool,
    ) -> Result<Self> {
        let SpaprTceCreate {
            page_shift,
            window_size: size,
            levels,
            ..
        } = *create;
        let start = match hardware.platform {
            Platform::Powernv => {
                // More address bits than a table can have (`pnv_pci_ioda2_table_alloc_pages`).
                let bits = (table.piece.ilog2() - TCE_BYTES.ilog2()) * levels + page_shift;
                if bits >= 55 {
                    return Err(Errno::INVAL);
                }
                if table.piece > LARGEST_PIECE * host_page {
                    return Err(Errno::NOMEM);
                }
                match slot {
                    0 => hardware.default_window.0.into(),
                    _ => hardware.high_start,
                }
            }
            Platform::Pseries { largest_window } => {
                let most = MOST_ENTRIES.saturating_mul(1 << page_shift);
                if levels > 1 || !size.is_power_of_two() || size > most {
                    return Err(Errno::INVAL);
                }
                if is_taken(hardware.high_start) {
                    return Err(Errno::PERM);
                }
                if size > largest_window {
                    return Err(Errno::NODEV); // C37c
                }
                let (start, default_size) = hardware.default_window;
                let is_default = page_shift == DEFAULT_PAGE_SHIFT && size <= default_size.into();
                // Once the default window was removed, what looks like it is made in its place.
                match slot == 0 && is_default {
                    true => start.into(),
                    false => hardware.high_start,
                }
            }
        };
        // A table of the kernel's own has at least a page, and the window is as large as that lets it be (D54c).
        let size = match hardware.platform {
            Platform::Powernv => size.max((host_page / TCE_BYTES) << page_shift),
            Platform::Pseries { .. } => size,
        };
        Ok(Self {
            id: WindowId::default(),
            start,
            size,
            page_shift,
            entries: BTreeMap::new(),
            table,
        })
    }

    /// The same with that number.
    pub(super) fn numbered(self, id: WindowId) -> Self {
        Self { id, ..self }
    }

    /// Which one of its context's it is.
    pub(super) fn id(&self) -> WindowId {
        self.id
    }

    pub(super) fn start(&self) -> u64 {
        self.start
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn page(&self) -> u64 {
        1 << self.page_shift
    }

    /// What its table is accounted as, in bytes.
    pub(super) fn table_bytes(&self) -> u64 {
        self.table.bytes
    }

    pub(super) fn holds(&self, iova: u64) -> bool {
        iova.checked_sub(self.start)
            .is_some_and(|at| at < self.size)
    }

    /// How many bytes there are from an address inside to its end.
    pub(super) fn bytes_from(&self, iova: u64) -> u64 {
        self.size - (iova - self.start)
    }

    fn first(&self, iova: u64) -> u64 {
        iova - iova % self.page()
    }

    pub(super) fn get(&self, iova: u64) -> Option<Tce> {
        self.entries.get(&self.first(iova)).copied()
    }

    /// Changes an entry; answers what it was.
    pub(super) fn put(&mut self, iova: u64, tce: Option<Tce>) -> Option<Tce> {
        let first = self.first(iova);
        match tce {
            Some(tce) => self.entries.insert(first, tce),
            None => self.entries.remove(&first),
        }
    }

    /// Clears so many entries; answers what they were.
    pub(super) fn take(&mut self, iova: u64, pages: u64) -> Vec<Tce> {
        let Some(bytes) = pages.checked_mul(self.page()).filter(|bytes| *bytes > 0) else {
            return Vec::new();
        };
        let last = iova.saturating_add(bytes - 1);
        let set: Vec<_> = self.entries.range(iova..=last).map(|(&at, _)| at).collect();
        set.into_iter()
            .filter_map(|at| self.put(at, None))
            .collect()
    }

    /// Clears every entry.
    pub(super) fn take_all(&mut self) -> Vec<Tce> {
        std::mem::take(&mut self.entries).into_values().collect()
    }

    pub(super) fn mappings(&self) -> impl Iterator<Item = Mapping> {
        self.entries.iter().map(|(&iova, tce)| Mapping {
            iova,
            vaddr: tce.vaddr,
            size: self.page(),
            read: tce.read,
            write: tce.write,
        })
    }
}

impl Table {
    /// Whether the kernel would shift by less than nothing: levels of less than a page of the IOMMU (D54c).
    pub(super) fn is_shifted_too_far(hardware: &Hardware, create: &SpaprTceCreate) -> bool {
        let is_kernels = matches!(hardware.platform, Platform::Powernv);
        let is_less_than_a_page = create.window_size >> create.page_shift == 0;
        is_kernels && is_less_than_a_page && (2..=MOST_LEVELS).contains(&create.levels)
    }

    /// The table of a window that is asked for; `None` for what the kernel refuses before it accounts
    /// anything.
    pub(super) fn of(hardware: &Hardware, create: &SpaprTceCreate, host_page: u64) -> Option<Self> {
        let SpaprTceCreate {
            page_shift,
            window_size: size,
            levels,
            ..
        } = *create;
        // Less than a page of the IOMMU is no entry for a hypervisor, and a part of the least table for the kernel.
        let is_hypervisors = matches!(hardware.platform, Platform::Pseries { .. });
        if size >> page_shift == 0 && is_hypervisors {
            return None;
        }
        Self::with(hardware, page_shift, size, levels, host_page)
    }

    fn with(
        hardware: &Hardware,
        page_shift: u32,
        size: u64,
        levels: u32,
        host_page: u64,
    ) -> Option<Self> {
        match hardware.platform {
            Platform::Powernv => Self::of_kernel(page_shift, size, levels, host_page),
            Platform::Pseries { .. } => {
                Some(Self::of_hypervisor(page_shift, size, levels, host_page))
            }
        }
    }

    /// `pnv_pci_ioda2_get_table_size`: twice the table, since the kernel keeps the process's addresses beside it.
    fn of_kernel(page_shift: u32, size: u64, levels: u32, host_page: u64) -> Option<Self> {
        if levels == 0 || levels > MOST_LEVELS || !size.is_power_of_two() {
            return None;
        }
        // A table of less than a byte is none (D54c).
        if size.saturating_mul(TCE_BYTES) >> page_shift == 0 {
            return None;
        }
        let entries = (size >> page_shift).max(1);
        let level_shift = entries.ilog2().div_ceil(levels) + TCE_BYTES.ilog2();
        let piece = (1u64 << level_shift.min(62)).max(host_page);
        let mut table = entries.saturating_mul(TCE_BYTES).max(piece);
        let mut bytes: u64 = 0;
        for _ in 0..levels {
            bytes = bytes.saturating_add(table.next_multiple_of(piece));
            table = (table / piece).saturating_mul(TCE_BYTES).max(piece);
        }
        Some(Self {
            bytes: bytes.saturating_mul(2),
            piece,
        })
    }

    /// `spapr_tce_get_table_size`: the process's addresses alone, in whole pages. More than one level is accounted
    /// as 32 bits full of bytes.
    fn of_hypervisor(page_shift: u32, size: u64, levels: u32, host_page: u64) -> Self {
        let bytes = match levels {
            0 | 1 => (size >> page_shift).saturating_mul(TCE_BYTES),
            _ => u32::MAX.into(),
        };
        Self {
            bytes: bytes - bytes % host_page,
            piece: 0,
        }
    }

    /// What is accounted, in bytes.
    pub(super) fn bytes(self) -> u64 {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_costs_what_the_kernel_accounts() {
        let cost = |shift, size, levels| {
            Table::of_kernel(shift, size, levels, 1 << 16).map(|table| (table.bytes, table.piece))
        };
        // 1 GiB of 4 KiB pages: 2 MiB of entries, and as much for the addresses.
        assert_eq!(cost(12, 1 << 30, 1), Some((4 << 20, 2 << 20)));
        // 8 GiB of 64 KiB pages.
        assert_eq!(cost(16, 8 << 30, 1), Some((2 << 20, 1 << 20)));
        // Two levels: the leaves, and one host page above them.
        assert_eq!(
            cost(16, 8 << 30, 2),
            Some((2 * ((1 << 20) + (1 << 16)), 1 << 16))
        );
        assert_eq!(cost(16, 3 << 30, 1), None, "no power of two");
        // A part of a page, down to an entry that is a byte.
        assert_eq!(cost(30, 1 << 28, 1), Some((2 << 16, 1 << 16)));
        assert_eq!(cost(30, 1 << 27, 1), Some((2 << 16, 1 << 16)));
        assert_eq!(cost(30, 1 << 26, 1), None, "less than a byte");
    }

    #[test]
    fn a_hypervisor_has_its_own_tables() {
        let cost = |shift, size, levels| Table::of_hypervisor(shift, size, levels, 1 << 16).bytes;
        assert_eq!(cost(12, 1 << 30, 1), 2 << 20);
        assert_eq!(cost(16, 1 << 28, 0), 0, "less than a page");
        assert_eq!(cost(16, 1 << 30, 2), 0xffff << 16);
    }
}
