//! Which windows to ask for.

use std::ops::RangeInclusive;

use vfio_core::iommu::{WindowLimits, WindowPages, WindowRequest};
use vfio_core::{Error, ErrorKind};

use crate::CONTEXT;

/// How many TCEs a window gets when nobody asks for more: a table of 1 MiB, which is locked memory.
const USUAL_TCES: u64 = 1 << 17;

/// How many levels a table has at most, on any kernel (`POWERNV_IOMMU_MAX_LEVELS`): whatever it names,
/// no more are tried.
const MOST_LEVELS: u32 = 5;

/// A window that could be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// In bytes, a power of two.
    pub(crate) page_size: u64,
    /// In bytes, a power of two.
    pub(crate) size: u64,
    pub(crate) levels: u32,
}

/// The windows to ask for, the best first.
#[derive(Debug)]
pub(crate) struct Plan {
    /// In bytes, a power of two; `None` if no window can have such pages.
    page_size: Option<u64>,
    /// In bytes, powers of two.
    sizes: Vec<u64>,
    /// How many a table may have.
    levels: RangeInclusive<u32>,
    /// Why nothing is to be had, if it is not.
    why: String,
}

impl Plan {
    /// For a request: the largest pages that serve, the size that was asked for, and as few levels as the host accepts.
    pub(crate) fn new(limits: &WindowLimits, request: &WindowRequest, host_page: u64) -> Self {
        let sizes = limits.page_sizes;
        let page_size = match request.pages {
            WindowPages::Exactly(page) => Some(page).filter(|&page| sizes.has(page)),
            // Any memory is of pages of the host.
            WindowPages::Carried(page) => {
                sizes.iter().filter(|&it| it <= page.max(host_page)).last()
            }
        };
        // A window has whole pages.
        let needed = request.size.max(page_size.unwrap_or(1));
        Self {
            page_size,
            sizes: needed.checked_next_power_of_two().into_iter().collect(),
            levels: request.least_levels.max(1)..=limits.levels.min(MOST_LEVELS),
            why: format!(
                "none of the page sizes {sizes} serves {:#x} bytes of {}",
                request.size,
                match request.pages {
                    WindowPages::Exactly(page) => format!("exactly {page:#x}"),
                    WindowPages::Carried(page) => format!("memory with pages of {page:#x}"),
                }
            ),
        }
    }

    /// For a driver's buffers: the usual size first, and if the host refuses that the size that is needed.
    pub(crate) fn usual(limits: &WindowLimits, size: u64, host_page: u64) -> Self {
        let request = WindowRequest::of(size, WindowPages::Carried(host_page));
        let mut plan = Self::new(limits, &request, host_page);
        let usual = USUAL_TCES.saturating_mul(plan.page_size.unwrap_or(1));
        if plan.sizes.first().is_some_and(|&needed| needed < usual) {
            plan.sizes.insert(0, usual);
        }
        plan
    }

    pub(crate) fn candidates(&self) -> impl Iterator<Item = Candidate> + '_ {
        let pages = self.page_size.into_iter();
        pages.flat_map(move |page_size| {
            self.sizes.iter().flat_map(move |&size| {
                self.levels.clone().map(move |levels| Candidate {
                    page_size,
                    size,
                    levels,
                })
            })
        })
    }

    /// That there is no candidate.
    pub(crate) fn nothing(&self) -> Error {
        Error::new(ErrorKind::Unsupported, "create a window in", CONTEXT).because(&*self.why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vfio_core::address::PageSizes;

    const POWERNV: WindowLimits = WindowLimits {
        page_sizes: PageSizes(0x4021_1000), // 4K 64K 2M 1G
        count: 2,
        levels: 2,
    };

    fn shown(plan: &Plan) -> Vec<(u64, u64, u32)> {
        plan.candidates()
            .map(|c| (c.page_size, c.size, c.levels))
            .collect()
    }

    #[test]
    fn a_drivers_window_has_pages_of_the_host_and_as_few_levels_as_possible() {
        assert_eq!(
            shown(&Plan::usual(&POWERNV, 1 << 20, 1 << 16)),
            [
                (1 << 16, 8 << 30, 1),
                (1 << 16, 8 << 30, 2),
                (1 << 16, 1 << 20, 1),
                (1 << 16, 1 << 20, 2),
            ]
        );
        let first = |size, host_page| shown(&Plan::usual(&POWERNV, size, host_page))[0];
        assert_eq!(first(1, 1 << 12), (1 << 12, 512 << 20, 1));
        assert_eq!(first(9 << 30, 1 << 16), (1 << 16, 16 << 30, 1));
    }

    #[test]
    fn a_window_has_the_largest_pages_that_memory_can_carry() {
        let pages_for = |pages| {
            let plan = Plan::new(&POWERNV, &WindowRequest::of(3 << 30, pages), 1 << 16);
            let shown = shown(&plan);
            shown.first().map(|&(page, size, _)| (page, size))
        };
        for (memory, page) in [
            (1 << 12, 1 << 16), // the host has no smaller ones
            (1 << 16, 1 << 16),
            (2 << 20, 2 << 20),
            (16 << 20, 2 << 20),
            (1 << 30, 1 << 30),
            (1 << 40, 1 << 30),
        ] {
            let carried = pages_for(WindowPages::Carried(memory));
            assert_eq!(carried, Some((page, 4 << 30)));
        }
        for page in [1 << 12, 1 << 16, 2 << 20, 1 << 30] {
            assert_eq!(pages_for(WindowPages::Exactly(page)), Some((page, 4 << 30)));
        }
        assert_eq!(pages_for(WindowPages::Exactly(16 << 20)), None);
        let plan = Plan::new(
            &POWERNV,
            &WindowRequest::of(1, WindowPages::Exactly(16 << 20)),
            1,
        );
        assert!(plan.nothing().to_string().contains("0x1000000"));
        let small = Plan::new(
            &POWERNV,
            &WindowRequest::of(1, WindowPages::Exactly(2 << 20)),
            1,
        );
        assert_eq!(shown(&small)[0].1, 2 << 20, "a page at the least");
    }

    #[test]
    fn a_table_has_as_many_levels_as_are_wanted() {
        let pages = WindowPages::Carried(1 << 16);
        let wanted = WindowRequest {
            least_levels: 2,
            ..WindowRequest::of(1 << 30, pages)
        };
        let plan = Plan::new(&POWERNV, &wanted, 1 << 16);
        assert_eq!(shown(&plan), [(1 << 16, 1 << 30, 2)]);
    }

    #[test]
    fn no_more_levels_are_tried_than_kernels_have() {
        let boundless = WindowLimits {
            levels: u32::MAX,
            ..POWERNV
        };
        let plan = Plan::usual(&boundless, 1 << 20, 1 << 16);
        assert_eq!(plan.candidates().map(|c| c.levels).max(), Some(5));
    }

    #[test]
    fn what_cannot_be_had_has_no_candidates() {
        assert_eq!(shown(&Plan::usual(&POWERNV, u64::MAX, 1 << 16)), []);
        assert_eq!(shown(&Plan::usual(&POWERNV, 1 << 20, 1 << 11)), []);
    }
}
