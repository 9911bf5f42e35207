//! DMA windows, as the kernel tells of them.

use vfio_core::address::{Iova, IovaRange, PageSizes};
use vfio_core::iommu::{Aperture, Window, WindowLimits};
use vfio_core::uapi::{self, SpaprTceInfo};
use vfio_core::{Error, ErrorKind, Result};

use crate::CONTEXT;

/// The pages of the default window: the kernel makes it with `IOMMU_PAGE_SHIFT_4K`
/// (`tce_iommu_create_default_window`), and tells nobody.
const DEFAULT_PAGE_SIZE: u64 = 4096;

/// The window that a context has from the start, as soon as it is used (C43).
pub(crate) fn default_window(info: &SpaprTceInfo) -> Option<Window> {
    let start = Iova(info.dma32_window_start.into());
    Some(Window {
        range: IovaRange::new(start, info.dma32_window_size.into())?,
        page_size: DEFAULT_PAGE_SIZE,
        levels: 1,
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
#[inline]
pub(crate) fn check_inside(
    windows: impl Iterator<Item = Aperture> + Clone,
    operation: &'static str,
    iova: IovaRange,
) -> Result<()> {
    let mut holding = windows.clone();
    if holding.any(|window| window.range.contains(iova)) {
        return Ok(());
    }
    Err(outside(windows, operation, iova))
}

#[cold]
fn outside(
    windows: impl Iterator<Item = Aperture>,
    operation: &'static str,
    iova: IovaRange,
) -> Error {
    let known: Vec<_> = windows.map(|w| w.range.to_string()).collect();
    Error::new(ErrorKind::OutOfReach, operation, CONTEXT)
        .at(iova)
        .because(format!("no window holds it; there are {}", known.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert!(check_inside(windows.into_iter(), "test", inside).is_ok());
        let error = check_inside(windows.into_iter(), "test", past).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutOfReach);
        assert!(error.to_string().contains("[0x0-0xfffffff]"), "{error}");
    }
}
