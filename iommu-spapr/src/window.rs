//! DMA windows: which there are, and which one to create.

use vfio_core::address::{Iova, IovaRange, PageSizes};
use vfio_core::iommu::{Aperture, WindowLimits};
use vfio_core::uapi::{self, SpaprTceInfo};
use vfio_core::{Error, ErrorKind, Result};

use crate::CONTEXT;

/// The pages of the default window: the kernel makes it with `IOMMU_PAGE_SHIFT_4K`
/// (`tce_iommu_create_default_window`), and tells nobody.
const DEFAULT_PAGE_SIZE: u64 = 4096;

/// How many TCEs a window gets when nobody asks for more: a table of 1 MiB, which is locked memory.
const USUAL_TCES: u64 = 1 << 17;

/// How many levels a table has at most, on any kernel (`POWERNV_IOMMU_MAX_LEVELS`): whatever it names,
/// no more are tried.
const MOST_LEVELS: u32 = 5;

/// The window that a context has from the start.
pub(crate) fn default_window(info: &SpaprTceInfo) -> Option<Aperture> {
    let start = Iova(info.dma32_window_start.into());
    Some(Aperture {
        range: IovaRange::new(start, info.dma32_window_size.into())?,
        page_size: DEFAULT_PAGE_SIZE,
    })
}

/// What windows can be created, if any can.
///
/// A kernel under a hypervisor that has no dynamic windows accepts version 2 all the same, sets the flag,
/// and then names no levels and 2^32 - 1 windows; every map fails there.
pub(crate) fn limits(info: &SpaprTceInfo) -> Option<WindowLimits> {
    let limits = WindowLimits {
        page_sizes: PageSizes(info.ddw.pgsizes),
        count: info.ddw.max_dynamic_windows_supported,
        levels: info.ddw.levels,
    };
    let usable = info.flags & uapi::SPAPR_INFO_DDW != 0 && limits.levels > 0;
    usable.then_some(limits)
}

/// Refuses a range that no window holds whole: the kernel looks at its first page only (H1, H2).
pub(crate) fn check_inside(
    windows: &[Aperture],
    operation: &'static str,
    iova: IovaRange,
) -> Result<()> {
    if windows.iter().any(|window| window.range.contains(iova)) {
        return Ok(());
    }
    let known: Vec<_> = windows.iter().map(|w| w.range.to_string()).collect();
    Err(Error::new(ErrorKind::OutOfReach, operation, CONTEXT)
        .at(iova)
        .because(format!("no window holds it; there are {}", known.join(" "))))
}

/// The windows to ask for, the best first, so that `size` bytes of memory on `host_page`s fit.
///
/// Pages as large as those of the host, which is what any memory can carry; the usual size, and if the
/// host refuses that the size that is needed; as few levels as the host accepts.
pub(crate) fn candidates(
    limits: &WindowLimits,
    size: u64,
    host_page: u64,
) -> impl Iterator<Item = Candidate> {
    let page_size = limits
        .page_sizes
        .iter()
        .filter(|&page| page <= host_page)
        .last();
    let needed = size.checked_next_power_of_two();
    let levels = limits.levels.min(MOST_LEVELS);
    page_size
        .zip(needed)
        .into_iter()
        .flat_map(move |(page_size, needed)| {
            let usual = needed.max(USUAL_TCES.saturating_mul(page_size));
            let fallback = (needed != usual).then_some(needed.max(page_size));
            [Some(usual), fallback]
                .into_iter()
                .flatten()
                .flat_map(move |size| {
                    (1..=levels).map(move |levels| Candidate {
                        page_size,
                        size,
                        levels,
                    })
                })
        })
}

/// A window that could be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// In bytes, a power of two.
    pub(crate) page_size: u64,
    /// In bytes, a power of two.
    pub(crate) size: u64,
    pub(crate) levels: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    const POWERNV: WindowLimits = WindowLimits {
        page_sizes: PageSizes(0x4021_1000), // 4K 64K 2M 1G
        count: 2,
        levels: 2,
    };

    #[test]
    fn a_window_has_pages_of_the_host_and_as_few_levels_as_possible() {
        let all: Vec<_> = candidates(&POWERNV, 1 << 20, 1 << 16).collect();
        let shown: Vec<_> = all
            .iter()
            .map(|c| (c.page_size, c.size, c.levels))
            .collect();
        assert_eq!(
            shown,
            [
                (1 << 16, 8 << 30, 1),
                (1 << 16, 8 << 30, 2),
                (1 << 16, 1 << 20, 1),
                (1 << 16, 1 << 20, 2),
            ]
        );
        assert_eq!(
            candidates(&POWERNV, 1, 1 << 12).next().unwrap().page_size,
            1 << 12
        );
        assert_eq!(
            candidates(&POWERNV, 9 << 30, 1 << 16).next().unwrap().size,
            16 << 30
        );
    }

    #[test]
    fn no_more_levels_are_tried_than_kernels_have() {
        let boundless = WindowLimits {
            levels: u32::MAX,
            ..POWERNV
        };
        let most = candidates(&boundless, 1 << 20, 1 << 16)
            .map(|c| c.levels)
            .max();
        assert_eq!(most, Some(5));
    }

    #[test]
    fn what_cannot_be_had_has_no_candidates() {
        assert_eq!(candidates(&POWERNV, u64::MAX, 1 << 16).count(), 0);
        assert_eq!(candidates(&POWERNV, 1 << 20, 1 << 11).count(), 0);
    }

    #[test]
    fn the_default_window_is_read_and_an_empty_one_is_none() {
        let mut info = SpaprTceInfo {
            dma32_window_size: 0x4000_0000,
            ..Default::default()
        };
        let window = default_window(&info).unwrap();
        assert_eq!(window.range.to_string(), "[0x0-0x3fffffff]");
        assert_eq!(limits(&info), None);
        info.flags = uapi::SPAPR_INFO_DDW;
        assert_eq!(limits(&info), None);
        info.ddw.levels = 1;
        assert!(limits(&info).is_some());
        info.flags = 0;
        assert_eq!(limits(&info), None);
        info.dma32_window_size = 0;
        assert_eq!(default_window(&info), None);
    }

    #[test]
    fn a_range_past_its_window_is_refused() {
        let windows = [Aperture {
            range: IovaRange::new(Iova(0), 0x1000_0000).unwrap(),
            page_size: 4096,
        }];
        let inside = IovaRange::new(Iova(0x0fff_f000), 0x1000).unwrap();
        let past = IovaRange::new(Iova(0x0fff_f000), 0x2000).unwrap();
        assert!(check_inside(&windows, "test", inside).is_ok());
        let error = check_inside(&windows, "test", past).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutOfReach);
        assert!(error.to_string().contains("[0x0-0xfffffff]"), "{error}");
    }
}
