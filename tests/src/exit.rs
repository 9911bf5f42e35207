//! Exit statuses, those of `vfioctl`.

use vfio_core::ErrorKind;

/// Every case passed.
pub const PASSED: u8 = 0;
/// A case failed, or there is no such device that could be tested.
pub const FINDINGS: u8 = 1;

/// The command line is wrong.
pub const USAGE: u8 = 2;

/// The status of a program that ends with this error.
pub fn status(error: &anyhow::Error) -> u8 {
    error
        .downcast_ref()
        .map(vfio_core::Error::kind)
        .unwrap_or(ErrorKind::Kernel)
        .exit_status()
}
