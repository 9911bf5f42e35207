//! Any shape that a BAR can have, and some that it cannot.

use std::ops::Range;

use pci_device::bar::{BarShape, PageSize};
use proptest::prelude::*;

pub(crate) fn pages() -> impl Strategy<Value = PageSize> {
    let sizes = prop::sample::select(vec![0x1000, 0x4000, 0x1_0000]);
    sizes.prop_map(|size| PageSize::new(size).unwrap())
}

/// Around a BAR of so many bytes: often near pages and its end, sometimes outside.
fn offset(size: u64) -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 0..=size,
        4 => (0..=size / 0x1000).prop_map(|page| page * 0x1000),
        1 => Just(u64::MAX),
    ]
}

fn range(size: u64) -> impl Strategy<Value = Range<u64>> {
    // One that ends before it starts is none.
    (offset(size), offset(size)).prop_map(|(start, end)| start..end)
}

fn inside(size: u64, len: u64) -> impl Strategy<Value = Range<u64>> {
    (0..size, 1..=len).prop_map(move |(start, len)| start..(start + len).min(size))
}

/// A BAR of up to 1 MiB: what VFIO says, and where MSI-X is.
pub(crate) fn shape() -> impl Strategy<Value = BarShape> {
    (4_u32..=20).prop_flat_map(|bits| {
        let size = 1 << bits;
        let place = || prop::option::of(prop_oneof![4 => inside(size, 0x8000), 1 => range(size)]);
        let areas = prop::option::of(prop::collection::vec(range(size), 0..5));
        (
            prop_oneof![3 => Just(size), 1 => 0..=size],
            prop::bool::weighted(0.9),
            areas,
            [place(), place(), place()],
            prop::collection::vec(inside(size, 0x1000), 0..2),
        )
            .prop_map(
                move |(region_size, mappable, areas, [refused, table, pending], intercepted)| {
                    BarShape {
                        size,
                        region_size,
                        mappable,
                        areas,
                        refused,
                        table,
                        pending,
                        intercepted,
                    }
                },
            )
    })
}
