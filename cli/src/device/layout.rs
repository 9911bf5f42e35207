//! What a guest would have of the device's BARs.

use pci_device::bar::{Bar, BarKind, BarShape, Bars, PageSize, SliceKind};
use vfio_core::device::Device;
use vfio_core::{Result, host};

use super::report::{BarLayoutRow, LayoutRow, SliceName, SliceRow, bar_kind};

pub(super) fn ask(device: &Device, page: PageSize) -> Result<LayoutRow> {
    let bars = Bars::of(device)?;
    let numbered = (0_u8..).zip(&bars.bars);
    let there = numbered.filter_map(|(number, bar)| Some((number, bar.as_ref()?)));
    let in_memory = || bars.bars.iter().flatten().filter(|bar| !bar.kind.is_io());
    // A device may say that it has more than there are addresses.
    let sum = |of: &dyn Fn(&BarShape) -> u64| {
        let sizes = in_memory().map(|bar| of(&bar.shape));
        sizes.fold(0, u64::saturating_add)
    };
    let mapped = sum(&|shape| mapped(shape, page));
    Ok(LayoutRow {
        page_size: page.bytes(),
        bars: there.map(|(number, bar)| row(number, bar, page)).collect(),
        unassigned: host::unassigned_ports(&**device.kernel(), device.bdf()),
        mapped,
        trapped: sum(&|shape| shape.size) - mapped,
        beside_the_table: sum(&|shape| beside_the_table(shape, page)),
    })
}

fn row(number: u8, bar: &Bar, page: PageSize) -> BarLayoutRow {
    let slices = bar.shape.slices(page).into_iter().map(|slice| SliceRow {
        first: format!("{:#x}", slice.range.start),
        last: format!("{:#x}", slice.range.end - 1),
        size: slice.size(),
        kind: match slice.kind {
            SliceKind::Mapped | SliceKind::Deferred => SliceName::Mapped,
            SliceKind::Table => SliceName::Table,
            SliceKind::Pending => SliceName::Pending,
            SliceKind::Trapped | SliceKind::Empty => SliceName::Trapped,
        },
    });
    BarLayoutRow {
        number,
        kind: match bar.kind {
            BarKind::Io { .. } => bar_kind(true, false, false),
            BarKind::Memory { wide, prefetchable } => bar_kind(false, prefetchable, wide),
        },
        size: bar.shape.size,
        in_a_page_alone: bar.shape.sub_page(page).is_some(),
        slices: slices.collect(),
    }
}

/// How much of a BAR is mapped.
fn mapped(shape: &BarShape, page: PageSize) -> u64 {
    let slices = shape.slices(page).into_iter();
    let mapped = slices.filter(|slice| slice.kind == SliceKind::Mapped);
    mapped.map(|slice| slice.size()).sum()
}

/// How much more would be mapped if the table and the pending bits were somewhere else.
fn beside_the_table(shape: &BarShape, page: PageSize) -> u64 {
    let without = BarShape {
        table: None,
        pending: None,
        ..shape.clone()
    };
    let own = [&shape.table, &shape.pending];
    let own: u64 = own
        .iter()
        .flat_map(|it| it.iter())
        .map(|it| it.end - it.start)
        .sum();
    let at_best = |shape: &BarShape| match shape.sub_page(page) {
        Some(_) => shape.size, // where it is alone in its page
        None => mapped(shape, page),
    };
    let more = at_best(&without).saturating_sub(at_best(shape));
    more.saturating_sub(own)
}
