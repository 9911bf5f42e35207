//! What a backend does that knows which pages are dirty.

use std::fmt::Debug;

use crate::address::IovaRange;
use crate::error::Result;

/// How a kernel tells which pages are dirty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirtyLimits {
    /// A bit is for so many bytes, a power of two.
    pub page_size: u64,
    /// The largest bitmap that can be asked for at once, in bytes.
    pub largest_bitmap: u64,
}

/// Which pages devices may have written, as the kernel below one IOMMU context knows it.
///
/// A backend translates; [`DirtyPages`](super::DirtyPages) stands above it, and starts before it reads.
pub trait DirtyTracking: Debug + Send + Sync {
    /// Asks how large pages and bitmaps are.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported): this kernel keeps no track. What the kernel answered.
    fn limits(&self) -> Result<DirtyLimits>;

    /// From now on the kernel keeps track. It may do so already.
    ///
    /// # Errors
    /// What the kernel answered; then it does not, or as before.
    fn start(&self) -> Result<()>;

    /// The kernel need not keep track any more. It may not do so any more.
    ///
    /// # Errors
    /// What the kernel answered; then it may do so still.
    fn stop(&self) -> Result<()>;

    /// Sets the bit of each page of `range` that a device may have written since the start: bit n % 64 of word n / 64
    /// for page n of the range. The words are 0 before.
    ///
    /// `range` begins where a mapping does, ends where one does, and has a bitmap no larger than the
    /// [limit](Self::limits); between its mappings, where nothing is mapped, nothing is dirty. It may have pages for
    /// which nobody asked, since no mapping is cut: what is dirty there must be told again by the next read.
    ///
    /// # Errors
    /// What the kernel answered.
    fn read(&self, range: IovaRange, page_size: u64, words: &mut [u64]) -> Result<()>;
}
