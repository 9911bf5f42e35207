//! What a backend does whose mappings can outlive the process that made them.

use std::fmt::Debug;

use crate::address::{HostRange, IovaRange};
use crate::error::Result;

/// How the kernel below one IOMMU context is told that memory is about to have other addresses, and which ones.
///
/// A backend translates; [`Domain::forget_addresses`](super::Domain::forget_addresses) and
/// [`Domain::renew_addresses`](super::Domain::renew_addresses) stand above it, and ask first whether it can.
pub trait LiveUpdate: Debug + Send + Sync {
    /// Asks whether the kernel can do it, with the devices that there are.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported), and why. What the kernel answered.
    fn check(&self) -> Result<()>;

    /// The kernel forgets where the memory of the mappings in a range is, and answers how many bytes they have. Devices
    /// reach the memory as before.
    ///
    /// `range` begins where a mapping does and ends where one does; between its mappings there may be gaps.
    ///
    /// # Errors
    /// What the kernel answered; then it has forgotten nothing.
    fn forget(&self, range: IovaRange) -> Result<u64>;

    /// Tells where the memory of one mapping is now, whose address was forgotten. It keeps its rights.
    ///
    /// # Safety
    /// `memory` is that of the mapping, at another address or at the old one; from now on the contract of
    /// [`IommuBackend::map`](super::IommuBackend::map) holds for it.
    ///
    /// # Errors
    /// What the kernel answered; then the address is as it was.
    #[allow(unsafe_code)] // a contract about memory that the type system cannot see
    unsafe fn renew(&self, iova: IovaRange, memory: HostRange) -> Result<()>;
}
