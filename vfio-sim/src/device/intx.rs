//! The interrupt line (F83).

use vfio_core::kernel::{Errno, Result};
use vfio_core::uapi;

use crate::eventfd::EventFd;
use crate::watch::Watch;
use crate::world::World;

use super::State;
use super::irqs::{Call, Data, Vector};

const INTX: Option<u32> = Some(uapi::PCI_INTX_IRQ_INDEX);

impl State {
    /// The line or what keeps it quiet has changed: it is delivered, and masked until somebody unmasks it.
    pub(super) fn update_line(&mut self) {
        self.config.show_line(self.line);
        let quiet = self.irqs.is_masked || self.config.keeps_line_quiet();
        if self.line && !quiet && self.irqs.on == INTX {
            self.irqs.is_masked = true;
            self.signal_line();
        }
    }

    /// What the guest has switched off in its command register is not delivered, by whomever it is asked for.
    fn signal_line(&self) {
        if self.config.keeps_line_quiet() {
            return;
        }
        if let Some(eventfd) = self.irqs.vectors.first().and_then(|it| it.eventfd.as_ref()) {
            eventfd.signal();
        }
    }

    fn unmask_line(&mut self) {
        if !self.config.keeps_line_quiet() {
            self.irqs.is_masked = false;
            self.update_line();
        }
    }

    /// The command register was written. Its bit for the line masks and unmasks as the ioctl does, whatever masked it
    /// before.
    pub(super) fn line_was_switched(&mut self, was_quiet: bool) {
        let is_quiet = self.config.keeps_line_quiet();
        if self.irqs.on != INTX || is_quiet == was_quiet {
            return;
        }
        self.irqs.is_masked = is_quiet;
        self.update_line();
    }

    fn check_line(&self, call: &Call) -> Result<()> {
        match self.irqs.on == INTX && call.start == 0 && call.count == 1 {
            true => Ok(()),
            false => Err(Errno::INVAL),
        }
    }

    pub(super) fn mask(&mut self, call: &Call) -> Result<u32> {
        self.check_line(call)?;
        match &call.data {
            Data::None => self.irqs.is_masked = true,
            Data::Bools(bools) => self.irqs.is_masked |= bools.contains(&true),
            Data::EventFds(_) => return Err(Errno::NOTTY), // F82
        }
        Ok(0)
    }

    pub(super) fn trigger_line(&mut self, call: &Call) -> Result<u32> {
        let is_on = self.irqs.on == INTX;
        if is_on && call.count == 0 && matches!(call.data, Data::None) {
            self.irqs.disable();
            return Ok(0);
        }
        if !is_on && self.irqs.on.is_some() || call.start != 0 || call.count != 1 {
            return Err(Errno::INVAL); // F84
        }
        if let Data::EventFds(fds) = &call.data {
            let fd = fds.first().copied().unwrap_or(-1);
            let eventfd = (fd >= 0).then(|| EventFd::of_number(fd)).transpose()?;
            if !is_on {
                self.irqs.is_masked = self.config.keeps_line_quiet();
            }
            self.irqs.on = INTX;
            self.irqs.vectors = vec![Vector {
                is_allocated: true,
                is_pending: false,
                eventfd,
            }];
            self.update_line();
            return Ok(0);
        }
        if !is_on {
            return Err(Errno::INVAL);
        }
        match &call.data {
            Data::Bools(bools) if !bools.contains(&true) => {}
            _ => self.signal_line(),
        }
        Ok(0)
    }
}

impl World {
    pub(super) fn unmask(&mut self, bdf: &str, call: &Call) -> Result<u32> {
        self.state(bdf).check_line(call)?;
        match &call.data {
            Data::None => self.state(bdf).unmask_line(),
            Data::Bools(bools) if bools.contains(&true) => self.state(bdf).unmask_line(),
            Data::Bools(_) => {}
            Data::EventFds(fds) => match fds.first() {
                Some(&fd) if fd >= 0 => self.unmask_by(bdf, fd)?,
                _ => self.state(bdf).irqs.unmask = None,
            },
        }
        Ok(0)
    }

    /// From now on, a signal of that eventfd unmasks the line.
    fn unmask_by(&mut self, bdf: &str, fd: i32) -> Result<()> {
        let eventfd = EventFd::of_number(fd)?;
        let before = &mut self.state(bdf).irqs.unmask;
        if before.as_ref().is_some_and(|watch| !watch.is_abandoned()) {
            return Err(Errno::BUSY);
        }
        *before = None;
        let bdf_there = bdf.to_owned();
        let act = move |world: &mut Self| world.state(&bdf_there).unmask_line();
        let watch = Watch::new(self, eventfd, act)?;
        self.state(bdf).irqs.unmask = Some(watch);
        Ok(())
    }
}
