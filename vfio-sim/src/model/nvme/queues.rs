//! The admin queue: commands are read from one ring, their completions are written to the other.

use zerocopy::{FromZeros, IntoBytes};

use super::admin;
use super::command::{Command, Completion};
use super::registers::Registers;
use super::ring::Ring;
use crate::model::Bus;

/// The two rings of the admin queue.
#[derive(Debug, Clone)]
pub(super) struct Queues {
    page_size: u64,
    submissions: Ring,
    completions: Ring,
    /// What the phase bit of a new completion is: it changes each time around.
    phase: bool,
    /// Whether the vector of the completions was in use when the queue was made. Otherwise it stays unused.
    has_vector: bool,
    /// Whether there are completions that are told by the line.
    asserts: bool,
}

/// The controller gave up: it cannot reach its queue.
#[derive(Debug)]
pub(super) struct Unreachable;

impl Queues {
    /// The queue that the registers describe, empty, if they describe any.
    pub(super) fn new(registers: &Registers, has_vector: bool) -> Option<Self> {
        let ring = |address, entry: usize, entries| Ring::new(address, entry as u64, entries);
        Some(Self {
            page_size: registers.page_size()?,
            submissions: ring(
                registers.submissions,
                size_of::<Command>(),
                registers.submission_entries(),
            ),
            completions: ring(
                registers.completions,
                size_of::<Completion>(),
                registers.completion_entries(),
            ),
            phase: true,
            has_vector,
            asserts: false,
        })
    }

    /// Whether the line is asserted, if nothing masks it.
    pub(super) fn asserts(&self) -> bool {
        self.asserts
    }

    /// The driver has written commands up to this one.
    pub(super) fn submitted(&mut self, tail: u32) {
        self.submissions.set_tail(tail);
    }

    /// The driver has taken completions up to this one.
    pub(super) fn taken(&mut self, head: u32) {
        self.completions.set_head(head);
        self.asserts &= !self.completions.is_empty();
    }

    /// Does what there is to do, while there is room for completions, and tells that with an interrupt.
    pub(super) fn run(&mut self, bus: &mut dyn Bus, serial: &str) -> Result<(), Unreachable> {
        let mut outcome = Ok(());
        let mut posted = false;
        while outcome.is_ok() && !self.submissions.is_empty() && !self.completions.is_full() {
            outcome = self.step(bus, serial);
            posted |= outcome.is_ok();
        }
        if posted && !bus.sends_messages() {
            self.asserts = true;
        } else if posted && self.has_vector {
            bus.send_message(0);
        }
        outcome
    }

    /// One command.
    fn step(&mut self, bus: &mut dyn Bus, serial: &str) -> Result<(), Unreachable> {
        let address = self.submissions.head_address().ok_or(Unreachable)?;
        let mut command = Command::new_zeroed();
        if !bus.read_memory(address, command.as_mut_bytes()) {
            return Err(Unreachable);
        }
        self.submissions.pop();

        let status = admin::execute(bus, serial, self.page_size, &command);
        let head = self.submissions.head();
        let completion = Completion::new(command.id, status, head, self.phase);
        let address = self.completions.tail_address().ok_or(Unreachable)?;
        if !bus.write_memory(address, completion.as_bytes()) {
            return Err(Unreachable);
        }
        self.phase ^= self.completions.push();
        Ok(())
    }
}
