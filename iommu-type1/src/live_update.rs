//! Addresses that are forgotten and renewed.
#![allow(unsafe_code)] // The trait's contract, passed on.

use vfio_core::address::{HostRange, IovaRange};
use vfio_core::iommu::LiveUpdate;
use vfio_core::kernel::Errno;
use vfio_core::uapi;
use vfio_core::{Error, ErrorKind, Result};

use crate::{Type1, calls};

/// B32, with both versions: a range that begins with a mapping and ends with one is forgotten whole, or nothing of it.
impl LiveUpdate for Type1 {
    fn check(&self) -> Result<()> {
        match self.container.check_extension(uapi::UPDATE_VADDR)? {
            true => Ok(()),
            false => Err(Error::new(
                ErrorKind::Unsupported,
                "change the addresses of",
                calls::CONTEXT,
            )
            .because(
                "the kernel does not advertise VFIO_UPDATE_VADDR, as before 5.12 and with a mediated device",
            )),
        }
    }

    fn forget(&self, range: IovaRange) -> Result<u64> {
        calls::forget(&self.container, range).map_err(|error| match error.errno() {
            Some(Errno::INVAL) => error
                .of_kind(ErrorKind::Invalid)
                .because("the address of one was forgotten before"),
            Some(Errno::BUSY) => error.because("a mediated device needs the addresses"),
            _ => error,
        })
    }

    unsafe fn renew(&self, iova: IovaRange, memory: HostRange) -> Result<()> {
        // SAFETY: our caller's promise.
        let renewed = unsafe { calls::renew(&self.container, iova, memory) };
        renewed.map_err(|error| match error.errno() {
            Some(Errno::NOENT) => error
                .of_kind(ErrorKind::Invalid)
                .because("nothing is mapped there"),
            Some(Errno::INVAL) => error
                .of_kind(ErrorKind::Invalid)
                .because("its address was not forgotten, or it was mapped as another range"),
            _ => error,
        })
    }
}
