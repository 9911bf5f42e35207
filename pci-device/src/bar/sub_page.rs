//! BARs that are smaller than a page of the host.

use std::ops::Range;

use super::pages::PageSize;

/// A BAR that is smaller than a page of the host, and that VFIO lets be mapped.
///
/// VFIO says so only if the BAR starts a page on the host whose rest it has reserved (`vfio_pci_probe_mmaps`,
/// drivers/vfio/pci/vfio_pci_core.c, F76): then the whole page is mapped, and is nobody else's. A guest reaches it where its
/// BAR starts a page, too, and nothing else of the guest is in the rest of that page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubPage {
    size: u64,
    page: PageSize,
}

/// Where a BAR that is smaller than a page is mapped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// The guest's addresses of the page of the host.
    pub page: Range<u64>,
    /// The part of them that is behind the BAR. Only if nothing else of the guest is there, the page can be mapped.
    pub rest: Range<u64>,
    /// Where in the BAR's region the page starts, in bytes.
    pub offset: u64,
}

impl SubPage {
    /// One of so many bytes; `None` if it is not smaller than a page.
    pub(super) fn new(size: u64, page: PageSize) -> Option<Self> {
        (size > 0 && size < page.bytes()).then_some(Self { size, page })
    }

    /// How it is mapped while the guest has it at `address`, in bytes; `None` if it cannot be mapped there.
    ///
    /// ```
    /// use pci_device::bar::{BarShape, PageSize};
    ///
    /// let shape = BarShape::of_region(0x100, true);
    /// let small = shape.sub_page(PageSize::new(0x1_0000).unwrap()).unwrap();
    /// assert_eq!(small.at(0xfeb0_0000).unwrap().rest, 0xfeb0_0100..0xfeb1_0000);
    /// assert_eq!(small.at(0xfeb0_1000), None); // the start of a smaller page
    /// ```
    pub fn at(&self, address: u64) -> Option<Placement> {
        let end = address.checked_add(self.page.bytes())?;
        (self.page.down(address) == address).then(|| Placement {
            page: address..end,
            rest: address + self.size..end,
            offset: 0,
        })
    }
}
