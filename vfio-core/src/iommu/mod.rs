//! IOMMU contexts: what a backend is, how they are found, and what a user holds of the chosen one.

mod backend;
mod books;
mod buffer;
mod choose;
mod dirty;
mod dirty_bitmap;
mod dirty_pages;
mod domain;
mod error_isolation;
mod ledger;
mod live_update;
mod memory_registration;
mod origin;
mod partitionable_endpoint;
mod placement;
mod probe;
mod ranges;
mod recovery;
mod registry;
mod renewal;
mod reservation;
mod road;
mod rows;
mod stay;
mod windows;

pub use backend::{Aperture, Capabilities, IommuBackend, WindowLimits};
pub use buffer::DmaBuffer;
pub(crate) use choose::{Attachment, attach, resume};
pub use dirty::{DirtyLimits, DirtyTracking};
pub use dirty_bitmap::DirtyBitmap;
pub use dirty_pages::DirtyPages;
pub use domain::Domain;
pub(crate) use domain::{Mapped, WeakDomain};
pub use error_isolation::{
    ErrorFunction, ErrorIsolation, ErrorWidth, InjectedError, PeReset, PeState,
};
pub use live_update::LiveUpdate;
pub use memory_registration::MemoryRegistration;
pub(crate) use origin::Origin;
pub use partitionable_endpoint::PartitionableEndpoint;
pub use placement::Placement;
pub use probe::{BackendReport, Support, VerifiedExtras, WindowTrial, probe, verify};
pub use ranges::Ranges;
pub use recovery::{Recovery, RecoveryStep};
pub use registry::{BACKEND_VARIABLE, MakeContext, Reach, Registration, Registry};
pub use reservation::Reservation;
pub(crate) use road::Road;
pub(crate) use stay::Stay;
pub use windows::{Window, WindowPages, WindowRequest, Windows};
