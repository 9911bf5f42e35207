//! A part of a BAR, and what becomes of accesses to it.

use std::ops::Range;

/// What becomes of an access to a part of a BAR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SliceKind {
    /// The guest reaches the device: whole pages of the host.
    Mapped,
    /// As good as [`Mapped`](Self::Mapped), but not before the VMM wants it: until then, as [`Trapped`](Self::Trapped).
    Deferred,
    /// Each access is carried out through VFIO.
    Trapped,
    /// The MSI-X table that the guest sees, which is the VMM's.
    Table,
    /// The pending bits of MSI-X that the guest sees, which are the VMM's.
    Pending,
    /// Nothing is there: it reads as 0, and what is written is lost. Only where the MSI-X table was
    /// [moved](super::Bars::with_msix_in), beside it.
    Empty,
}

/// A part of a BAR.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice {
    /// Where it is in the BAR, in bytes. It is never empty.
    pub range: Range<u64>,
    /// What becomes of accesses.
    pub kind: SliceKind,
}

impl Slice {
    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// The largest page that the kernel can map it with, in bytes: the largest power of two, up to 1 GiB, that its start
    /// is a multiple of and that it has the size of.
    ///
    /// [`Region::map_part`](vfio_core::device::Region::map_part) takes addresses that are equal to the offset modulo such
    /// a page, and a guest's BAR is aligned to its own size. Since Linux 6.12 the kernel then uses huge pages
    /// (`vfio_pci_mmap_huge_fault`, drivers/vfio/pci/vfio_pci_core.c).
    pub fn alignment(&self) -> u64 {
        const LARGEST: u32 = 30;
        let fits = self.size().checked_ilog2().unwrap_or(0);
        1 << LARGEST.min(fits).min(self.range.start.trailing_zeros())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn huge_pages_fit_the_start_and_the_size() {
        let alignment = |range| {
            let kind = SliceKind::Mapped;
            Slice { range, kind }.alignment()
        };
        assert_eq!(alignment(0..0x5000), 0x4000);
        assert_eq!(alignment(0x3000..0x8000), 0x1000);
        assert_eq!(alignment(0x20_0000..0x4000_0000), 0x20_0000);
        assert_eq!(alignment(0..128 << 30), 1 << 30);
        assert_eq!(alignment(0..1), 1);
    }
}
