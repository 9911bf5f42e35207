//! The MSI-X table in another BAR: what is gained, what stays as it was, and what cannot be.

use std::ops::Range;

use pci_device::bar::{BarKind, BarShape, Bars, Msix, PageSize, SliceKind};
use proptest::prelude::*;
use vfio_core::ErrorKind;

use crate::described::{All, PORTS, WIDE, device, overlap, probed, taken};
use crate::shapes::pages;

/// A device before and after its table was moved.
#[derive(Debug)]
struct Moved {
    described: All,
    hardware: Msix,
    before: Bars,
    after: Bars,
    to: u8,
    page: PageSize,
}

/// All moves that are possible.
fn moved() -> impl Strategy<Value = Moved> {
    let parts = (device(), 0..6_u8, pages());
    parts.prop_filter_map("it cannot be moved there", |(device, to, page)| {
        let before = taken(&device);
        let after = before.with_msix_in(to, page).ok()?;
        let (described, hardware) = device;
        Some(Moved {
            described,
            hardware,
            before,
            after,
            to,
            page,
        })
    })
}

impl Moved {
    /// The pages of a BAR that the kernel refuses to map: those of the hardware's table.
    fn refused(&self, number: usize) -> Range<u64> {
        let one = &self.described[number];
        if number != usize::from(self.hardware.table.bar) || one.capabilities.msix_mappable {
            return 0..0;
        }
        around(&self.hardware.table_range(), self.page)
    }
}

fn around(range: &Range<u64>, page: PageSize) -> Range<u64> {
    let start = range.start / page.bytes() * page.bytes();
    start..range.end.next_multiple_of(page.bytes())
}

/// Whether PCI has a way to say it, in numbers that cannot overflow.
fn can_be_said(described: &All, msix: &Msix, to: u8, page: PageSize) -> bool {
    let Some(one) = described.get(usize::from(to)) else {
        return false;
    };
    let is_wide = |number: usize| {
        described[number].size > 0 && described[number].register & (PORTS | WIDE) == WIDE
    };
    let is_upper = to > 0 && is_wide(usize::from(to) - 1);
    let has_ports = one.size > 0 && one.register & PORTS != 0;
    let largest: u128 = 1 << if is_wide(usize::from(to)) { 63 } else { 31 };
    let start = u128::from(one.size).next_multiple_of(page.bytes().into());
    let pending = start + u128::from(msix.vectors) * 16;
    let end = pending + u128::from(msix.vectors.div_ceil(64)) * 8;
    let has_room = end.next_power_of_two() <= largest && pending <= u32::MAX.into();
    !is_upper && !has_ports && has_room
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn it_is_moved_wherever_pci_can_say_so(
        device in device(),
        to in prop_oneof![8 => 0..6_u8, 1 => any::<u8>()],
        page in pages(),
    ) {
        let (described, msix) = &device;
        match taken(&device).with_msix_in(to, page) {
            Ok(_) => prop_assert!(can_be_said(described, msix, to, page)),
            Err(error) => {
                prop_assert!(!can_be_said(described, msix, to, page), "{}", error);
                prop_assert_eq!(error.kind(), ErrorKind::Invalid);
                prop_assert!(error.to_string().contains(&format!("BAR {to}")), "{}", error);
            }
        }
    }

    /// All that could be mapped if the device had no MSI-X is, but for the pages that the kernel refuses.
    #[test]
    fn nothing_but_what_the_kernel_refuses_is_not_mapped(moved in moved()) {
        for (number, before) in moved.before.bars.iter().enumerate() {
            let Some(before) = before else { continue };
            let after = &moved.after.bars[number].as_ref().unwrap().shape;
            let refused = moved.refused(number);
            let registers = BarShape {
                refused: None,
                table: None,
                pending: None,
                ..before.shape.clone()
            };
            let slices = after.slices(moved.page);
            let is_mapped = |kind| kind == SliceKind::Mapped;
            for could in registers.slices(moved.page).iter().filter(|it| is_mapped(it.kind)) {
                for lost in slices.iter().filter(|it| !is_mapped(it.kind)) {
                    let lost = lost.range.start.max(could.range.start)..lost.range.end.min(could.range.end);
                    let is_refused = refused.start <= lost.start && lost.end <= refused.end;
                    prop_assert!(lost.is_empty() || is_refused, "BAR {number}: {lost:x?}");
                }
            }
            for mapped in slices.iter().filter(|it| is_mapped(it.kind)) {
                prop_assert!(!overlap(&mapped.range, &refused));
            }
        }
    }

    /// A BAR that is smaller than a page loses its table; and that which has got the table is no longer smaller.
    #[test]
    fn small_bars_are_mapped_where_they_are_alone(moved in moved()) {
        for (number, before) in moved.before.bars.iter().enumerate() {
            let Some(before) = before else { continue };
            let alone = BarShape::of_region(before.shape.size, before.shape.mappable);
            let after = &moved.after.bars[number].as_ref().unwrap().shape;
            if before.shape.areas.is_some() || !moved.refused(number).is_empty() {
                continue;
            }
            let small = alone.sub_page(moved.page);
            if number != usize::from(moved.to) {
                prop_assert_eq!(after.sub_page(moved.page), small);
            } else if small.is_some() {
                prop_assert_eq!(&after.slices(moved.page)[0].range, &(0..moved.page.bytes()));
                prop_assert_eq!(after.slices(moved.page)[0].kind, SliceKind::Mapped);
            }
        }
    }

    #[test]
    fn the_new_table_has_pages_of_its_own(moved in moved()) {
        let msix = moved.after.msix.unwrap();
        let (table, pending) = (msix.table_range(), msix.pending_range());
        prop_assert_eq!(msix.vectors, moved.hardware.vectors);
        prop_assert_eq!((msix.table.bar, msix.pending.bar), (moved.to, moved.to));
        prop_assert_eq!((msix.table.offset % 8, msix.pending.offset % 8), (0, 0));
        prop_assert!(!overlap(&table, &pending));

        let own = around(&(table.start.min(pending.start)..table.end.max(pending.end)), moved.page);
        for (number, bar) in moved.after.bars.iter().enumerate() {
            let slices = bar.iter().flat_map(|bar| bar.shape.slices(moved.page));
            for slice in slices {
                let is_there = number == usize::from(moved.to) && overlap(&slice.range, &own);
                match slice.kind {
                    SliceKind::Table => prop_assert_eq!((number, &slice.range), (moved.to.into(), &table)),
                    SliceKind::Pending => prop_assert_eq!((number, &slice.range), (moved.to.into(), &pending)),
                    SliceKind::Empty => prop_assert_eq!(number, usize::from(moved.to)),
                    _ => prop_assert!(!is_there, "{:x?} is in {:x?}", slice, own),
                }
            }
        }
    }

    #[test]
    fn each_size_is_what_the_registers_say(moved in moved()) {
        for number in 0..6_u8 {
            let at = usize::from(number);
            let size = |bars: &Bars| bars.bars[at].as_ref().map_or(0, |it| it.shape.size);
            let (before, after) = (size(&moved.before), size(&moved.after));
            // An upper half is probed with the BAR that it belongs to.
            for (bars, size) in [(&moved.before, before), (&moved.after, after)] {
                prop_assert!(size == 0 || probed(bars, number) == size);
            }
            match number == moved.to {
                true => prop_assert!(after.is_power_of_two() && after > before),
                false => prop_assert_eq!(before, after),
            }
            // It stays what it was, or is new.
            let new = BarKind::Memory { wide: false, prefetchable: false };
            let kind = |bars: &Bars| bars.bars[at].as_ref().map(|it| it.kind);
            let (before, after) = (kind(&moved.before), kind(&moved.after));
            let expected = before.or((number == moved.to).then_some(new));
            prop_assert_eq!(after, expected);
        }
    }
}
