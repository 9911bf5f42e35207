//! Devices as a kernel can describe them: BARs of any kinds and sizes, with MSI-X inside of them.

use std::ops::Range;

use pci_device::bar::{BARS, BarRegister, BarRegisters, Bars, Described, Msix, Place};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use vfio_core::device::{MappableArea, RegionCapabilities};

/// In a register: ports; memory of 64 bits; memory without side effects.
pub(crate) const PORTS: u32 = 0b1;
pub(crate) const WIDE: u32 = 0b100;
const PREFETCHABLE: u32 = 0b1000;

/// What the kernel says of each BAR.
pub(crate) type All = [Described; BARS];

/// The bytes of memory that a BAR has, by what the kernel says of it and nothing else.
pub(crate) fn memory(described: &All, number: u8) -> u64 {
    let one = described.get(usize::from(number));
    let memory = one.filter(|it| it.register & PORTS == 0);
    memory.map_or(0, |it| it.size)
}

pub(crate) fn overlap(one: &Range<u64>, other: &Range<u64>) -> bool {
    one.start.max(other.start) < one.end.min(other.end)
}

fn areas() -> impl Strategy<Value = Option<Vec<MappableArea>>> {
    let area = (0_u64..0x20, 1_u64..0x20).prop_map(|(start, pages)| MappableArea {
        offset: start * 0x1000,
        size: pages * 0x1000,
    });
    prop::option::weighted(0.3, prop::collection::vec(area, 0..4))
}

/// A register with any address in it, and a size that it can say.
fn one() -> impl Strategy<Value = Described> {
    let kinds = select(vec![0, PORTS, WIDE, PREFETCHABLE, WIDE | PREFETCHABLE]);
    let bits = prop_oneof![8 => 4_u32..=20, 1 => 21_u32..=32, 1 => 33_u32..=63];
    let flags = (prop::bool::weighted(0.8), any::<bool>());
    (kinds, any::<u32>(), bits, flags, areas()).prop_map(
        |(kind, address, bits, (mappable, msix_mappable), sparse)| Described {
            register: address & !0xf | kind,
            size: 1 << if kind & WIDE != 0 { bits } else { bits.min(31) },
            mappable,
            capabilities: RegionCapabilities {
                sparse,
                kind: None,
                msix_mappable,
            },
        },
    )
}

/// The BARs of a device. Those of 64 bits have the next register, too, and the last one has no next.
fn bars() -> impl Strategy<Value = All> {
    let slot = || prop_oneof![1 => Just(Described::default()), 3 => one()];
    [slot(), slot(), slot(), slot(), slot(), slot()].prop_map(|mut all| {
        let mut is_upper = false;
        for (number, slot) in all.iter_mut().enumerate() {
            let is_wide = slot.size > 0 && slot.register & (PORTS | WIDE) == WIDE;
            if is_upper || number + 1 == BARS && is_wide {
                slot.size = 0; // the register keeps what is in it, as an upper half does
            }
            is_upper = slot.size > 0 && is_wide;
        }
        all
    })
}

/// Few vectors, as many as can be, or a power of two: then a table ends where a BAR may end, too.
pub(crate) fn vectors() -> impl Strategy<Value = u16> {
    prop_oneof![
        1_u16..=65,
        1_u16..=2048,
        (0_u32..12).prop_map(|bits| 1 << bits)
    ]
}

/// Some place for so many bytes in one of the BARs in memory, often at the start of a page.
fn place(described: &All, len: u64, (bar, at): (Index, Index)) -> Option<Place> {
    let has_room = |number: &u8| memory(described, *number) >= len;
    let there: Vec<u8> = (0..6).filter(has_room).collect();
    let number = *there.get(bar.index(there.len().max(1)))?;
    let last = (memory(described, number) - len).min(u64::from(u32::MAX));
    let any = at.index(usize::try_from(last / 8 + 1).ok()?) * 8;
    let offset = if any % 3 == 0 { any & !0xfff } else { any };
    let (bar, offset) = (number, u32::try_from(offset).ok()?);
    Some(Place { bar, offset })
}

/// A device with MSI-X, in which nothing is wrong.
pub(crate) fn device() -> impl Strategy<Value = (All, Msix)> {
    let places = any::<[(Index, Index); 2]>();
    let parts = (bars(), vectors(), places);
    parts.prop_filter_map("MSI-X has no room", |(described, vectors, places)| {
        let words = u64::from(vectors.div_ceil(64));
        let msix = Msix {
            vectors,
            table: place(&described, u64::from(vectors) * 16, places[0])?,
            pending: place(&described, words * 8, places[1])?,
        };
        let apart = msix.table.bar != msix.pending.bar
            || !overlap(&msix.table_range(), &msix.pending_range());
        apart.then_some((described, msix))
    })
}

/// The same as [`Bars`], which must take what is in order.
pub(crate) fn taken((described, msix): &(All, Msix)) -> Bars {
    Bars::new(described, 0, Some(*msix)).unwrap()
}

/// The size that a guest reads from a BAR's registers when it has written ones; 0 for none.
pub(crate) fn probed(bars: &Bars, number: u8) -> u64 {
    let mut registers = BarRegisters::new(bars);
    for register in BarRegister::all() {
        registers.write(register, u32::MAX, u32::MAX);
    }
    let low = registers.read(BarRegister::Bar(number));
    let is_wide = low & (PORTS | WIDE) == WIDE;
    let high = BarRegister::Bar(number + 1);
    let high = if is_wide { registers.read(high) } else { 0 };
    let types = if low & PORTS != 0 { 0b11 } else { 0b1111 };
    let address = u64::from(low & !types) | u64::from(high) << 32;
    address & address.wrapping_neg()
}
