//! Writes that the kernel makes when an eventfd is signalled.

use std::os::fd::BorrowedFd;

use tracing::warn;

use crate::error::Result;
use crate::memory::Register;

use super::region::Region;
use super::{Device, calls};

/// A write to a register that the kernel makes each time that an eventfd is signalled: a doorbell that a virtual
/// machine rings without this process. It ends when this is dropped.
#[derive(Debug)]
pub struct WriteOnSignal {
    device: Device,
    request: Request,
    is_set: bool,
}

/// What is written where.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request {
    /// In the device's fd.
    pub(super) place: u64,
    /// In the device's byte order, as memory would have it.
    pub(super) data: u64,
    /// One of 1, 2, 4, 8.
    pub(super) size: u32,
}

impl Region {
    /// Has the kernel write `value` at `offset`, in bytes, each time that `eventfd` is signalled. The kernel keeps a
    /// reference of the eventfd (F90).
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid): outside, or misaligned. What the kernel answered: `EINVAL`
    /// for what is no BAR and for the MSI-X table, `EEXIST` for what is set up already, `ENOSPC` after a thousand.
    pub fn write_on_signal<T: Register>(
        &self,
        offset: u64,
        value: T,
        eventfd: BorrowedFd<'_>,
    ) -> Result<WriteOnSignal> {
        let bytes = value.as_bytes();
        let place = self.place("VFIO_DEVICE_IOEVENTFD", offset, bytes.len())?;
        let mut data = [0; 8];
        for (to, from) in data.iter_mut().zip(bytes) {
            *to = *from;
        }
        let request = Request {
            place,
            // The kernel takes a number, and writes its low bytes the lowest first.
            data: u64::from_le_bytes(data),
            size: u32::try_from(bytes.len()).unwrap_or(8),
        };
        calls::ioeventfd(self.device(), request, Some(eventfd))?;
        Ok(WriteOnSignal {
            device: self.device().clone(),
            request,
            is_set: true,
        })
    }
}

impl WriteOnSignal {
    /// Ends it now.
    ///
    /// # Errors
    /// What the kernel answered; then the kernel may still write.
    pub fn close(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        if std::mem::take(&mut self.is_set) {
            calls::ioeventfd(&self.device, self.request, None)?;
        }
        Ok(())
    }
}

impl Drop for WriteOnSignal {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            warn!(%error, "the kernel goes on writing when the eventfd is signalled, until the device is closed");
        }
    }
}
