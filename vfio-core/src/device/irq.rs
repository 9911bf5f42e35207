//! Interrupts: they arrive as eventfds.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::error::{Error, ErrorKind, Result};
use crate::kernel::{Errno, Kernel};
use crate::uapi;

use super::{Device, calls};

/// Which interrupts of a PCI device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IrqIndex {
    /// The interrupt line.
    Intx,
    /// MSI vectors.
    Msi,
    /// MSI-X vectors.
    MsiX,
}

impl IrqIndex {
    /// Its number in VFIO's interface.
    pub const fn number(self) -> u32 {
        match self {
            Self::Intx => uapi::PCI_INTX_IRQ_INDEX,
            Self::Msi => uapi::PCI_MSI_IRQ_INDEX,
            Self::MsiX => uapi::PCI_MSIX_IRQ_INDEX,
        }
    }
}

/// What the kernel says of an interrupt index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IrqInfo {
    /// How many interrupts (vectors) it has; 0 if the device does not have it.
    pub count: u32,
    /// Whether they can be masked and unmasked.
    pub maskable: bool,
    /// Whether the kernel masks the interrupt when it fires, so that it must be unmasked to fire again.
    pub automasked: bool,
    /// Whether vectors can be added while others are in use.
    pub resizable: bool,
}

impl Device {
    /// Asks what interrupts of a kind there are.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn irq_info(&self, index: IrqIndex) -> Result<IrqInfo> {
        let info = calls::irq_info(self, index.number())?;
        let has = |flag| info.flags & flag != 0;
        Ok(IrqInfo {
            count: info.count,
            maskable: has(uapi::IRQ_INFO_MASKABLE),
            automasked: has(uapi::IRQ_INFO_AUTOMASKED),
            resizable: !has(uapi::IRQ_INFO_NORESIZE),
        })
    }

    /// Delivers the interrupts from `start` on to these eventfds, of which the kernel keeps references.
    /// Only one kind can be in use at a time.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: no eventfd. [`ErrorKind::Exhausted`]: fewer vectors can be had, which the
    /// kernel says with their number. What the kernel answered.
    pub fn enable_irqs(
        &self,
        index: IrqIndex,
        start: u32,
        eventfds: &[BorrowedFd<'_>],
    ) -> Result<()> {
        if eventfds.is_empty() {
            return Err(self
                .error(ErrorKind::Invalid, "VFIO_DEVICE_SET_IRQS")
                .because("no eventfd is given"));
        }
        calls::set_irq_eventfds(
            self,
            index.number(),
            uapi::IRQ_SET_ACTION_TRIGGER,
            start,
            eventfds,
        )
    }

    /// Takes every interrupt of a kind away from its eventfd and gives the vectors back.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn disable_irqs(&self, index: IrqIndex) -> Result<()> {
        calls::set_irqs(self, index.number(), uapi::IRQ_SET_ACTION_TRIGGER, 0, 0)
    }

    /// Lets an interrupt fire again that the kernel masked when it fired (INTx).
    ///
    /// # Errors
    /// What the kernel answered; MSI and MSI-X cannot be masked through this interface.
    pub fn unmask_irq(&self, index: IrqIndex, number: u32) -> Result<()> {
        calls::set_irqs(self, index.number(), uapi::IRQ_SET_ACTION_UNMASK, number, 1)
    }

    /// Keeps an interrupt from firing (INTx).
    ///
    /// # Errors
    /// What the kernel answered; MSI and MSI-X cannot be masked through this interface.
    pub fn mask_irq(&self, index: IrqIndex, number: u32) -> Result<()> {
        calls::set_irqs(self, index.number(), uapi::IRQ_SET_ACTION_MASK, number, 1)
    }

    /// Lets the kernel itself signal the eventfds, as if the device had: for tests.
    ///
    /// # Errors
    /// What the kernel answered; the interrupts must have been enabled.
    pub fn fire_irqs(&self, index: IrqIndex, start: u32, count: u32) -> Result<()> {
        if count == 0 {
            return Ok(()); // to the kernel, that means to disable them all
        }
        let action = uapi::IRQ_SET_ACTION_TRIGGER;
        calls::set_irqs(self, index.number(), action, start, count)
    }
}

/// An eventfd: a counter that the kernel adds to, and that can be waited for.
#[derive(Debug)]
pub struct EventFd(OwnedFd);

impl EventFd {
    /// A new one, at 0.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn new(kernel: &Arc<dyn Kernel>) -> Result<Self> {
        kernel
            .eventfd()
            .map(Self)
            .map_err(|errno| Error::kernel("eventfd", "an interrupt's eventfd", errno))
    }

    /// How often it was signalled since the last call; 0 if it was not.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn take(&self) -> Result<u64> {
        let mut count = [0; 8];
        match rustix::io::read(&self.0, &mut count) {
            Ok(_) => Ok(u64::from_ne_bytes(count)),
            Err(Errno::AGAIN) => Ok(0),
            Err(errno) => Err(Error::kernel("read", "an eventfd", errno)),
        }
    }

    /// Waits until it is signalled, but not longer than `most`; answers how often it was, as
    /// [`take`](Self::take) does.
    ///
    /// # Errors
    /// What the kernel answered, `EINTR` included.
    pub fn wait(&self, most: Duration) -> Result<u64> {
        let most = Timespec::try_from(most)
            .map_err(|_| Error::kernel("poll", "an eventfd", Errno::INVAL))?;
        poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&most))
            .map_err(|errno| Error::kernel("poll", "an eventfd", errno))?;
        self.take()
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
