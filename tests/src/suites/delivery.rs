//! Interrupts that arrive, counted.

use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use vfio_core::Answer;
use vfio_core::device::{Device, EventFd, IrqIndex};

use super::Rig;
use crate::wait;

/// So long nothing must come, for us to believe that nothing does. An interrupt of an emulated device
/// takes a small part of it.
const QUIET: Duration = Duration::from_millis(100);

/// Interrupts of one kind, delivered to eventfds until this is dropped.
pub(super) struct Delivery<'a> {
    device: &'a Device,
    index: IrqIndex,
    eventfds: Vec<EventFd>,
}

impl<'a> Delivery<'a> {
    /// Enables as many vectors as the device has and the kernel gives, but not more than `most`; `None` if
    /// it has none.
    pub(super) fn new(rig: &'a Rig, index: IrqIndex, most: u32) -> Result<Option<Self>> {
        let count = rig.device.irq_info(index)?.count.min(most);
        if count == 0 {
            return Ok(None);
        }
        let mut eventfds = (0..count)
            .map(|_| EventFd::new(rig.vfio().kernel()))
            .collect::<vfio_core::Result<Vec<_>>>()?;
        let enable = |eventfds: &[EventFd]| {
            let fds: Vec<_> = eventfds.iter().map(|fd| Some(fd.as_fd())).collect();
            rig.device.enable_irqs(index, 0, &fds)
        };
        if let Err(error) = enable(&eventfds) {
            let Some(Answer::Returned(available)) = error.answer() else {
                return Err(error.into());
            };
            eventfds.truncate(available as usize);
            enable(&eventfds)
                .with_context(|| format!("{available} vectors, as the kernel said"))?;
        }
        Ok(Some(Self {
            device: &rig.device,
            index,
            eventfds,
        }))
    }

    /// How many vectors are enabled.
    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.eventfds.len()).unwrap_or(u32::MAX)
    }

    /// Exactly one interrupt arrives, on that vector.
    pub(super) fn expect_one(&self, vector: u32) -> Result<()> {
        let eventfd = self
            .eventfds
            .get(vector as usize)
            .with_context(|| format!("there is no vector {vector}"))?;
        let arrived = eventfd.wait(wait::LONG)?;
        ensure!(
            arrived == 1,
            "{arrived} interrupts arrived on vector {vector}, instead of one"
        );
        self.expect_none()
            .context("after the one that was expected")
    }

    /// No interrupt arrives.
    pub(super) fn expect_none(&self) -> Result<()> {
        let mut patience = QUIET;
        for (vector, eventfd) in self.eventfds.iter().enumerate() {
            let arrived = eventfd.wait(patience)?;
            patience = Duration::ZERO; // the others had as long
            ensure!(
                arrived == 0,
                "{arrived} interrupts arrived on vector {vector}"
            );
        }
        Ok(())
    }

    /// Lets the interrupt line fire again.
    pub(super) fn unmask(&self) -> Result<()> {
        Ok(self.device.unmask_irqs(self.index, 0, 1)?)
    }

    /// Lets the kernel fire that vector.
    pub(super) fn fire(&self, vector: u32) -> Result<()> {
        Ok(self.device.fire_irqs(self.index, vector, 1)?)
    }

    /// Ends the delivery; the eventfds can still say whether something arrives.
    pub(super) fn disable(&self) -> Result<()> {
        Ok(self.device.disable_irqs(self.index)?)
    }
}

impl Drop for Delivery<'_> {
    fn drop(&mut self) {
        // After a failed case; a kind that is not enabled answers with an error here, which is no news.
        let _ = self.disable();
    }
}
