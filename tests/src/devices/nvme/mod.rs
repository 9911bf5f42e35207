//! An NVMe controller, as far as *Identify* goes: the admin queue alone. Nothing on the disk is read or
//! written.

mod command;
mod controller;
mod ring;

use anyhow::{Context, Result, bail, ensure};
use pci_device::{Command, ConfigSpace};
use vfio_core::address::{Access, DmaMask, Iova};
use vfio_core::device::Device;
use vfio_core::iommu::DmaBuffer;

use super::evidence::{self, Dma};
use super::{Cause, Copier, Driver, Reachable};
use crate::random;
use command::{IDENTIFY_SIZE, Identify};
use controller::Controller;
use ring::{Completion, Ring};

/// The driver.
#[derive(Debug)]
pub(super) struct Nvme {
    config: ConfigSpace,
    controller: Controller,
    ring: Ring,
    /// The submission queue: the device only reads it.
    submissions: DmaBuffer,
    /// The completion queue: the device only writes it.
    completions: DmaBuffer,
    /// What the device identifies itself with.
    data: DmaBuffer,
    /// The command whose completion raises the interrupt that was asked for.
    raised: Option<u16>,
}

impl Nvme {
    pub(super) fn new(device: &Device) -> Result<Self> {
        let config = ConfigSpace::of(device)?;
        config.enable(Command::MEMORY)?;
        let controller = Controller::new(device)?;
        let buffer = |size, access| {
            let buffer = device.domain().buffer(size, DmaMask::bits(64), access)?;
            ensure!(
                buffer.iova().0 % controller.page_size() == 0,
                "the controller's pages have {:#x} bytes, those of the IOMMU fewer",
                controller.page_size()
            );
            Ok(buffer)
        };
        Ok(Self {
            submissions: buffer(ring::SUBMISSIONS_SIZE, Access::Read)?,
            completions: buffer(ring::COMPLETIONS_SIZE, Access::Write)?,
            data: buffer(IDENTIFY_SIZE, Access::Write)?,
            ring: Ring::new(),
            raised: None,
            config,
            controller,
        })
    }

    /// Starts with an empty submission queue at `submissions`.
    fn start_with(&mut self, submissions: Iova) -> Result<()> {
        self.stop()?;
        self.completions
            .copy_from(0, &[0; ring::COMPLETIONS_SIZE])?; // no phase bit is set
        self.controller.enable(submissions, self.completions.iova())
    }

    /// Disables the controller, which forgets its queues. What was asked for before has no answer.
    fn stop(&mut self) -> Result<()> {
        self.config.enable(Command::MEMORY)?;
        self.controller.disable()?;
        // Not before: a controller that firmware left enabled would go on with firmware's queues.
        self.config.enable(Command::BUS_MASTER)?;
        self.ring = Ring::new();
        self.raised = None;
        Ok(())
    }

    /// Asks through our own queue and waits for the answer.
    fn ask(&mut self, command: Identify) -> Result<Completion> {
        let id = self
            .ring
            .submit(&self.controller, &self.submissions, command)?;
        self.ring.wait_for(id, &self.controller, &self.completions)
    }

    /// What the controller says of `subject`.
    fn say(&mut self, subject: u8) -> Result<Vec<u8>> {
        let noise = evidence::fill(&self.data)?;
        let command = Identify::into(&self.data, 0, self.controller.page_size(), subject);
        match self.ask(command)? {
            Completion::Success => {}
            other => bail!("Identify {subject}: {other:?}"),
        }
        let said = evidence::copy(&self.data, 0, IDENTIFY_SIZE)?;
        ensure!(
            said.as_slice() != noise.get(..IDENTIFY_SIZE).unwrap_or_default(),
            "Identify {subject} succeeded and wrote nothing"
        );
        Ok(said)
    }

    /// What the controller says of itself; that it is this one is proven.
    fn say_who(&mut self) -> Result<Vec<u8>> {
        let said = self.say(command::CONTROLLER)?;
        let vendor = self.config.vendor()?;
        ensure!(
            said.starts_with(&vendor.to_le_bytes()),
            "Identify says vendor {:02x?} from the lowest byte on; config space says {vendor:#06x}",
            said.get(..2)
        );
        Ok(said)
    }
}

impl Driver for Nvme {
    fn start(&mut self) -> Result<()> {
        self.start_with(self.submissions.iova())
    }

    fn identify(&mut self) -> Result<()> {
        self.controller.check_capabilities()?;
        self.say(command::ACTIVE_NAMESPACES)?;
        // Twice around both queues, so that indexes and phase turn over.
        for _ in 0..=2 * ring::ENTRIES {
            self.say_who()?;
        }
        Ok(())
    }

    /// What the device reads is a command: `memory` becomes its submission queue.
    fn reads(&mut self, memory: &dyn Reachable) -> Result<Dma> {
        evidence::fill(memory)?;
        evidence::fill(&self.data)?;
        self.start_with(memory.iova())?;
        let command = Identify::into(
            &self.data,
            0,
            self.controller.page_size(),
            command::CONTROLLER,
        );
        let id = self.ring.submit(&self.controller, memory, command)?;
        let completion = self.ring.wait_for(id, &self.controller, &self.completions);
        let said = evidence::copy(&self.data, 0, IDENTIFY_SIZE)?;
        self.start()?;
        match completion? {
            Completion::Success => {
                ensure!(
                    said == self.say_who()?,
                    "the command was answered, but not obeyed"
                );
                Ok(Dma::Arrived)
            }
            Completion::Status(status) => bail!("the command was answered with status {status:#x}"),
            Completion::Fatal | Completion::None => {
                ensure!(
                    said != self.say_who()?,
                    "the command was obeyed, but not answered"
                );
                Ok(Dma::Blocked)
            }
        }
    }

    fn writes(&mut self, memory: &dyn Reachable) -> Result<Dma> {
        let source = self.say_who()?;
        let before = evidence::fill(memory)?;
        let most = memory
            .len()
            .checked_sub(IDENTIFY_SIZE)
            .context("the buffer is too small")?;
        let at = random::up_to(most / 4)? * 4;
        let command = Identify::into(memory, at, self.controller.page_size(), command::CONTROLLER);
        let completion = self.ask(command)?;
        let outcome = evidence::of_write(memory, &before, at, &source)?;
        ensure!(
            outcome == Dma::Blocked || completion == Completion::Success,
            "the data arrived, and yet: {completion:?}"
        );
        self.start()?;
        Ok(outcome)
    }

    /// What it writes is its identity, and pages are where it begins.
    fn copier(&self) -> Option<&dyn Copier> {
        None
    }

    fn causes(&self) -> &'static [Cause] {
        &[Cause::DmaDone]
    }

    fn raise(&mut self, _: Cause) -> Result<()> {
        let command = Identify::into(
            &self.data,
            0,
            self.controller.page_size(),
            command::CONTROLLER,
        );
        self.raised = Some(
            self.ring
                .submit(&self.controller, &self.submissions, command)?,
        );
        Ok(())
    }

    fn acknowledge(&mut self) -> Result<()> {
        let id = self.raised.take().context("no interrupt was asked for")?;
        match self
            .ring
            .wait_for(id, &self.controller, &self.completions)?
        {
            Completion::Success => Ok(()),
            other => bail!("Identify: {other:?}"),
        }
    }

    fn is_started(&self) -> Result<Option<bool>> {
        self.controller.is_enabled().map(Some)
    }
}

impl Drop for Nvme {
    /// The queues go next: the controller must not use them any more.
    fn drop(&mut self) {
        if let Err(error) = self.controller.disable() {
            eprintln!("warning: an NVMe controller was left enabled: {error:#}");
        }
    }
}
