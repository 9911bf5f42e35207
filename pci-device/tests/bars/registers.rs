//! Registers under any writes: what cannot be written stays, and each move is told once.

use pci_device::Command;
use pci_device::bar::{BARS, BarRegister, BarRegisters, Bars, Described};
use proptest::prelude::*;

/// Ports, memory of 32 bits, and memory of 64 bits in registers 3 and 4; nothing in 2 and 5; and a ROM.
fn registers(bits: [u32; 3], rom: u32) -> BarRegisters {
    let mut described: [Described; BARS] = Default::default();
    for ((number, register), bits) in [(0, 0b1), (1, 0b1000), (3, 0b1100)].into_iter().zip(bits) {
        (described[number].register, described[number].size) = (register, 1 << bits);
    }
    BarRegisters::new(&Bars::new(&described, 1 << rom, None).unwrap())
}

fn all() -> Vec<BarRegister> {
    let bars = (0..6).map(BarRegister::Bar);
    bars.chain([BarRegister::Rom]).collect()
}

/// Bytes that are written together: one, two or all four.
fn lanes() -> impl Strategy<Value = u32> {
    prop::sample::select(vec![
        0xff,
        0xff00,
        0xff_0000,
        0xff00_0000,
        0xffff,
        0xffff_0000,
        u32::MAX,
    ])
}

fn value() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), Just(u32::MAX), any::<u32>()]
}

proptest! {
    #[test]
    fn what_cannot_be_written_stays_and_each_move_is_told_once(
        bits in (4_u32..16, 4_u32..28, 4_u32..40),
        rom in 11_u32..24,
        writes in prop::collection::vec((0_usize..7, value(), lanes()), 0..40),
    ) {
        let mut registers = registers([bits.0, bits.1, bits.2], rom);
        let decoded = Command::IO | Command::MEMORY;
        for (which, value, lanes) in writes {
            let register = all()[which];
            let (before, old) = (registers.places(decoded), registers.read(register));
            let change = registers.write(register, value, lanes);
            let (after, new) = (registers.places(decoded), registers.read(register));

            prop_assert_eq!(old & !lanes, new & !lanes);
            let moved: Vec<_> = (0..7).filter(|n| before[*n] != after[*n]).collect();
            match change {
                None => prop_assert_eq!(moved, []),
                Some(change) => {
                    let place = all().iter().position(|it| *it == change.what).unwrap();
                    prop_assert_eq!(moved, [place]);
                    prop_assert_eq!((change.from, change.to), (before[place], after[place]));
                }
            }
            let types = [0b1, 0b1000, 0, 0b1100];
            for (number, bits) in [(0, bits.0), (1, bits.1), (3, bits.2)] {
                let low = registers.read(BarRegister::Bar(number));
                prop_assert_eq!(low & 0xf, types[usize::from(number)]);
                let place = after[usize::from(number)].unwrap_or(0);
                prop_assert_eq!(place % (1 << bits), 0);
            }
            prop_assert_eq!(registers.read(BarRegister::Bar(2)), 0);
            prop_assert_eq!(registers.read(BarRegister::Bar(5)), 0);
        }
    }
}

#[test]
fn a_guest_learns_each_size_by_writing_ones() {
    let mut registers = registers([8, 20, 36], 16);
    for register in all() {
        registers.write(register, u32::MAX, u32::MAX);
    }
    let shown: Vec<_> = all().iter().map(|it| registers.read(*it)).collect();
    let expected = [
        0xffff_ff01,
        0xfff0_0008,
        0,
        0x0000_000c,
        0xffff_fff0,
        0,
        0xffff_0001,
    ];
    assert_eq!(shown, expected);
    // What is written to learn the size is no place.
    assert_eq!(registers.places(Command::IO | Command::MEMORY), [None; 7]);
}

#[test]
fn two_bars_are_swapped_a_dword_at_a_time() {
    let mut described: [Described; BARS] = Default::default();
    for number in [0, 2] {
        (described[number].register, described[number].size) = (0b100, 0x1000);
    }
    let mut registers = BarRegisters::new(&Bars::new(&described, 0, None).unwrap());
    let mut told = Vec::new();
    let mut write = |number, value| {
        let change = registers.write(BarRegister::Bar(number), value, u32::MAX);
        told.extend(change.map(|it| (it.what, it.to)));
    };
    for (number, value) in [(0, 0x1000), (1, 1), (2, 0x2000), (3, 2)] {
        write(number, value);
    }
    for (number, value) in [(0, 0x2000), (1, 2), (2, 0x1000), (3, 1), (3, 1)] {
        write(number, value);
    }
    let (one, other) = (BarRegister::Bar(0), BarRegister::Bar(2));
    assert_eq!(
        told,
        [
            (one, Some(0x1000)),
            (one, Some(0x1_0000_1000)),
            (other, Some(0x2000)),
            (other, Some(0x2_0000_2000)),
            (one, Some(0x1_0000_2000)),
            (one, Some(0x2_0000_2000)),
            (other, Some(0x2_0000_1000)),
            (other, Some(0x1_0000_1000)),
        ]
    );
}
