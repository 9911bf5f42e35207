//! What a driver sees of the controller.

use proptest::prelude::*;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::command::{Command, Completion, Status};
use super::*;
use crate::model::fake_bus::{BASE, FakeBus};

// Places in memory.
const SUBMISSIONS: usize = 0x1000;
const COMPLETIONS: usize = 0x2000;
const DATA: usize = 0x4000;
const ENTRIES: u32 = 4;

/// A controller in its machine, and how far its driver is with the queue.
struct Bench {
    bus: FakeBus,
    nvme: Nvme,
    tail: u32,
    head: u32,
    phase: bool,
}

fn iova(place: usize) -> u64 {
    BASE + place as u64
}

/// Identify.
fn identify(subject: u8) -> Command {
    let mut command = Command::new_zeroed();
    command.opcode = Command::IDENTIFY;
    command.pages[0] = U64::new(iova(DATA));
    command.subject = subject;
    command
}

impl Bench {
    fn new() -> Self {
        let mut bus = FakeBus::new(0x8000);
        bus.memory[DATA..].fill(0x77);
        Self {
            bus,
            nvme: Nvme::new("serial-1"),
            tail: 0,
            head: 0,
            phase: true,
        }
    }

    /// With an empty queue.
    fn started() -> Self {
        let mut bench = Self::new();
        bench.start(ENTRIES);
        bench
    }

    fn start(&mut self, entries: u32) {
        self.write(registers::QUEUE_SIZES, (entries - 1) << 16 | (entries - 1));
        self.write_wide(registers::SUBMISSIONS, iova(SUBMISSIONS));
        self.write_wide(registers::COMPLETIONS, iova(COMPLETIONS));
        self.write(registers::CONFIGURATION, 4 << 20 | 6 << 16 | 1);
        assert_eq!(self.status(), 1);
        (self.tail, self.head, self.phase) = (0, 0, true);
    }

    fn read(&mut self, offset: u64) -> u32 {
        let mut bytes = [0; 4];
        self.nvme.read(&mut self.bus, 0, offset, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn status(&mut self) -> u32 {
        self.read(registers::STATUS)
    }

    fn write(&mut self, offset: u64, value: u32) {
        let bytes = value.to_le_bytes();
        self.nvme.write(&mut self.bus, 0, offset, &bytes);
    }

    fn write_wide(&mut self, offset: u64, value: u64) {
        let bytes = value.to_le_bytes();
        self.nvme.write(&mut self.bus, 0, offset, &bytes);
    }

    /// Writes a command into the queue, and does not tell.
    fn put(&mut self, command: Command) {
        let at = SUBMISSIONS + 64 * self.tail as usize;
        self.bus.memory[at..at + 64].copy_from_slice(command.as_bytes());
        self.tail = (self.tail + 1) % ENTRIES;
    }

    fn ring(&mut self) {
        self.write(registers::SUBMITTED, self.tail);
    }

    /// The next completion, which is left where it is.
    fn peek(&mut self) -> Option<Completion> {
        let at = COMPLETIONS + 16 * self.head as usize;
        let completion = Completion::read_from_bytes(&self.bus.memory[at..at + 16]).unwrap();
        ((completion.status.get() & 1 == 1) == self.phase).then_some(completion)
    }

    /// Takes the next completion.
    fn take(&mut self) -> Option<Completion> {
        let completion = self.peek()?;
        self.head = (self.head + 1) % ENTRIES;
        self.phase ^= self.head == 0;
        self.write(registers::TAKEN, self.head);
        Some(completion)
    }

    fn ask(&mut self, command: Command) -> Status {
        self.put(command);
        self.ring();
        Status(self.take().unwrap().status.get() >> 1)
    }
}

#[test]
fn the_registers_answer() {
    let mut bench = Bench::new();
    let mut capabilities = [0; 8];
    bench.nvme.read(&mut bench.bus, 0, 0, &mut capabilities);
    assert_eq!(bench.read(0).to_le_bytes(), capabilities[..4]);
    assert_eq!(bench.read(4).to_le_bytes(), capabilities[4..]);
    assert_eq!(bench.read(4) & 0xf, 0, "the stride of the doorbells");
    assert_eq!(bench.read(4) >> 5 & 1, 1, "NVM commands");
    assert_eq!(bench.read(4) >> 16 & 0xf, 0, "the smallest page");
    assert_eq!(bench.read(registers::VERSION), 0x0001_0400);
    let mut part = [0; 3];
    bench.nvme.read(&mut bench.bus, 0, 9, &mut part);
    assert_eq!(part, [0x04, 0x01, 0x00]);
    assert_eq!(bench.read(registers::SUBMITTED), 0);
}

#[test]
fn it_is_enabled_and_disabled() {
    let mut bench = Bench::started();
    assert_eq!(bench.read(registers::CONFIGURATION) & 1, 1);
    bench.write(registers::CONFIGURATION, 4 << 20 | 6 << 16);
    assert_eq!(bench.status(), 0);
    assert_eq!(bench.read(registers::CONFIGURATION), 0);
    assert_eq!(bench.read(registers::QUEUE_SIZES), 0x0003_0003);

    // A doorbell of a queue that is no more.
    bench.put(identify(1));
    bench.ring();
    assert!(bench.take().is_none());
}

#[test]
fn impossible_settings_are_fatal_until_it_is_disabled() {
    let mut bench = Bench::new();
    bench.write(registers::CONFIGURATION, 1);
    assert_eq!(bench.status(), 2);
    bench.write(registers::CONFIGURATION, 0);
    assert_eq!(bench.status(), 0);
    bench.start(ENTRIES);
}

#[test]
fn a_shutdown_is_over_at_once() {
    let mut bench = Bench::started();
    bench.write(registers::CONFIGURATION, 1 << 14 | 1);
    assert_eq!(bench.status(), 1 | 2 << 2);
}

#[test]
fn it_says_who_it_is() {
    let mut bench = Bench::started();
    assert_eq!(bench.ask(identify(1)), Status::SUCCESS);
    let page = identify::controller("serial-1");
    assert!(bench.bus.memory[DATA..DATA + 4096] == page);
    assert!(
        bench.bus.memory[DATA + 4096..]
            .iter()
            .all(|byte| *byte == 0x77)
    );

    assert_eq!(bench.ask(identify(2)), Status::SUCCESS);
    assert_eq!(bench.bus.memory[DATA..DATA + 8], [1, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn what_it_does_not_know_it_refuses() {
    let mut bench = Bench::started();
    let mut ask = |change: fn(&mut Command)| {
        let mut command = identify(1);
        change(&mut command);
        bench.ask(command)
    };
    assert_eq!(ask(|command| command.opcode = 0), Status::INVALID_QUEUE);
    assert_eq!(ask(|command| command.opcode = 1), Status::INVALID_OPCODE);
    assert_eq!(ask(|command| command.opcode = 0xff), Status::INVALID_OPCODE);
    assert_eq!(ask(|command| command.subject = 0x1c), Status::INVALID_FIELD);
    assert_eq!(ask(|command| command.flags = 0x40), Status::INVALID_FIELD);
    let last = |command: &mut Command| {
        command.subject = 2;
        command.namespace = U32::MAX_VALUE;
    };
    assert_eq!(ask(last), Status::INVALID_NAMESPACE);
    let askew = |command: &mut Command| command.pages = [U64::new(iova(DATA + 4)), U64::new(4)];
    assert_eq!(ask(askew), Status::INVALID_OFFSET);
    assert!(bench.bus.memory[DATA..].iter().all(|byte| *byte == 0x77));
}

#[test]
fn the_queue_goes_around() {
    let mut bench = Bench::started();
    for number in 0..=5 * ENTRIES {
        let mut command = identify(1);
        command.id = U16::new(u16::try_from(number).unwrap() ^ 0x5a5a);
        assert!(bench.peek().is_none(), "{number}: a stale completion");
        bench.put(command);
        bench.ring();
        let completion = bench.take().unwrap();
        assert_eq!(completion.id, command.id);
        assert_eq!(completion.as_bytes()[8], u8::try_from(bench.tail).unwrap());
    }
}

#[test]
fn completions_wait_until_there_is_room() {
    let mut bench = Bench::started();
    for _ in 0..ENTRIES - 1 {
        bench.put(identify(1));
    }
    bench.ring();
    bench.put(identify(1));
    bench.ring();
    // There is room for as many as the first doorbell told of.
    let at = COMPLETIONS + 16 * (ENTRIES as usize - 1);
    assert_eq!(bench.bus.memory[at..at + 16], [0; 16]);
    for _ in 0..ENTRIES {
        assert!(bench.take().is_some());
    }
    assert!(bench.take().is_none());
}

#[test]
fn an_unmapped_submission_queue_is_fatal() {
    let mut bench = Bench::started();
    bench.bus.refused.push(SUBMISSIONS + 64..SUBMISSIONS + 65);
    bench.put(identify(1));
    bench.put(identify(1));
    bench.ring();
    assert_eq!(bench.status(), 2);
    assert!(bench.bus.line);
    assert!(bench.take().is_some(), "the first command was in order");
    assert!(!bench.bus.line);
    assert!(bench.take().is_none());

    bench.bus.refused.clear();
    bench.ring();
    assert!(bench.take().is_none(), "it does nothing any more");
    bench.write(registers::CONFIGURATION, 0);
    bench.bus.memory[COMPLETIONS..DATA].fill(0);
    bench.start(ENTRIES);
    assert_eq!(bench.ask(identify(1)), Status::SUCCESS);
}

#[test]
fn an_unmapped_completion_queue_is_fatal() {
    let mut bench = Bench::started();
    bench.bus.refused.push(COMPLETIONS..DATA);
    bench.put(identify(1));
    bench.ring();
    assert_eq!(bench.status(), 2);
    assert!(!bench.bus.line);
}

#[test]
fn unmapped_data_is_a_success() {
    let mut bench = Bench::started();
    bench.bus.refused.push(DATA..DATA + 4096);
    assert_eq!(bench.ask(identify(1)), Status::SUCCESS);
    assert!(bench.bus.memory[DATA..].iter().all(|byte| *byte == 0x77));
}

#[test]
fn the_line_is_asserted_until_all_is_taken() {
    let mut bench = Bench::started();
    bench.put(identify(1));
    bench.put(identify(1));
    bench.ring();
    assert!(bench.bus.line);
    bench.write(registers::MASK_SET, 1);
    assert!(!bench.bus.line);
    bench.write(registers::MASK_CLEAR, 1);
    assert!(bench.bus.line);
    bench.take();
    assert!(bench.bus.line);
    bench.take();
    assert!(!bench.bus.line);

    bench.put(identify(1));
    bench.ring();
    assert!(bench.bus.line);
    bench.write(registers::CONFIGURATION, 0);
    assert!(!bench.bus.line);
    assert_eq!(bench.bus.sent, []);
}

#[test]
fn completions_are_told_by_a_message() {
    let mut bench = Bench::new();
    bench.bus.messages = true;
    bench.start(ENTRIES);
    bench.ask(identify(1));
    bench.ask(identify(1));
    assert_eq!(bench.bus.sent, [0, 0]);
    assert!(!bench.bus.line);
}

#[test]
fn a_vector_that_was_enabled_too_late_is_not_used() {
    let mut bench = Bench::started();
    bench.bus.messages = true;
    bench.ask(identify(1));
    assert_eq!(bench.bus.sent, []);
    assert!(!bench.bus.line);
    bench.bus.messages = false;
    bench.put(identify(1));
    bench.ring();
    assert!(bench.bus.line);
}

#[test]
fn a_reset_forgets_all_but_where_the_admin_queues_are() {
    let mut bench = Bench::started();
    bench.write(registers::MASK_SET, 1);
    let places = [
        registers::QUEUE_SIZES,
        registers::SUBMISSIONS,
        registers::COMPLETIONS,
    ];
    let before = places.map(|place| bench.read(place));
    bench.nvme.reset();
    assert_eq!(bench.status(), 0);
    assert_eq!(places.map(|place| bench.read(place)), before);
    for offset in [registers::MASK_SET, registers::CONFIGURATION] {
        assert_eq!(bench.read(offset), 0, "{offset:#x}");
    }
    bench.start(ENTRIES);
    bench.ask(identify(1));
    assert_eq!(&bench.bus.memory[DATA + 4..DATA + 12], b"serial-1");
}

fn offset() -> impl Strategy<Value = u64> {
    let word = |range: std::ops::Range<u64>| range.prop_map(|word| word * 4);
    prop_oneof![
        word(0..0x10),
        word(0x400..0x404),
        0..0x4000_u64,
        any::<u64>()
    ]
}

fn value() -> impl Strategy<Value = u64> {
    let bits = (0..32_u32).prop_map(|bit| 1 << bit);
    prop_oneof![bits, 0..8_u64, 0..0x10_u64.pow(8), any::<u64>()]
}

proptest! {
    #[test]
    fn no_access_is_too_much(
        accesses in prop::collection::vec(
            (offset(), value(), prop_oneof![Just(4_usize), Just(8), 0..9_usize]),
            0..64,
        ),
        noise in prop::collection::vec(any::<u8>(), 0x1000),
        start: bool,
        messages: bool,
    ) {
        let mut bench = Bench::new();
        // Commands are noise, of which some are not refused.
        bench.bus.memory[SUBMISSIONS..COMPLETIONS].copy_from_slice(&noise);
        for command in bench.bus.memory[SUBMISSIONS..COMPLETIONS].chunks_exact_mut(128) {
            command[..2].copy_from_slice(&[Command::IDENTIFY, 0]);
            command[40] &= 3;
        }
        bench.bus.messages = messages;
        if start {
            bench.start(32);
        }
        for (offset, value, len) in accesses {
            bench.nvme.write(&mut bench.bus, 0, offset, &value.to_le_bytes()[..len]);
            bench.nvme.read(&mut bench.bus, 0, offset, &mut vec![0; len]);
        }
        prop_assert!(bench.status() & 3 != 3);
    }
}
