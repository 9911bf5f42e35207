//! What the kernel has to say to a VMM about a device.

use std::os::fd::{AsFd, BorrowedFd};

use vfio_core::Result;
use vfio_core::device::{Device, EventFd, IrqIndex};

use super::AssignedDevice;

/// Something that a VMM should act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notification {
    /// The device has reported an error that is not correctable (AER). What it has written, and what it answers, may be
    /// wrong: a VMM stops the guest, and lets a person decide.
    Error,
    /// The kernel wants the device back: it is being unbound, or pulled out. A VMM asks the guest to let it go, and closes
    /// the device then. Until it does the kernel asks again every ten seconds; there is no deadline, and whoever unbinds the
    /// device waits.
    ReleaseRequested,
}

/// The kernel's notifications about a device. They end when this is dropped.
#[derive(Debug)]
pub struct Notifications {
    device: Device,
    /// `None` for devices that report no errors: those that are not on PCI Express.
    error: Option<EventFd>,
    request: EventFd,
}

impl AssignedDevice {
    /// Has the kernel say what happens to the device.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn notifications(&self) -> Result<Notifications> {
        let device = &self.0.device;
        let has_errors = device.irq_info(IrqIndex::Error)?.count > 0;
        let new = |index| {
            let eventfd = EventFd::new(device.kernel())?;
            device.enable_irqs(index, 0, &[Some(eventfd.as_fd())])?;
            Ok(eventfd)
        };
        let error = has_errors.then(|| new(IrqIndex::Error)).transpose()?;
        // If the second cannot be had, dropping this takes back the first.
        let notifications = |request| Notifications {
            device: device.clone(),
            error,
            request,
        };
        new(IrqIndex::Request).map(notifications)
    }
}

impl Notifications {
    /// What can be polled for reading: something has happened then.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let error = self.error.iter();
        error.chain([&self.request]).map(AsFd::as_fd)
    }

    /// What has happened since this was last asked; the worse first.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn take(&self) -> Result<Vec<Notification>> {
        let mut happened = Vec::new();
        if let Some(error) = &self.error {
            if error.take()? > 0 {
                happened.push(Notification::Error);
            }
        }
        if self.request.take()? > 0 {
            happened.push(Notification::ReleaseRequested);
        }
        Ok(happened)
    }
}

/// The kernel lets go of the eventfds.
impl Drop for Notifications {
    fn drop(&mut self) {
        let indexes = [
            self.error.as_ref().map(|_| IrqIndex::Error),
            Some(IrqIndex::Request),
        ];
        for index in indexes.into_iter().flatten() {
            if let Err(error) = self.device.disable_irqs(index) {
                tracing::warn!(%error, "the kernel keeps an eventfd until the device is closed");
            }
        }
    }
}
