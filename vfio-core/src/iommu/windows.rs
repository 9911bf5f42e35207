//! What a backend does whose devices reach memory through windows that come and go.

use std::fmt::Debug;

use crate::address::{DmaMask, Iova, IovaRange};
use crate::error::Result;

use super::backend::Aperture;

/// A window, as the kernel has made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Its addresses.
    pub range: IovaRange,
    /// What addresses and sizes of mappings inside must be multiples of, in bytes. The memory that is mapped must be of pages
    /// as large, too.
    pub page_size: u64,
    /// How many levels its table has. A table of one level is one piece of the kernel's memory, which may not be had for a
    /// large one.
    pub levels: u32,
}

impl Window {
    /// Where mappings can be.
    pub fn aperture(&self) -> Aperture {
        Aperture {
            range: self.range,
            page_size: self.page_size,
        }
    }
}

/// What a window is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowRequest {
    /// How many bytes it is to have at the least. It has a power of two.
    pub size: u64,
    /// Which pages.
    pub pages: WindowPages,
    /// What the devices can address: a window elsewhere serves nobody.
    pub mask: DmaMask,
    /// How many levels its table is to have at the least. Fewer are looked up faster; more need no large piece of the
    /// kernel's memory, and are tried when fewer are refused.
    pub least_levels: u32,
}

impl WindowRequest {
    /// Anywhere in 64 bits, and with a table of as few levels as can be.
    #[must_use]
    pub fn of(size: u64, pages: WindowPages) -> Self {
        Self {
            size,
            pages,
            mask: DmaMask::bits(64),
            least_levels: 1,
        }
    }
}

/// Which pages a window is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowPages {
    /// The largest that memory can carry whose own pages have so many bytes: those of the host, or its huge pages.
    Carried(u64),
    /// Of so many bytes, as a guest has asked for.
    Exactly(u64),
}

/// Windows of one IOMMU context, that a platform lets programs make.
///
/// A backend translates; [`Domain`](super::Domain) stands above it, and removes none in which something is mapped.
pub trait Windows: Debug + Send + Sync {
    /// Called before `size` bytes are placed for a device with `mask`: it may create the window that serves that best.
    /// Afterwards [`capabilities`](super::IommuBackend::capabilities) names it.
    ///
    /// Answers whether the windows have changed.
    ///
    /// # Errors
    /// What the kernel answered; the caller goes on with the windows that there are.
    fn make_room(&self, size: u64, mask: DmaMask) -> Result<bool>;

    /// Creates a window.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported): no window can be such.
    /// [`ErrorKind::Exhausted`](crate::ErrorKind::Exhausted): there are as many as there can be.
    /// [`ErrorKind::OutOfReach`](crate::ErrorKind::OutOfReach): the kernel has put it where the mask does not reach. What the
    /// kernel answered. Then there is none more than before.
    fn create(&self, request: &WindowRequest) -> Result<Window>;

    /// Removes the window that starts at `start`, in which nothing is mapped.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid): there is no such window. What the kernel answered.
    fn remove(&self, start: Iova) -> Result<()>;

    /// Makes the windows those that a context begins with. In none of those that go is anything mapped.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported): this platform cannot before the devices are closed and
    /// opened again. What the kernel answered.
    fn reset(&self) -> Result<()>;

    /// Sees to it that the kernel has made the window that starts at `start`, which it may put off until something is asked of
    /// it (C43). Memory must have been registered before.
    ///
    /// # Errors
    /// What the kernel answered.
    fn settle(&self, start: Iova) -> Result<()>;

    /// The windows that there are, the lowest first.
    fn list(&self) -> Vec<Window>;

    /// The windows that a context begins with.
    fn initial(&self) -> Vec<Window>;
}
