//! Layouts of any shape, held against rules that look at each page and each byte alone.

use std::ops::Range;

use pci_device::bar::{BarShape, PageSize, Slice, SliceKind};
use proptest::prelude::*;

use crate::shapes::{pages, shape};

fn overlaps(one: &Option<Range<u64>>, other: &Range<u64>) -> bool {
    one.as_ref().is_some_and(|one| {
        !one.is_empty() && !other.is_empty() && one.start < other.end && other.start < one.end
    })
}

/// Whether the kernel and the VMM let this page be mapped.
fn can_be_mapped(shape: &BarShape, page: &Range<u64>) -> bool {
    let whole: Vec<_> = std::iter::once(0..shape.region_size).collect();
    let areas = shape.areas.as_ref().unwrap_or(&whole);
    // The kernel maps a last page that the region has but a part of.
    let inside = |area: &Range<u64>| {
        let end = area.end.min(shape.region_size);
        let covered = page.end.min(shape.region_size);
        let last = end == shape.region_size;
        area.start <= page.start && page.start < end && (page.end <= end || last && covered == end)
    };
    shape.mappable
        && page.end <= shape.size
        && areas.iter().any(inside)
        && ![&shape.refused, &shape.table, &shape.pending]
            .into_iter()
            .any(|kept| overlaps(kept, page))
        && !shape
            .intercepted
            .iter()
            .any(|kept| overlaps(&Some(kept.clone()), page))
}

/// What a byte that is not mapped must be.
fn kept_as(shape: &BarShape, at: u64) -> SliceKind {
    let has = |range: &Option<Range<u64>>| range.as_ref().is_some_and(|it| it.contains(&at));
    match () {
        () if has(&shape.table) => SliceKind::Table,
        () if has(&shape.pending) => SliceKind::Pending,
        () if at < shape.region_size => SliceKind::Trapped,
        () => SliceKind::Empty,
    }
}

fn at(slices: &[Slice], at: u64) -> SliceKind {
    let mut all = slices.iter();
    all.find(|slice| slice.range.contains(&at)).unwrap().kind
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn slices_cover_a_bar_exactly_and_in_order(shape in shape(), page in pages()) {
        let mut end = 0;
        for slice in shape.slices(page) {
            prop_assert_eq!(slice.range.start, end);
            prop_assert!(!slice.range.is_empty());
            end = slice.range.end;
        }
        prop_assert_eq!(end, shape.size);
    }

    #[test]
    fn exactly_the_pages_that_can_be_mapped_are(shape in shape(), page in pages()) {
        let slices = shape.slices(page);
        for slice in slices.iter().filter(|slice| slice.kind == SliceKind::Mapped) {
            prop_assert_eq!(slice.range.start % page.bytes(), 0);
            prop_assert_eq!(slice.range.end % page.bytes(), 0);
            prop_assert!(slice.alignment() >= page.bytes());
            prop_assert_eq!(slice.range.start % slice.alignment(), 0);
            // One mapping is inside of one area.
            let areas = shape.areas.iter().flatten();
            let inside = |area: &Range<u64>| {
                let covered = slice.range.end.min(shape.region_size);
                area.start <= slice.range.start && covered <= area.end
            };
            prop_assert!(shape.areas.is_none() || areas.clone().any(inside));
        }
        for start in (0..shape.size).step_by(usize::try_from(page.bytes()).unwrap()) {
            let range = start..start + page.bytes();
            let mapped = at(&slices, start) == SliceKind::Mapped;
            prop_assert_eq!(mapped, can_be_mapped(&shape, &range), "{:x?}", range);
        }
    }

    #[test]
    fn every_byte_that_is_not_mapped_is_what_it_must_be(shape in shape(), page in pages()) {
        for slice in shape.slices(page) {
            if slice.kind == SliceKind::Mapped {
                continue;
            }
            let steps = slice.range.clone().step_by(8).chain([slice.range.end - 1]);
            for byte in steps {
                prop_assert_eq!(slice.kind, kept_as(&shape, byte), "{:x}", byte);
            }
        }
    }

    #[test]
    fn what_is_deferred_is_what_would_be_mapped(shape in shape(), page in pages(), most in 0_u64..1 << 20) {
        let slices = shape.slices(page);
        let later = shape.slices_deferred_above(most, page);
        prop_assert_eq!(slices.len(), later.len());
        for (now, later) in slices.iter().zip(&later) {
            prop_assert_eq!(&now.range, &later.range);
            let kind = match now.kind {
                SliceKind::Mapped if shape.size > most => SliceKind::Deferred,
                kind => kind,
            };
            prop_assert_eq!(later.kind, kind);
        }
    }

    #[test]
    fn a_sub_page_is_mapped_only_where_it_starts_a_page(
        shape in shape(),
        page in pages(),
        number in any::<u32>(),
        off in prop_oneof![Just(0), any::<u64>()],
    ) {
        let small = shape.sub_page(page);
        let kept = [&shape.refused, &shape.table, &shape.pending];
        let mut kept = kept.into_iter().flatten().chain(&shape.intercepted);
        let has_kept = kept.any(|it| !it.is_empty());
        if let Some(small) = small {
            prop_assert!(shape.mappable && shape.size < page.bytes() && !has_kept);
            prop_assert!(shape.slices(page).iter().all(|it| it.kind == SliceKind::Trapped));
            let address = (u64::from(number) * page.bytes()).wrapping_add(off);
            let placed = small.at(address);
            let fits = address % page.bytes() == 0 && address.checked_add(page.bytes()).is_some();
            prop_assert_eq!(placed.is_some(), fits);
            if let Some(placed) = placed {
                prop_assert_eq!(placed.page, address..address + page.bytes());
                prop_assert_eq!(placed.rest, address + shape.size..address + page.bytes());
                prop_assert_eq!(placed.offset, 0);
            }
        } else if shape.mappable && shape.areas.is_none() && !has_kept {
            prop_assert!(shape.size >= page.bytes() || shape.region_size != shape.size);
        }
    }

    /// Sizes and offsets that no device has.
    #[test]
    fn no_numbers_are_too_large(
        size: u64,
        region_size: u64,
        area: (u64, u64),
        table: (u64, u64),
        bits in 0_u32..64,
    ) {
        let shape = BarShape {
            size,
            region_size,
            mappable: true,
            areas: Some(std::iter::once(area.0..area.1).collect()),
            table: Some(table.0..table.1),
            ..BarShape::default()
        };
        let page = PageSize::new(1 << bits).unwrap();
        let covered: u64 = shape.slices(page).iter().map(Slice::size).sum();
        prop_assert_eq!(covered, size);
        shape.sub_page(page);
    }
}

#[test]
fn areas_that_touch_are_mapped_one_by_one() {
    let shape = BarShape {
        areas: Some(vec![0x2000..0x4000, 0..0x2000, 0x1000..0x3000]),
        ..BarShape::of_region(0x8000, true)
    };
    let slices = shape.slices(PageSize::new(0x1000).unwrap());
    let shown: Vec<_> = slices.into_iter().map(|it| (it.range, it.kind)).collect();
    assert_eq!(
        shown,
        [
            (0..0x2000, SliceKind::Mapped),
            (0x2000..0x3000, SliceKind::Mapped),
            (0x3000..0x4000, SliceKind::Mapped),
            (0x4000..0x8000, SliceKind::Trapped),
        ]
    );
}
