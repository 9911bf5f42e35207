//! The admin queue: where commands go and completions come from.

use anyhow::{Result, ensure};
use vfio_core::iommu::DmaBuffer;

use super::command::Identify;
use super::controller::Controller;
use crate::devices::Reachable;
use crate::{random, wait};

/// How many entries each of the two queues has.
pub(super) const ENTRIES: u16 = 8;
const SUBMISSION_SIZE: usize = 64;
const COMPLETION_SIZE: usize = 16;
/// The submission queue in bytes.
pub(super) const SUBMISSIONS_SIZE: usize = SUBMISSION_SIZE * ENTRIES as usize;
/// The completion queue in bytes.
pub(super) const COMPLETIONS_SIZE: usize = COMPLETION_SIZE * ENTRIES as usize;

/// What came of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Completion {
    /// The controller says that it was done.
    Success,
    /// The controller says that it was not, and why.
    Status(u16),
    /// The controller gave up.
    Fatal,
    /// Nothing, for a long time.
    None,
}

/// How far the queues are filled and emptied.
#[derive(Debug)]
pub(super) struct Ring {
    tail: u16,
    head: u16,
    /// What the phase bit of a new completion is: it changes each time around.
    phase: bool,
}

impl Ring {
    /// That of a controller that was just enabled.
    pub(super) fn new() -> Self {
        Self {
            tail: 0,
            head: 0,
            phase: true,
        }
    }

    /// Gives the controller a command; answers the id that was chosen for it.
    pub(super) fn submit(
        &mut self,
        controller: &Controller,
        submissions: &dyn Reachable,
        command: Identify,
    ) -> Result<u16> {
        const HIGHEST_ID: usize = 0xfffe; // the next is reserved
        let id = u16::try_from(random::up_to(HIGHEST_ID)?)?;
        submissions.copy_from(
            usize::from(self.tail) * SUBMISSION_SIZE,
            &command.encode(id),
        )?;
        self.tail = (self.tail + 1) % ENTRIES;
        controller.submitted(self.tail)?;
        Ok(id)
    }

    /// Waits for the completion of a command and takes it.
    pub(super) fn wait_for(
        &mut self,
        id: u16,
        controller: &Controller,
        completions: &DmaBuffer,
    ) -> Result<Completion> {
        let at = usize::from(self.head) * COMPLETION_SIZE;
        let last_word = wait::poll(wait::LONG, || {
            let word = u32::from_le(completions.read(at + 12)?);
            if (word >> 16 & 1 == 1) == self.phase {
                return Ok(Some(Some(word)));
            }
            Ok(controller.is_fatal()?.then_some(None))
        })?;
        let word = match last_word {
            Some(Some(word)) => word,
            Some(None) => return Ok(Completion::Fatal),
            None => return Ok(Completion::None),
        };
        completions.barrier(); // what the completion is about was written before it

        self.head = (self.head + 1) % ENTRIES;
        self.phase ^= self.head == 0;
        controller.taken(self.head)?;

        let [id_low, id_high, status_low, status_high] = word.to_le_bytes();
        let completed = u16::from_le_bytes([id_low, id_high]);
        ensure!(
            completed == id,
            "command {id:#x} was completed as {completed:#x}"
        );
        match u16::from_le_bytes([status_low, status_high]) >> 1 {
            0 => Ok(Completion::Success),
            status => Ok(Completion::Status(status)),
        }
    }
}
