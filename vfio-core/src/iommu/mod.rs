//! IOMMU contexts: what a backend is, how they are found, and what a user holds of the chosen one.

mod backend;
mod books;
mod buffer;
mod choose;
mod domain;
mod probe;
mod registry;

pub use backend::{Aperture, Capabilities, IommuBackend, WindowLimits};
pub use buffer::DmaBuffer;
pub(crate) use choose::attach;
pub use domain::{Domain, Reservation};
pub use probe::{BackendReport, Support, probe, verify};
pub use registry::{Reach, Registration, Registry};
