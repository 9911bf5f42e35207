//! What the kernel's info struct and the capabilities behind it say.

use vfio_core::address::{Iova, IovaRange, PageSizes};
use vfio_core::info_chain;
use vfio_core::iommu::{Aperture, Capabilities, DirtyLimits};
use vfio_core::uapi::{
    self, IommuType1CapIovaRange, IommuType1CapMigration, IommuType1DmaAvail, IommuType1Info,
    IovaRangeEntry,
};
use vfio_core::{Error, ErrorKind, Result};
use zerocopy::FromBytes;

/// Reads the answer of `VFIO_IOMMU_GET_INFO`.
pub(crate) fn capabilities(bytes: &[u8]) -> Result<Capabilities> {
    let unusable = |why: &str| {
        Error::new(
            ErrorKind::Kernel,
            "read the answer of",
            "VFIO_IOMMU_GET_INFO",
        )
        .because(why)
    };
    let (info, _) =
        IommuType1Info::read_from_prefix(bytes).map_err(|_| unusable("it is too short"))?;
    let page_sizes = match info.flags & uapi::IOMMU_INFO_PGSIZES {
        0 => return Err(unusable("it names no page sizes")),
        _ => PageSizes(info.iova_pgsizes),
    };
    let page_size = page_sizes
        .smallest()
        .ok_or_else(|| unusable("it names no page sizes"))?;

    let ranges = capability(bytes, uapi::IOMMU_TYPE1_INFO_CAP_IOVA_RANGE).and_then(iova_ranges);
    let mappings_left = capability(bytes, uapi::IOMMU_TYPE1_INFO_DMA_AVAIL)
        .and_then(|bytes| IommuType1DmaAvail::read_from_prefix(bytes).ok())
        .map(|(available, _)| available.avail);
    // A kernel before 5.4 does not say what it can map; then every address may be tried.
    let ranges = ranges.unwrap_or_else(|| {
        IovaRange::inclusive(Iova(0), Iova(u64::MAX))
            .into_iter()
            .collect()
    });
    Ok(Capabilities {
        page_sizes,
        apertures: ranges
            .into_iter()
            .filter_map(|range| without_last_page(range, page_size))
            .map(|range| Aperture { range, page_size })
            .collect(),
        mappings_left,
        locked: 0,
        windows: None,
    })
}

/// What the same answer says of dirty pages; `None` if it says nothing that can be used.
pub(crate) fn dirty_limits(bytes: &[u8]) -> Option<DirtyLimits> {
    let bytes = capability(bytes, uapi::IOMMU_TYPE1_INFO_CAP_MIGRATION)?;
    let (migration, _) = IommuType1CapMigration::read_from_prefix(bytes).ok()?;
    Some(DirtyLimits {
        page_size: PageSizes(migration.pgsize_bitmap).smallest()?,
        largest_bitmap: migration.max_dirty_bitmap_size,
    })
}

/// A capability, from its header on. The first of a kind counts, so that a chain with many, or a circle, costs no more.
fn capability(bytes: &[u8], id: u16) -> Option<&[u8]> {
    let (info, _) = IommuType1Info::read_from_prefix(bytes).ok()?;
    if info.flags & uapi::IOMMU_INFO_CAPS == 0 {
        return None;
    }
    let mut capabilities = info_chain::capabilities(bytes, info.cap_offset);
    let (_, found) = capabilities.find(|(header, _)| header.id == id)?;
    Some(found)
}

/// A range without the page that ends with the last address of all, if it has that one: kernels before 6.18 map it and
/// never find it again to unmap it, because the address behind it is 0 for them.
fn without_last_page(range: IovaRange, page_size: u64) -> Option<IovaRange> {
    match range.last() {
        Iova(u64::MAX) => IovaRange::inclusive(range.first(), Iova(u64::MAX - page_size)),
        _ => Some(range),
    }
}

/// The ranges of the capability, the lowest first; `None` if it is not whole.
fn iova_ranges(bytes: &[u8]) -> Option<Vec<IovaRange>> {
    let (head, entries) = IommuType1CapIovaRange::read_from_prefix(bytes).ok()?;
    let size = usize::try_from(head.nr_iovas)
        .ok()?
        .checked_mul(size_of::<IovaRangeEntry>())?;
    let mut ranges = entries
        .get(..size)?
        .chunks_exact(size_of::<IovaRangeEntry>())
        .map(|entry| {
            let entry = IovaRangeEntry::read_from_bytes(entry).ok()?;
            IovaRange::inclusive(Iova(entry.start), Iova(entry.end))
        })
        .collect::<Option<Vec<_>>>()?;
    ranges.sort_by_key(|range| range.first());
    Some(ranges)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use vfio_core::uapi::InfoCapHeader;
    use zerocopy::IntoBytes;

    /// As a kernel answers: info, DMA_AVAIL at 24, IOVA_RANGE at 40.
    fn answer(nr_iovas: u32, ranges: &[(u64, u64)]) -> Vec<u8> {
        let mut bytes = IommuType1Info {
            argsz: 120,
            flags: uapi::IOMMU_INFO_PGSIZES | uapi::IOMMU_INFO_CAPS,
            iova_pgsizes: 0x4020_1000,
            cap_offset: 24,
            pad: 0,
        }
        .as_bytes()
        .to_vec();
        let cap = |id, next| InfoCapHeader {
            id,
            version: 1,
            next,
        };
        bytes.extend(
            IommuType1DmaAvail {
                header: cap(uapi::IOMMU_TYPE1_INFO_DMA_AVAIL, 40),
                avail: 65535,
            }
            .as_bytes(),
        );
        bytes.resize(40, 0);
        bytes.extend(
            IommuType1CapIovaRange {
                header: cap(uapi::IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, 0),
                nr_iovas,
                reserved: 0,
            }
            .as_bytes(),
        );
        for &(start, end) in ranges {
            bytes.extend(IovaRangeEntry { start, end }.as_bytes());
        }
        bytes
    }

    #[test]
    fn ranges_page_sizes_and_mappings_are_read() {
        let ranges = [(0xfef0_0000, 0xffff_ffff_ffff), (0, 0xfedf_ffff)];
        let capabilities = capabilities(&answer(2, &ranges)).unwrap();
        assert_eq!(capabilities.page_sizes, PageSizes(0x4020_1000));
        assert_eq!(capabilities.mappings_left, Some(65535));
        let shown: Vec<_> = capabilities
            .apertures
            .iter()
            .map(|a| (a.range.to_string(), a.page_size))
            .collect();
        assert_eq!(
            shown,
            [
                ("[0x0-0xfedfffff]".to_owned(), 4096),
                ("[0xfef00000-0xffffffffffff]".to_owned(), 4096)
            ]
        );
    }

    #[test]
    fn the_last_page_of_all_is_not_published() {
        let last = u64::MAX - 0xfff;
        let ranges = [(0, 0xffff), (1 << 63, u64::MAX)];
        let told = capabilities(&answer(2, &ranges)).unwrap();
        let shown = told.apertures.iter().map(|a| a.range.to_string());
        assert_eq!(
            shown.collect::<Vec<_>>(),
            ["[0x0-0xffff]", "[0x8000000000000000-0xffffffffffffefff]"]
        );
        let told = capabilities(&answer(1, &[(last, u64::MAX)])).unwrap();
        assert!(told.apertures.is_empty(), "nothing is left");
        let told = capabilities(&answer(1, &[(last - 0x1000, last - 1)])).unwrap();
        assert_eq!(told.apertures.len(), 1, "that is not it");
    }

    #[test]
    fn a_capability_that_is_not_whole_is_not_believed() {
        for bytes in [
            answer(3, &[(0, 1)]),
            answer(u32::MAX, &[(0, 1)]),
            answer(1, &[(2, 1)]),
        ] {
            let everything = capabilities(&bytes).unwrap().apertures;
            assert_eq!(everything.len(), 1);
            assert_eq!(everything[0].range.to_string(), "[0x0-0xffffffffffffefff]");
        }
    }

    #[test]
    fn an_answer_without_page_sizes_is_an_error() {
        let mut bytes = answer(0, &[]);
        bytes[8..16].fill(0);
        assert!(capabilities(&bytes).is_err());
        assert!(capabilities(&bytes[..20]).is_err());
    }

    #[test]
    fn what_a_flag_does_not_promise_is_not_read() {
        let ranges = [(0, 0xffff)];
        let mut without_caps = answer(1, &ranges);
        without_caps[4..8].copy_from_slice(&uapi::IOMMU_INFO_PGSIZES.to_ne_bytes());
        let told = capabilities(&without_caps).unwrap();
        assert_eq!(told.mappings_left, None);
        assert_eq!(told.apertures[0].range.last(), Iova(u64::MAX - 0x1000));
        let mut without_sizes = answer(1, &ranges);
        without_sizes[4..8].copy_from_slice(&uapi::IOMMU_INFO_CAPS.to_ne_bytes());
        assert!(capabilities(&without_sizes).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(
            mut bytes in prop::collection::vec(prop_oneof![Just(0u8), 0..40u8, any::<u8>()], 0..200),
            flags in 0..4u32,
            first in 0..80u32,
        ) {
            let _ = capabilities(&bytes);
            // Nearer to what a kernel would say.
            if let Some(header) = bytes.get_mut(..24) {
                header[4..8].copy_from_slice(&flags.to_ne_bytes());
                header[16..20].copy_from_slice(&first.to_ne_bytes());
            }
            if let Ok(told) = capabilities(&bytes) {
                prop_assert!(told.page_sizes.smallest().is_some());
                let firsts = told.apertures.iter().map(|aperture| aperture.range.first());
                prop_assert!(firsts.is_sorted());
            }
        }

        #[test]
        fn what_a_kernel_says_is_read_back(ranges in prop::collection::vec((0..u64::MAX, 0..u64::MAX), 0..10)) {
            let mut ranges: Vec<_> = ranges.iter().map(|&(a, b)| (a.min(b), a.max(b))).collect();
            let told = capabilities(&answer(u32::try_from(ranges.len()).unwrap(), &ranges)).unwrap();
            ranges.sort_by_key(|&(start, _)| start);
            let read: Vec<_> = told.apertures.iter().map(|a| (a.range.first().0, a.range.last().0)).collect();
            prop_assert_eq!(read, ranges);
            prop_assert_eq!(told.mappings_left, Some(65535));
        }
    }
}
