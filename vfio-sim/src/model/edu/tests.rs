//! What a driver sees of the device.

use proptest::prelude::*;

use super::dma::{BUFFER, COMMAND, COUNT, DESTINATION, INTERRUPT, RUN, SOURCE, TO_MEMORY};
use super::*;
use crate::model::fake_bus::{BASE, FakeBus};

/// A device in its machine.
struct Bench {
    bus: FakeBus,
    edu: Edu,
}

impl Bench {
    fn new() -> Self {
        let mut bus = FakeBus::new(0x4000);
        bus.fill();
        Self {
            bus,
            edu: Edu::new(ByteOrder::Little),
        }
    }

    fn read(&mut self, offset: u64) -> u32 {
        let mut bytes = [0; 4];
        self.edu.read(&mut self.bus, 0, offset, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn read_wide(&mut self, offset: u64) -> u64 {
        let mut bytes = [0; 8];
        self.edu.read(&mut self.bus, 0, offset, &mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn write(&mut self, offset: u64, value: u32) {
        self.edu
            .write(&mut self.bus, 0, offset, &value.to_le_bytes());
    }

    fn write_wide(&mut self, offset: u64, value: u64) {
        self.edu
            .write(&mut self.bus, 0, offset, &value.to_le_bytes());
    }

    fn transfer(&mut self, source: u64, destination: u64, count: u64, command: u64) {
        self.write_wide(SOURCE, source);
        self.write_wide(DESTINATION, destination);
        self.write_wide(COUNT, count);
        self.write_wide(COMMAND, command | RUN);
        assert_eq!(self.read_wide(COMMAND), command, "the engine is idle");
    }

    fn load(&mut self, memory: u64, at: u64, count: u64) {
        self.transfer(memory, BUFFER + at, count, 0);
    }

    fn store(&mut self, at: u64, memory: u64, count: u64) {
        self.transfer(BUFFER + at, memory, count, TO_MEMORY);
    }
}

#[test]
fn the_registers_answer() {
    let mut bench = Bench::new();
    assert_eq!(bench.read(ID), 0x0100_00ed);
    bench.write(LIVENESS, 0x1234_5678);
    assert_eq!(bench.read(LIVENESS), !0x1234_5678);
    for (number, result) in [(0, 1), (5, 120), (12, 479_001_600), (34, 0), (u32::MAX, 0)] {
        bench.write(FACTORIAL, number);
        assert_eq!(bench.read(FACTORIAL), result, "{number}!");
    }
    assert_eq!(bench.read(STATUS), 0);
    assert!(!bench.bus.line);
    assert_eq!(bench.read(IRQ_RAISE), u32::MAX);
    assert_eq!(bench.read(0x1000), u32::MAX);
}

#[test]
fn a_big_endian_device_has_its_bytes_the_other_way_around() {
    let mut bus = FakeBus::new(0);
    let mut edu = Edu::new(ByteOrder::Big);
    let mut word = [0; 4];
    edu.read(&mut bus, 0, ID, &mut word);
    assert_eq!(word, 0x0100_00ed_u32.to_be_bytes());
    edu.write(
        &mut bus,
        0,
        SOURCE,
        &0x1122_3344_5566_7788_u64.to_be_bytes(),
    );
    edu.read(&mut bus, 0, SOURCE, &mut word);
    assert_eq!(
        word,
        0x5566_7788_u32.to_be_bytes(),
        "32 bits are the low half"
    );
}

#[test]
fn accesses_of_other_sizes_come_to_nothing() {
    let mut bench = Bench::new();
    assert_eq!(bench.read_wide(ID), u64::MAX);
    bench.write_wide(LIVENESS, 1);
    assert_eq!(bench.read(LIVENESS), 0);
    for len in [0, 1, 2, 3, 5, 16] {
        let mut bytes = vec![0; len];
        bench.edu.write(&mut bench.bus, 0, SOURCE, &bytes);
        bench.edu.read(&mut bench.bus, 0, SOURCE, &mut bytes);
        let nothing = if len < 4 { 0 } else { 0xff };
        assert!(bytes.iter().all(|byte| *byte == nothing));
    }
    let mut word = [0; 4];
    bench.edu.read(&mut bench.bus, 1, ID, &mut word);
    assert_eq!(word, [0xff; 4], "there is no other BAR");
}

#[test]
fn a_write_of_32_bits_clears_the_others() {
    let mut bench = Bench::new();
    bench.write_wide(SOURCE, u64::MAX);
    bench.write(SOURCE + 4, 7);
    assert_eq!(bench.read_wide(SOURCE), u64::MAX);
    bench.write(SOURCE, 7);
    assert_eq!(bench.read_wide(SOURCE), 7);
}

#[test]
fn dma_goes_both_ways() {
    let mut bench = Bench::new();
    let before = bench.bus.memory.clone();
    bench.load(BASE + 0x123, 5, 4000);
    assert_eq!(bench.bus.memory, before);
    bench.store(5, BASE + 0x2001, 4000);
    let mut after = before;
    after.copy_within(0x123..0x123 + 4000, 0x2001);
    assert!(bench.bus.memory == after);
}

#[test]
fn blocked_dma_moves_nothing() {
    let mut bench = Bench::new();
    bench.bus.refused.push(0x1000..0x3000);
    let before = bench.bus.memory.clone();
    bench.load(BASE, 0, 256);
    bench.store(0, BASE + 0x1000, 256);
    assert!(bench.bus.memory == before);

    bench.load(BASE + 0x1000, 0, 256);
    bench.store(0, BASE + 0x3000, 256);
    assert_eq!(bench.bus.memory[0x3000..0x3100], [0xff; 256]);
}

#[test]
fn a_transfer_outside_of_the_buffer_ends_and_moves_nothing() {
    let mut bench = Bench::new();
    let before = bench.bus.memory.clone();
    for (at, count) in [(4095, 2), (0, 4097), (0, u64::MAX), (u64::MAX - BUFFER, 9)] {
        bench.load(BASE, at, count);
        bench.store(at, BASE, count);
    }
    assert!(bench.bus.memory == before);
}

#[test]
fn bits_outside_of_the_mask_are_dropped() {
    let mut bench = Bench::new();
    bench.edu = bench.edu.clone().dma_mask(0xff_ffff_ffff);
    bench.load(0xabcd << 48 | BASE, 0, 64);
    bench.store(0, BASE + 0x1000, 64);
    assert_eq!(
        bench.bus.memory[0x1000..0x1040],
        bench.bus.memory[..0x40].to_vec()
    );
}

#[test]
fn a_command_that_does_not_run_is_dropped() {
    let mut bench = Bench::new();
    bench.write_wide(COMMAND, INTERRUPT);
    assert_eq!(bench.read_wide(COMMAND), 0);
    assert_eq!(bench.read(IRQ_STATUS), 0);
}

#[test]
fn the_line_is_asserted_until_all_is_acknowledged() {
    let mut bench = Bench::new();
    bench.write(IRQ_RAISE, 0);
    assert!(!bench.bus.line);
    bench.write(IRQ_RAISE, 0b11);
    bench.write(IRQ_ACKNOWLEDGE, 0b10);
    assert_eq!(bench.read(IRQ_STATUS), 0b01);
    assert!(bench.bus.line);
    bench.write(IRQ_ACKNOWLEDGE, 0b01);
    assert!(!bench.bus.line);

    bench.transfer(BASE, BUFFER, 16, INTERRUPT);
    assert_eq!(bench.read(IRQ_STATUS), IRQ_DMA);
    assert!(bench.bus.line);
    bench.write(IRQ_ACKNOWLEDGE, u32::MAX);
    assert!(!bench.bus.line);

    bench.write(STATUS, u32::MAX);
    assert_eq!(bench.read(STATUS), STATUS_INTERRUPT);
    bench.write(FACTORIAL, 3);
    assert_eq!(bench.read(IRQ_STATUS), IRQ_FACTORIAL);
    assert!(bench.bus.line);
    assert_eq!(bench.bus.sent, []);
}

#[test]
fn each_cause_is_a_message() {
    let mut bench = Bench::new();
    bench.bus.messages = true;
    bench.write(IRQ_RAISE, 1);
    bench.write(IRQ_RAISE, 1);
    bench.transfer(BASE, BUFFER, 16, INTERRUPT);
    assert_eq!(bench.bus.sent, [0, 0, 0]);
    assert!(!bench.bus.line);
}

#[test]
fn a_reset_leaves_the_registers() {
    let mut bench = Bench::new();
    bench.write(LIVENESS, 1);
    bench.write(IRQ_RAISE, 4);
    bench.edu.reset();
    assert_eq!(bench.read(LIVENESS), !1);
    assert_eq!(bench.read(IRQ_STATUS), 4);
}

proptest! {
    #[test]
    fn no_access_is_too_much(
        accesses in prop::collection::vec(
            (
                0..0xa0_u64,
                prop_oneof![
                    any::<u64>(),
                    0..8_u64,
                    0..5000_u64,
                    (0..5000_u64).prop_map(|at| BUFFER + at),
                    (0..0x5000_u64).prop_map(|at| BASE + at),
                ],
                prop_oneof![Just(4_usize), Just(8), 0..9_usize],
                any::<bool>(),
            ),
            0..64,
        ),
        messages: bool,
    ) {
        let mut bench = Bench::new();
        bench.bus.messages = messages;
        for (offset, value, len, register) in accesses {
            // Most accesses are to registers.
            let offset = if register { offset & !7 } else { offset };
            bench.edu.write(&mut bench.bus, 0, offset, &value.to_le_bytes()[..len]);
            bench.edu.read(&mut bench.bus, 0, offset, &mut vec![0; len]);
            prop_assert_eq!(bench.read_wide(COMMAND) & RUN, 0);
            prop_assert_eq!(bench.bus.line, !messages && bench.edu.asserted != 0);
        }
    }
}
