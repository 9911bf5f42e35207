//! Addresses that are set aside.

use crate::address::IovaRange;

use super::domain::Domain;

/// Addresses that no other reservation of the domain has; given back when it is dropped.
#[derive(Debug)]
pub struct Reservation {
    domain: Domain,
    range: IovaRange,
    page_size: u64,
}

impl Reservation {
    /// Of what the books of the domain have set aside.
    pub(super) fn new(domain: &Domain, (range, page_size): (IovaRange, u64)) -> Self {
        Self {
            domain: domain.clone(),
            range,
            page_size,
        }
    }

    pub(super) fn domain(&self) -> &Domain {
        &self.domain
    }

    /// The addresses.
    pub fn range(&self) -> IovaRange {
        self.range
    }

    /// What addresses and sizes of mappings here, and their memory, must be multiples of, in bytes.
    pub fn page_size(&self) -> u64 {
        self.page_size
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.domain.unreserve(self.range);
    }
}
