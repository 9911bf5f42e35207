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
    /// The device has reported an error that is not correctable: one interrupt, on PCI Express alone.
    Error,
    /// The kernel wants the device back, because it is being unbound or unplugged: one interrupt. It comes again every
    /// ten seconds, for as long as the device is held; there is no deadline (F85b).
    Request,
}

impl IrqIndex {
    /// Its number in VFIO's interface.
    pub const fn number(self) -> u32 {
        match self {
            Self::Intx => uapi::PCI_INTX_IRQ_INDEX,
            Self::Msi => uapi::PCI_MSI_IRQ_INDEX,
            Self::MsiX => uapi::PCI_MSIX_IRQ_INDEX,
            Self::Error => uapi::PCI_ERR_IRQ_INDEX,
            Self::Request => uapi::PCI_REQ_IRQ_INDEX,
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
        let info = match calls::irq_info(self, index.number()) {
            // A device that is not on PCI Express reports no errors (F80).
            Err(error) if index == IrqIndex::Error && error.errno() == Some(Errno::INVAL) => {
                uapi::IrqInfo::default()
            }
            info => info?,
        };
        let has = |flag| info.flags & flag != 0;
        Ok(IrqInfo {
            count: info.count,
            maskable: has(uapi::IRQ_INFO_MASKABLE),
            automasked: has(uapi::IRQ_INFO_AUTOMASKED),
            resizable: !has(uapi::IRQ_INFO_NORESIZE),
        })
    }

    /// Delivers the interrupts from `start` on to these eventfds, of which the kernel keeps references: `None`
    /// leaves one without, and takes away the eventfd that it had. One call sets them all, or none.
    ///
    /// Of INTx, MSI and MSI-X only one can be in use at a time (F84). The first call allocates the vectors up to its
    /// last one; later ones may add vectors where [`IrqInfo::resizable`] says so, and none is given back before
    /// [`disable_irqs`](Self::disable_irqs) (F85, F85b).
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: no interrupt, or numbers beyond 2^32. [`ErrorKind::Exhausted`]: fewer vectors can be
    /// had, which the kernel says with their number (P4). What the kernel answered.
    pub fn enable_irqs(
        &self,
        index: IrqIndex,
        start: u32,
        eventfds: &[Option<BorrowedFd<'_>>],
    ) -> Result<()> {
        self.some("no eventfd is given", eventfds)?;
        calls::set_irq_eventfds(self, trigger(index, start), eventfds)
    }

    /// Takes every interrupt of a kind away from its eventfd and gives the vectors back.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn disable_irqs(&self, index: IrqIndex) -> Result<()> {
        calls::set_irqs(self, trigger(index, 0), 0)
    }

    /// Lets `count` interrupts from `start` on fire again that the kernel masked when they fired (INTx).
    ///
    /// # Errors
    /// What the kernel answered; MSI and MSI-X cannot be masked through this interface (F82).
    pub fn unmask_irqs(&self, index: IrqIndex, start: u32, count: u32) -> Result<()> {
        calls::set_irqs(self, irqs(index, uapi::IRQ_SET_ACTION_UNMASK, start), count)
    }

    /// Keeps `count` interrupts from `start` on from firing (INTx).
    ///
    /// # Errors
    /// What the kernel answered; MSI and MSI-X cannot be masked through this interface (F82).
    pub fn mask_irqs(&self, index: IrqIndex, start: u32, count: u32) -> Result<()> {
        calls::set_irqs(self, irqs(index, uapi::IRQ_SET_ACTION_MASK, start), count)
    }

    /// Has the kernel unmask the interrupt line each time that `eventfd` is signalled (resampling: a virtual machine
    /// has acknowledged its interrupt); `None` ends that.
    ///
    /// # Errors
    /// What the kernel answered: `EINVAL` if the line is not enabled, `EBUSY` if there is such an eventfd (F83).
    pub fn unmask_intx_by(&self, eventfd: Option<BorrowedFd<'_>>) -> Result<()> {
        let line = irqs(IrqIndex::Intx, uapi::IRQ_SET_ACTION_UNMASK, 0);
        calls::set_irq_eventfds(self, line, &[eventfd])
    }

    /// Lets the kernel itself signal the eventfds of `count` interrupts, as if the device had: for tests.
    ///
    /// # Errors
    /// What the kernel answered; the interrupts must have been enabled.
    pub fn fire_irqs(&self, index: IrqIndex, start: u32, count: u32) -> Result<()> {
        if count == 0 {
            return Ok(()); // to the kernel, that means to disable them all
        }
        calls::set_irqs(self, trigger(index, start), count)
    }

    /// Lets the kernel signal those of the interrupts from `start` on that are `true` here.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: none is named. What the kernel answered; the interrupts must have been enabled.
    pub fn fire_irqs_where(&self, index: IrqIndex, start: u32, wanted: &[bool]) -> Result<()> {
        self.some("no interrupt is named", wanted)?;
        calls::set_irqs_where(self, trigger(index, start), wanted)
    }

    fn some<T>(&self, why: &str, given: &[T]) -> Result<()> {
        match given {
            [] => Err(self
                .error(ErrorKind::Invalid, "VFIO_DEVICE_SET_IRQS")
                .because(why)),
            _ => Ok(()),
        }
    }
}

fn irqs(index: IrqIndex, action: u32, start: u32) -> calls::Irqs {
    calls::Irqs {
        index: index.number(),
        action,
        start,
    }
}

fn trigger(index: IrqIndex, start: u32) -> calls::Irqs {
    irqs(index, uapi::IRQ_SET_ACTION_TRIGGER, start)
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
