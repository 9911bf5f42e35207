//! What the kernel has to say to a VMM about a device.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use vfio_core::device::{Device, EventFd, IrqIndex};
use vfio_core::{Error, ErrorKind, Result};

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
    /// What the kernel signals.
    enabled: Vec<IrqIndex>,
    _taken: Taken, // given back last
}

/// That nobody else has the notifications.
#[derive(Debug)]
struct Taken(Arc<AtomicBool>);

impl Taken {
    fn new(is_taken: &Arc<AtomicBool>) -> Option<Self> {
        let was_taken = is_taken.swap(true, Ordering::SeqCst);
        (!was_taken).then(|| Self(Arc::clone(is_taken)))
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

impl AssignedDevice {
    /// Has the kernel say what happens to the device, to one at a time.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`]: somebody has them. What the kernel answered.
    pub fn notifications(&self) -> Result<Notifications> {
        let device = &self.0.device;
        let taken = Taken::new(&self.0.is_notified).ok_or_else(|| {
            Error::new(
                ErrorKind::Busy,
                "ask for notifications of",
                device.bdf().to_string(),
            )
            .of_device(device.bdf())
            .because("somebody has them: the kernel signals one eventfd of each kind")
        })?;
        let has_errors = device.irq_info(IrqIndex::Error)?.count > 0;
        let new = || EventFd::new(device.kernel());
        let mut notifications = Notifications {
            device: device.clone(),
            error: has_errors.then(new).transpose()?,
            request: new()?,
            enabled: Vec::new(),
            _taken: taken,
        };
        // What the second refuses, the first is taken back by dropping them.
        let all = [
            (notifications.error.as_ref(), IrqIndex::Error),
            (Some(&notifications.request), IrqIndex::Request),
        ];
        for (eventfd, index) in all {
            if let Some(eventfd) = eventfd {
                device.enable_irqs(index, 0, &[Some(eventfd.as_fd())])?;
                notifications.enabled.push(index);
            }
        }
        Ok(notifications)
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

    /// Ends them now, as dropping does, and says what the kernel did not let go of.
    ///
    /// # Errors
    /// What the kernel answered; the eventfd is kept until the device is closed then.
    pub fn close(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        let mut done = Ok(());
        for index in std::mem::take(&mut self.enabled) {
            done = done.and(self.device.disable_irqs(index));
        }
        done
    }
}

/// The kernel lets go of the eventfds.
impl Drop for Notifications {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            tracing::warn!(%error, "the kernel keeps an eventfd until the device is closed");
        }
    }
}
