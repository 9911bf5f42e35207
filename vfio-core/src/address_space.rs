//! Which devices see the same memory.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::iommu::{Domain, WeakDomain};
use crate::sync::{Arc, Mutex, PoisonError};

/// The name of an address space: devices that are opened in one see the same addresses.
///
/// Where the kernel lets them, their groups share one container, and so one [`Domain`]; where it does not (a
/// second group on sPAPR v1), they have one each, and whoever maps for the address space maps in all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
pub(crate) struct AddressSpaces(Mutex<BTreeMap<AddressSpaceId, Arc<Mutex<Contexts>>>>);

type Contexts = Vec<WeakDomain>;

impl AddressSpaces {
    /// Attaches something in `space`: `attach` gets the contexts that are there already, and answers which one it
    /// used. One at a time in each space, so that two do not make a context each where one would do.
    pub(crate) fn attach<T>(
        &self,
        space: AddressSpaceId,
        attach: impl FnOnce(&[Domain]) -> crate::Result<T>,
        context: impl FnOnce(&T) -> Option<&Domain>,
    ) -> crate::Result<T> {
        let contexts = self.contexts(space);
        let mut contexts = contexts.lock().unwrap_or_else(PoisonError::into_inner);
        let known: Vec<_> = alive(&contexts).collect();
        let attached = attach(&known)?;
        if let Some(domain) = context(&attached) {
            if !known.contains(domain) {
                contexts.retain(WeakDomain::is_held);
                contexts.push(domain.downgrade());
            }
        }
        Ok(attached)
    }

    /// Those of one space. Forgets the spaces whose contexts nobody has a handle of.
    fn contexts(&self, space: AddressSpaceId) -> Arc<Mutex<Contexts>> {
        let mut spaces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        spaces.retain(|_, contexts| {
            // Who uses one has a hold on it, and gets none but here.
            Arc::strong_count(contexts) > 1
                || contexts
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .iter()
                    .any(WeakDomain::is_held)
        });
        Arc::clone(spaces.entry(space).or_default())
    }
}

fn alive(contexts: &Contexts) -> impl Iterator<Item = Domain> {
    let living = contexts.iter().filter_map(WeakDomain::upgrade);
    living.filter(Domain::is_attached)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Error, ErrorKind};

    #[test]
    fn a_space_that_nothing_is_in_is_forgotten() {
        let spaces = AddressSpaces::default();
        for _ in 0..3 {
            let refused = spaces.attach(
                AddressSpaceId::unique(),
                |known| -> crate::Result<()> {
                    assert!(known.is_empty());
                    Err(Error::new(ErrorKind::Busy, "attach", "nothing"))
                },
                |()| None,
            );
            assert!(refused.is_err());
        }
        assert_eq!(spaces.0.lock().unwrap().len(), 1);
    }

    #[test]
    fn a_space_that_is_in_use_is_kept() {
        let spaces = AddressSpaces::default();
        let (outer, inner) = (AddressSpaceId::unique(), AddressSpaceId::unique());
        let attach_inner = || spaces.attach(inner, |_| Ok(()), |()| None);
        spaces.attach(outer, |_| attach_inner(), |()| None).unwrap();
        assert!(spaces.0.lock().unwrap().contains_key(&outer));
    }
}
