//! What a backend is.

use std::fmt::Debug;
use std::os::fd::OwnedFd;

use crate::address::{Access, HostRange, IovaRange, PageSizes};
use crate::error::{Error, ErrorKind, Result};
use crate::host::Bdf;

use super::dirty::DirtyTracking;
use super::error_isolation::ErrorIsolation;
use super::live_update::LiveUpdate;
use super::memory_registration::MemoryRegistration;
use super::windows::Windows;

/// A range of addresses that the IOMMU can map: a usable IOVA range of type1, a DMA window of sPAPR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aperture {
    /// The addresses.
    pub range: IovaRange,
    /// What addresses and sizes of mappings inside must be multiples of, in bytes.
    pub page_size: u64,
}

/// What windows can be created, on an IOMMU that has windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowLimits {
    /// The page sizes that a window can have.
    pub page_sizes: PageSizes,
    /// How many windows there can be at once, the default one included.
    pub count: u32,
    /// How many levels a table can have.
    pub levels: u32,
}

/// What an IOMMU context can do, as the kernel told when it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// The page sizes that can be mapped.
    pub page_sizes: PageSizes,
    /// Where mappings can be, the lowest first.
    pub apertures: Vec<Aperture>,
    /// How many mappings can still be made, where the kernel counts them.
    pub mappings_left: Option<u32>,
    /// How many bytes the kernel counts as locked by this process (`RLIMIT_MEMLOCK`) for the context alone, as long as there
    /// is one.
    pub locked: u64,
    /// What windows can be created, where there are windows.
    pub windows: Option<WindowLimits>,
}

/// One IOMMU context, behind the interface of one platform.
///
/// A backend translates; it keeps no books of what is mapped beyond what its kernel interface needs.
/// [`Domain`](super::Domain) stands above it and has checked, before it calls: ranges and memory are of
/// one size and aligned to the aperture's page size, the range is inside one aperture, overlaps no
/// mapping, and an unmapped range is exactly one that was mapped.
///
/// # Safety
///
/// When [`unmap`](Self::unmap) answers the size of the whole range, or [`map`](Self::map) fails, no device
/// reaches the memory through that range any more. Safe code frees the memory on this word.
#[allow(unsafe_code)] // a promise that safe code relies on
pub unsafe trait IommuBackend: Debug + Send + Sync {
    /// Asks the kernel what this context can do now.
    ///
    /// # Errors
    /// What the kernel answered.
    fn capabilities(&self) -> Result<Capabilities>;

    /// Whether the kernel counts every page of every mapping against `RLIMIT_MEMLOCK` (B27), from when it is made until it
    /// is unmapped.
    fn locks_what_is_mapped(&self) -> bool {
        false
    }

    /// Opens a device that this context then translates for, until the fd and its duplicates are closed: for
    /// a backend that has no container ([`Reach::Own`](super::Reach::Own)).
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`]: the devices of this backend come from a group. What the kernel answered.
    fn open_device(&self, device: Bdf) -> Result<OwnedFd> {
        Err(
            Error::new(ErrorKind::Unsupported, "open", device.to_string())
                .because("the devices of this backend come from a group"),
        )
    }

    /// What tells which pages devices may have written, where there is such a thing.
    fn dirty_tracking(&self) -> Option<&dyn DirtyTracking> {
        None
    }

    /// What lets mappings outlive the process that made them, where there is such a thing.
    fn live_update(&self) -> Option<&dyn LiveUpdate> {
        None
    }

    /// What makes and removes windows, where there is such a thing.
    fn windows(&self) -> Option<&dyn Windows> {
        None
    }

    /// What isolates errors of devices, where there is such a thing.
    fn error_isolation(&self) -> Option<&dyn ErrorIsolation> {
        None
    }

    /// What wants to know whole blocks of memory before parts of them are mapped, where there is such a thing.
    fn memory_registration(&self) -> Option<&dyn MemoryRegistration> {
        None
    }

    /// Lets the device reach `memory` at `iova`.
    ///
    /// # Safety
    /// Until the range is unmapped, the device may read (and, if `access` says so, write) the memory at
    /// any time: it must stay allocated, and no reference to it may exist that this would invalidate.
    ///
    /// # Errors
    /// What the kernel answered; then nothing is mapped.
    #[allow(unsafe_code)] // a contract about memory that the type system cannot see
    unsafe fn map(&self, iova: IovaRange, memory: HostRange, access: Access) -> Result<()>;

    /// Takes one whole mapping away and answers how many bytes that were.
    ///
    /// # Errors
    /// What the kernel answered; then it may still be mapped.
    fn unmap(&self, iova: IovaRange) -> Result<u64>;

    /// Whether [`unmap`](Self::unmap) also takes a range with several whole mappings, and perhaps gaps between them, inside
    /// of one aperture, and then answers how many bytes they had together; or the size of the range, if it
    /// [takes parts](Self::unmaps_parts).
    fn unmaps_many(&self) -> bool {
        false
    }

    /// Whether [`unmap`](Self::unmap) also takes whole pages of mappings whose other pages stay, without a moment in which
    /// devices do not reach those: of every mapping, or of all memory that is
    /// [registered](Self::memory_registration).
    fn unmaps_parts(&self) -> bool {
        false
    }
}
