//! A device in a context that has no groups.

use tracing::warn;

use super::domain::Domain;

/// A device's stay in a context that has no groups: it ends when this is dropped, after the device was closed.
#[derive(Debug)]
pub(crate) struct Stay(Domain);

impl Stay {
    /// Of a device that has entered, or for which the context was made.
    pub(super) fn new(domain: Domain) -> Self {
        Self(domain)
    }

    pub(crate) fn domain(&self) -> &Domain {
        &self.0
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        // Closing the device was all that there was to do.
        if let Err(error) = self.0.leave(|| Ok(())) {
            warn!(%error, "a device could not leave its IOMMU context");
        }
    }
}
