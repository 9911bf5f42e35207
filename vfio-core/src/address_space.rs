//! Which devices see the same memory.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::iommu::{Domain, WeakDomain};
use crate::sync::{Mutex, PoisonError};

/// The name of an address space: devices that are opened in one see the same addresses.
///
/// Where the kernel lets them, their groups share one container, and so one [`Domain`]; where it does not (a
/// second group on sPAPR v1), they have one each, and whoever maps for the address space maps in all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AddressSpaceId(u64);

impl AddressSpaceId {
    /// An address space that nothing is in, unlike every other of this process.
    pub fn unique() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// The contexts that there are for each address space.
#[derive(Debug, Default)]
pub(crate) struct AddressSpaces(Mutex<Vec<(AddressSpaceId, WeakDomain)>>);

impl AddressSpaces {
    /// Attaches something in `space`: `attach` gets the contexts that are there already, and answers which one it
    /// used. One at a time, so that two do not make a context each where one would do.
    pub(crate) fn attach<T>(
        &self,
        space: AddressSpaceId,
        attach: impl FnOnce(&[Domain]) -> crate::Result<T>,
        context: impl FnOnce(&T) -> Option<&Domain>,
    ) -> crate::Result<T> {
        let mut spaces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known: Vec<_> = spaces
            .iter()
            .filter(|(id, _)| *id == space)
            .filter_map(|(_, domain)| domain.upgrade())
            .filter(Domain::is_attached)
            .collect();
        let attached = attach(&known)?;
        spaces.retain(|(_, domain)| domain.upgrade().is_some_and(|it| it.is_attached()));
        if let Some(domain) = context(&attached) {
            if !known.contains(domain) {
                spaces.push((space, domain.downgrade()));
            }
        }
        Ok(attached)
    }
}
