//! Exit statuses, those of `vfioctl`.

use vfio_core::ErrorKind;

/// Every case passed.
pub const PASSED: u8 = 0;
/// A case failed, or there is no such device that could be tested.
pub const FINDINGS: u8 = 1;
/// The kernel does not permit it. (2 is a wrong command line.)
const NOT_PERMITTED: u8 = 3;
/// The kernel answered something else.
const KERNEL: u8 = 4;

/// The status of a program that ends with this error.
pub fn status(error: &anyhow::Error) -> u8 {
    match error.downcast_ref().map(vfio_core::Error::kind) {
        Some(
            ErrorKind::NoVfio
            | ErrorKind::NoSuchDevice
            | ErrorKind::NoGroup
            | ErrorKind::NotBound
            | ErrorKind::NotViable
            | ErrorKind::NoBackend,
        ) => FINDINGS,
        Some(ErrorKind::NotPermitted) => NOT_PERMITTED,
        _ => KERNEL,
    }
}
