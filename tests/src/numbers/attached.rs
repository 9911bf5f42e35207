//! A group in a container with an IOMMU, by raw calls.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use vfio_core::kernel::{Arg, Errno, Kernel, Opcode};
use vfio_core::uapi::{DMA_CC_IOMMU, IOMMU_DIRTY_PAGES, IommuType1DirtyBitmap};
use vfio_core::{CONTAINER_NODE, group_node};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::answer;
use super::host::locked;
use crate::conformance::raw;

/// Released by dropping it.
pub(super) struct Attached {
    #[expect(
        dead_code,
        reason = "it is open as long as this lives, and closed first"
    )]
    group: OwnedFd,
    container: OwnedFd,
    /// What was locked before, in bytes.
    locked: u64,
    kernel: Arc<dyn Kernel>,
}

impl Attached {
    /// The inner error is the kernel's refusal of that IOMMU.
    pub(super) fn new(
        kernel: &Arc<dyn Kernel>,
        group: u32,
        iommu: u32,
    ) -> Result<Result<Self, Errno>> {
        let container = kernel
            .open(CONTAINER_NODE.as_ref())
            .context(CONTAINER_NODE)?;
        let group = kernel
            .open(&group_node(group))
            .with_context(|| format!("open group {group}"))?;
        raw::join(&**kernel, &group, &container).context("VFIO_GROUP_SET_CONTAINER")?;
        let locked = locked(&**kernel)?;
        Ok(raw::set_iommu(&**kernel, &container, iommu).map(|_| Self {
            group,
            container,
            locked,
            kernel: Arc::clone(kernel),
        }))
    }

    pub(super) fn kernel(&self) -> &Arc<dyn Kernel> {
        &self.kernel
    }

    /// How much is locked for it, in bytes.
    pub(super) fn locked(&self) -> Result<u64> {
        let now = locked(&*self.kernel)?;
        now.checked_sub(self.locked)
            .context("less is locked than before")
    }

    /// A call of the container with a struct that is read and written.
    pub(super) fn call<T: FromBytes + IntoBytes + Immutable>(
        &self,
        opcode: Opcode,
        value: &mut T,
    ) -> Result<u32, Errno> {
        raw::call(&*self.kernel, &self.container, opcode, value)
    }

    /// A call of the container without an argument.
    pub(super) fn plain(&self, opcode: Opcode) -> Result<u32, Errno> {
        raw::ioctl(&*self.kernel, &self.container, opcode, Arg::None)
    }

    pub(super) fn is_coherent(&self) -> Value {
        answer(raw::extension(&*self.kernel, &self.container, DMA_CC_IOMMU) == 1)
    }

    /// Whether the kernel begins to track dirty pages.
    pub(super) fn tracks_dirty_pages(&self) -> Value {
        let request = |flags| {
            let mut request = IommuType1DirtyBitmap { argsz: 8, flags };
            self.call(IOMMU_DIRTY_PAGES, &mut request)
        };
        let (start, stop) = (1, 2);
        answer(request(start).is_ok() && request(stop).is_ok())
    }

    /// Addresses that can be mapped. The smallest page is the step that the kernel lets an unmap begin at, where nothing is
    /// mapped.
    pub(super) fn aperture(&self, first: u64, last: u64) -> Result<Value> {
        let steps = (0..30).map(|shift| 1_u64 << shift);
        let page_size = steps
            .into_iter()
            .find(|step| {
                raw::unmap(&*self.kernel, &self.container, (first + step, *step), 0)
                    .0
                    .is_ok()
            })
            .context("no page can be unmapped")?;
        Ok(json!({
            "first": format!("{first:#x}"),
            "last": format!("{last:#x}"),
            "page_size": page_size,
        }))
    }
}

/// The sizes that a mask of them has.
pub(super) fn sizes(mask: u64) -> Vec<u64> {
    let sizes = (0..u64::BITS).map(|bit| 1 << bit);
    sizes.filter(|size| mask & size != 0).collect()
}
