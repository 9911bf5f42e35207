//! MSI and MSI-X vectors (F85, F85b).

use std::os::fd::RawFd;

use vfio_core::kernel::{Errno, Result};
use vfio_core::uapi;

use crate::eventfd::EventFd;

use super::State;
use super::irqs::{Call, Data, Irqs, Vector};

impl State {
    pub(super) fn trigger_vectors(&mut self, call: &Call) -> Result<u32> {
        let answer = self.irqs.trigger_vectors(call);
        self.show_enabled();
        answer
    }
}

impl Irqs {
    fn trigger_vectors(&mut self, call: &Call) -> Result<u32> {
        let is_on = self.on == Some(call.index);
        if is_on && call.count == 0 && matches!(call.data, Data::None) {
            self.disable();
            return Ok(0);
        }
        if !is_on && self.on.is_some() {
            return Err(Errno::INVAL); // F84
        }
        let last = (call.start + call.count) as usize;
        match &call.data {
            Data::EventFds(fds) if is_on => self.set_block(call, fds)?,
            Data::EventFds(_) if last == 0 => return Err(Errno::RANGE), // no vectors cannot be had
            Data::EventFds(_) if self.most(call.index) < call.start + call.count => {
                return Ok(self.most(call.index)); // P4
            }
            Data::EventFds(fds) => {
                self.on = Some(call.index);
                self.vectors = (0..last).map(|_| allocated()).collect();
                if let Err(errno) = self.set_block(call, fds) {
                    self.disable();
                    return Err(errno);
                }
            }
            Data::None | Data::Bools(_) if !is_on || !self.has_vectors(last) => {
                return Err(Errno::INVAL);
            }
            Data::None => (call.start..call.start + call.count).for_each(|n| self.signal_vector(n)),
            Data::Bools(bools) => {
                let wanted = (call.start..).zip(bools).filter(|(_, wanted)| **wanted);
                wanted.for_each(|(n, _)| self.signal_vector(n));
            }
        }
        Ok(0)
    }

    /// An eventfd for each vector; if one fails, the whole block has none.
    fn set_block(&mut self, call: &Call, fds: &[RawFd]) -> Result<()> {
        let start = call.start as usize;
        if !self.has_vectors(start + fds.len().max(1)) {
            return Err(Errno::INVAL);
        }
        for (n, &fd) in fds.iter().enumerate() {
            if let Err(errno) = self.set_vector(call.index, start + n, fd) {
                for vector in self.vectors.iter_mut().skip(start).take(n + 1) {
                    vector.eventfd = None;
                }
                return Err(errno);
            }
        }
        Ok(())
    }

    fn set_vector(&mut self, index: u32, number: usize, fd: RawFd) -> Result<()> {
        if let Some(vector) = self.vectors.get_mut(number) {
            vector.eventfd = None;
        }
        if fd < 0 {
            return Ok(());
        }
        let is_allocated = self.vectors.get(number).is_some_and(|it| it.is_allocated);
        if !is_allocated {
            if index != uapi::PCI_MSIX_IRQ_INDEX || !self.is_dynamic() {
                return Err(Errno::INVAL);
            }
            let most = self.vectors.len().max(number + 1);
            self.vectors.resize_with(most, Vector::default);
            self.vectors[number] = allocated();
        }
        let eventfd = EventFd::of_number(fd)?;
        let vector = &mut self.vectors[number];
        if std::mem::take(&mut vector.is_pending) {
            eventfd.signal();
        }
        vector.eventfd = Some(eventfd);
        Ok(())
    }

    /// A message of the device. It may wait for an eventfd where there is none; a second one does not.
    pub(super) fn deliver(&mut self, number: u32) {
        let is_kept = self.keeps_messages();
        let vector = self.vectors.get_mut(number as usize);
        if let Some(vector) = vector.filter(|it| it.is_allocated) {
            match &vector.eventfd {
                Some(eventfd) => eventfd.signal(),
                None => vector.is_pending = is_kept,
            }
        }
    }

    /// As if the device had sent the message.
    fn signal_vector(&self, number: u32) {
        let vector = self.vectors.get(number as usize);
        if let Some(eventfd) = vector.and_then(|it| it.eventfd.as_ref()) {
            eventfd.signal();
        }
    }
}

fn allocated() -> Vector {
    Vector {
        is_allocated: true,
        ..Vector::default()
    }
}
