//! MSI-X where it cannot be: refused in words, and what is taken is inside of BARs in memory.

use pci_device::bar::{Bars, Described, Msix, PageSize, Place, SliceKind};
use proptest::prelude::*;
use proptest::sample::select;
use vfio_core::{Error, ErrorKind, Result};

use crate::described::{All, PORTS, WIDE, device, memory, overlap, probed, vectors};
use crate::shapes::pages;

/// Places that are often in a BAR, near its end, or in the page behind it.
pub(crate) fn place() -> impl Strategy<Value = Place> {
    let near = (
        select(vec![0x100_u32, 0x1000, 0x4000, 0x40_0000]),
        -3_i32..3,
    );
    let offset = prop_oneof![
        2 => (0_u32..0x400).prop_map(|at| at * 8),
        2 => near.prop_map(|(end, words)| end.saturating_add_signed(words * 8)),
        1 => any::<u32>().prop_map(|at| at & !7),
    ];
    let bar = prop_oneof![1 => 0..8_u8, 2 => select(vec![2, 4])];
    (bar, offset).prop_map(|(bar, offset)| Place { bar, offset })
}

/// A device in which nothing is wrong, but for what is changed then.
fn changed() -> impl Strategy<Value = (All, Msix)> {
    let change = || prop::option::weighted(0.3, place());
    let vectors = prop::option::weighted(0.3, vectors());
    let parts = (device(), vectors, change(), change());
    parts.prop_map(|((described, sound), vectors, table, pending)| {
        let changed = Msix {
            vectors: vectors.unwrap_or(sound.vectors),
            table: table.unwrap_or(sound.table),
            pending: pending.unwrap_or(sound.pending),
        };
        (described, changed)
    })
}

/// What a kernel may say of a BAR, and mostly does not.
fn anything() -> impl Strategy<Value = Described> {
    let sizes = prop_oneof![
        3 => Just(0),
        6 => (4_u32..32).prop_map(|bits| 1 << bits),
        1 => prop_oneof![(0_u32..64).prop_map(|bits| 1 << bits), any::<u64>()],
    ];
    (any::<u32>(), sizes).prop_map(|(register, size)| Described {
        register,
        size,
        mappable: true,
        ..Described::default()
    })
}

/// Whether table and pending bits are in BARs in memory, each at a place of its own.
pub(crate) fn is_sound(described: &All, msix: &Msix) -> bool {
    let (table, pending) = (msix.table_range(), msix.pending_range());
    let apart = msix.table.bar != msix.pending.bar || !overlap(&table, &pending);
    let has = |number, end| end <= memory(described, number);
    apart && has(msix.table.bar, table.end) && has(msix.pending.bar, pending.end)
}

pub(crate) fn is_in_words(error: &Error) -> bool {
    let text = error.to_string();
    let names_it = text.contains("the MSI-X capability");
    let says_why = [
        "is not inside of BAR",
        "overlap in BAR",
        "which no device has",
    ];
    error.kind() == ErrorKind::Kernel && names_it && says_why.iter().any(|why| text.contains(why))
}

/// The BARs and bytes in which a guest finds the table, or the pending bits.
fn found(bars: &Bars, kind: SliceKind, page: PageSize) -> Vec<(u8, u64, u64)> {
    let mut found = Vec::new();
    for (number, bar) in (0_u8..).zip(&bars.bars) {
        let slices = bar.iter().flat_map(|bar| bar.shape.slices(page));
        let slices = slices.filter(|it| it.kind == kind);
        found.extend(slices.map(|it| (number, it.range.start, it.range.end)));
    }
    found
}

/// The BARs of the simulated device `assorted`: 256 bytes of memory, ports, 4 MiB in two registers, and 16 KiB.
pub(crate) fn assorted() -> All {
    let bars = [
        (0, 0x100),
        (PORTS, 0x20),
        (WIDE, 4 << 20),
        (0, 0),
        (0, 0x4000),
        (0, 0),
    ];
    bars.map(|(register, size)| Described {
        register,
        size,
        ..Described::default()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn exactly_what_is_inside_of_memory_is_taken((described, msix) in changed(), page in pages()) {
        match Bars::new(&described, 0, Some(msix)) {
            Ok(bars) => {
                prop_assert!(is_sound(&described, &msix));
                // No byte in front of them or behind is taken for a part of them, also not in the same page.
                let (table, pending) = (msix.table_range(), msix.pending_range());
                let table = (msix.table.bar, table.start, table.end);
                let pending = (msix.pending.bar, pending.start, pending.end);
                prop_assert_eq!(found(&bars, SliceKind::Table, page), [table]);
                prop_assert_eq!(found(&bars, SliceKind::Pending, page), [pending]);
            }
            Err(error) => {
                prop_assert!(!is_sound(&described, &msix), "{}", error);
                prop_assert!(is_in_words(&error), "{}", error);
            }
        }
    }

    /// Also where the BARs make no sense either.
    #[test]
    fn nothing_that_a_kernel_says_is_taken_on_trust(
        described in prop::array::uniform6(anything()),
        rom in any::<u64>(),
        vectors in prop_oneof![4 => vectors(), 1 => 1..=u16::MAX],
        (table, pending) in (place(), place()),
        page in pages(),
    ) {
        let msix = Msix { vectors, table, pending };
        if let Ok(bars) = Bars::new(&described, rom, None) {
            for (number, bar) in (0_u8..).zip(&bars.bars) {
                let Some(bar) = bar else { continue };
                prop_assert_eq!(probed(&bars, number), bar.shape.size);
                if bar.kind.has_two_registers() {
                    prop_assert_eq!(bars.bars.get(usize::from(number) + 1), Some(&None));
                }
            }
        }
        if let Ok(bars) = Bars::new(&described, rom, Some(msix)) {
            prop_assert!(is_sound(&described, &msix));
            prop_assert_eq!(found(&bars, SliceKind::Table, page).len(), 1);
        }
    }
}

/// 65 vectors, as QEMU's nvme has: 0x410 bytes of table, and 0x10 of pending bits.
fn placed(table: (u8, u32), pending: (u8, u32)) -> Result<Bars> {
    let place = |(bar, offset)| Place { bar, offset };
    let msix = Msix {
        vectors: 65,
        table: place(table),
        pending: place(pending),
    };
    Bars::new(&assorted(), 0, Some(msix))
}

#[test]
fn up_to_the_last_byte_it_is_inside() {
    assert!(placed((4, 0x4000 - 0x410), (0, 0xf0)).is_ok());
    assert!(placed((4, 0), (4, 0x410)).is_ok());
    assert!(placed((4, 0x10), (4, 0)).is_ok());
    assert!(placed((4, 0), (2, 0)).is_ok()); // the same bytes of different BARs
}

#[test]
fn each_way_to_be_outside_has_its_words() {
    // Past the end by eight bytes; in the page beyond; as far out as a register can say.
    for (offset, shown) in [
        (0x3bf8, "0x3bf8..0x4008"),
        (0x4000, "0x4000..0x4410"),
        (0xffff_fff8, "0xfffffff8..0x100000408"),
    ] {
        let error = placed((4, offset), (2, 0)).unwrap_err().to_string();
        let words =
            format!("the table ({shown}) is not inside of BAR 4, which has 0x4000 bytes of memory");
        assert!(error.contains(&words), "{error}");
    }
    for (offset, shown) in [
        (0x3ff8, "0x3ff8..0x4008"),
        (0x4000, "0x4000..0x4010"),
        (0xffff_fff8, "0xfffffff8..0x100000008"),
    ] {
        let error = placed((2, 0), (4, offset)).unwrap_err().to_string();
        let words = format!("the pending bits ({shown}) is not inside of BAR 4");
        assert!(error.contains(&words), "{error}");
    }
    // Ports, an upper half, one that is absent, and what no device has.
    for number in [1, 3, 5, 6, 7, u8::MAX] {
        let words = format!("inside of BAR {number}, which has 0x0 bytes of memory");
        for (table, pending) in [((number, 0), (4, 0)), ((4, 0), (number, 0))] {
            let error = placed(table, pending).unwrap_err().to_string();
            assert!(error.contains(&words), "{error}");
        }
    }
}

/// Also if the kernel says that it has a size of its own.
#[test]
fn there_is_no_bar_in_an_upper_half() {
    let mut described = assorted();
    described[3].size = 0x1000;
    let error = Bars::new(&described, 0, None).unwrap_err().to_string();
    let words = "BAR 3: it is the upper half of the one before";
    assert!(error.contains(words), "{error}");
}

#[test]
fn table_and_pending_bits_overlap_by_a_word_or_all() {
    for (table, pending) in [(0, 0), (0, 0x408), (8, 0), (0x10, 0x20)] {
        let error = placed((4, table), (4, pending)).unwrap_err().to_string();
        assert!(error.contains("overlap in BAR 4"), "{error}");
    }
}

/// A page has room for what is not the table's: an access there is no access to an entry.
#[test]
fn the_entry_behind_the_last_one_is_none() {
    let bars = placed((4, 0x1000), (2, 0)).unwrap();
    let slices = bars.bars[4]
        .as_ref()
        .unwrap()
        .shape
        .slices(PageSize::new(0x1000).unwrap());
    let behind = slices.iter().find(|it| it.range.contains(&0x1410)).unwrap();
    assert_eq!(behind.kind, SliceKind::Trapped);
}
