//! Addresses that somebody else maps: KVM, as a guest asks it.

use crate::address::{Access, HostRange, IovaRange};
use crate::error::{ErrorKind, Result};

use super::super::origin::Origin;
use super::Domain;

const OPERATION: &str = "hand over";

/// Something that is mapped there, and what it leads to.
pub(crate) type Mapped = (IovaRange, HostRange, Origin);

impl Domain {
    /// From now on somebody else maps in `range`. What the guest has mapped there stays so, and is in nobody's books; all else
    /// that is asked of these addresses is refused as `Busy`.
    pub(crate) fn hand_over(&self, range: IovaRange) -> Result<()> {
        let Some(kernel) = self.0.backend.memory_registration() else {
            return Err(self
                .error(ErrorKind::Unsupported, OPERATION, range)
                .because("its memory is not registered, which KVM wants it to be"));
        };
        self.cut(range);
        self.alive(OPERATION, || {
            let all = self.begin_unmap(range)?; // nobody is changing one
            let translated = self.ledger().books.translated(range);
            let is_ours = |it: &&IovaRange| !translated.iter().any(|(known, _)| known == *it);
            let handed = match all.iter().find(is_ours) {
                None => kernel.hand_over(range),
                Some(other) => Err(self
                    .error(ErrorKind::Overlap, OPERATION, range)
                    .because(format!("{other} is mapped, and not by the guest"))),
            };
            if handed.is_err() {
                self.leave_mapped(all);
                return handed;
            }
            let books = &mut self.ledger().books;
            for mapping in all {
                books.finish(mapping, false);
            }
            // It is as one that is being changed, until it is taken back.
            books.begin_map(range, None).map_err(|other| {
                let error = self.error(ErrorKind::Overlap, OPERATION, range);
                error.because(format!("{other} is mapped"))
            })
        })
    }

    /// Nobody else maps in `range` any more, and that is what is mapped there.
    pub(crate) fn take_back(&self, range: IovaRange, mapped: &[Mapped]) {
        let books = &mut self.ledger().books;
        books.finish(range, false);
        for (iova, _, origin) in mapped {
            if books.begin_map(*iova, Some(*origin)).is_ok() {
                books.finish(*iova, true);
            }
        }
        let known: Vec<_> = mapped
            .iter()
            .map(|(iova, memory, _)| (*iova, *memory))
            .collect();
        if let Some(kernel) = self.0.backend.memory_registration() {
            kernel.take_back(range, &known);
        }
    }

    /// Maps what was left to us, in place of what is there.
    ///
    /// # Safety
    /// That of [`map`](Self::map), of memory that is registered.
    #[allow(unsafe_code)] // passed on
    pub(crate) unsafe fn map_handed(
        &self,
        iova: IovaRange,
        memory: HostRange,
        access: Access,
    ) -> Result<()> {
        // SAFETY: passed on to our caller.
        self.alive("map", || unsafe {
            self.0.backend.map(iova, memory, access)
        })
    }

    /// Unmaps what somebody else may have mapped there.
    pub(crate) fn clear_handed(&self, range: IovaRange) -> Result<()> {
        self.alive("unmap", || self.0.backend.unmap(range).map(drop))
    }
}
