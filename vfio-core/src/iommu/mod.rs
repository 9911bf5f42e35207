//! IOMMU contexts: what a backend is, how they are found, and what a user holds of the chosen one.

mod backend;
mod books;
mod buffer;
mod choose;
mod dirty;
mod dirty_bitmap;
mod dirty_pages;
mod domain;
mod ledger;
mod live_update;
mod origin;
mod placement;
mod probe;
mod ranges;
mod registry;
mod renewal;
mod reservation;
mod road;
mod rows;
mod stay;

pub use backend::{Aperture, Capabilities, IommuBackend, WindowLimits};
pub use buffer::DmaBuffer;
pub(crate) use choose::{Attachment, attach, resume};
pub use dirty::{DirtyLimits, DirtyTracking};
pub use dirty_bitmap::DirtyBitmap;
pub use dirty_pages::DirtyPages;
pub use domain::Domain;
pub(crate) use domain::WeakDomain;
pub use live_update::LiveUpdate;
pub(crate) use origin::Origin;
pub use placement::Placement;
pub use probe::{BackendReport, Support, probe, verify};
pub use registry::{BACKEND_VARIABLE, MakeContext, Reach, Registration, Registry};
pub use reservation::Reservation;
pub(crate) use road::Road;
pub(crate) use stay::Stay;
