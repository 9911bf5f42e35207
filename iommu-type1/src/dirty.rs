//! Dirty pages.

use vfio_core::address::IovaRange;
use vfio_core::iommu::{DirtyLimits, DirtyTracking};
use vfio_core::uapi;
use vfio_core::{Error, ErrorKind, Result};

use crate::{Type1, calls, info};

/// A read makes the kernel forget nothing, as long as a PCI device is in the container: everything that is mapped is
/// dirty then, always (B34, `update_user_bitmap`).
impl DirtyTracking for Type1 {
    fn limits(&self) -> Result<DirtyLimits> {
        let limits = info::dirty_limits(&calls::get_info(&self.container)?);
        limits.ok_or_else(|| {
            let operation = "ask how dirty pages are told by";
            Error::new(ErrorKind::Unsupported, operation, calls::CONTEXT)
                .because("VFIO_IOMMU_GET_INFO does not say it, as in kernels before 5.8")
        })
    }

    fn start(&self) -> Result<()> {
        calls::dirty_pages(&self.container, uapi::IOMMU_DIRTY_PAGES_FLAG_START)
    }

    fn stop(&self) -> Result<()> {
        calls::dirty_pages(&self.container, uapi::IOMMU_DIRTY_PAGES_FLAG_STOP)
    }

    fn read(&self, range: IovaRange, page_size: u64, words: &mut [u64]) -> Result<()> {
        calls::dirty_bitmap(&self.container, range, page_size, words)
    }
}
