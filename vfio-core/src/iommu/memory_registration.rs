//! What a backend does whose kernel wants to know memory before it is mapped.
#![allow(unsafe_code)] // A contract about memory, which safe code relies on.

use std::fmt::Debug;

use crate::address::{HostRange, IovaRange};
use crate::error::Result;

/// Memory is registered, and pinned, before parts of it are mapped (sPAPR version 2).
///
/// A mapping of memory that nobody has registered is registered on its own, for as long as it lasts. What is registered
/// here first, as a whole, can be mapped in parts, at several places, and in parts that overlap.
pub trait MemoryRegistration: Debug + Send + Sync {
    /// Registers memory, in whole pages of the host, until it is [unregistered](Self::unregister) as often.
    ///
    /// # Safety
    /// Until then, at these addresses is the memory that is there now.
    ///
    /// # Errors
    /// What the kernel answered, [`ErrorKind::Overlap`](crate::ErrorKind::Overlap) if a part of it is registered otherwise;
    /// then it is not registered.
    unsafe fn register(&self, memory: HostRange) -> Result<()>;

    /// Undoes [`register`](Self::register) of the very same memory, of which nothing is mapped any more.
    ///
    /// # Errors
    /// What the kernel answered: it stays pinned, and is tried again when it is in the way.
    fn unregister(&self, memory: HostRange) -> Result<()>;

    /// From now on somebody else maps and unmaps in `range`, of registered memory (KVM, as a guest asks it). What is mapped
    /// there stays so, and is known no more; until the range is [taken back](Self::take_back), no memory is
    /// unregistered.
    ///
    /// # Errors
    /// Something in it was mapped of memory that is not registered as a whole; nothing has changed.
    fn hand_over(&self, range: IovaRange) -> Result<()>;

    /// Nobody else maps in `range` any more, and that is what is mapped there: each with the memory that it leads to. All of
    /// it is registered.
    fn take_back(&self, range: IovaRange, mapped: &[(IovaRange, HostRange)]);
}
