//! Addresses in which KVM maps what the guest asks for, without anybody here being asked.
#![allow(unsafe_code)] // A promise about what a guest is given, passed on.

use crate::address::IovaRange;
use crate::error::{Error, ErrorKind, Result};
use crate::iommu::{Domain, Mapped};

use super::carry_out::unless_gone;
use super::iommu::GuestIommu;
use super::sections::Sections;
use super::space::State;
use super::translation::Translation;

impl GuestIommu {
    /// From now on KVM maps in `range` what the guest asks for ([`TceTable`](crate::kvm::TceTable)). What is mapped there stays
    /// so. Until it is [taken back](Self::take_back), nothing else is mapped there, no domain joins or leaves, and no
    /// memory of the guest goes: each is refused as [`ErrorKind::Busy`].
    ///
    /// # Safety
    /// What KVM lets the guest map is memory of the [`AddressSpace`](super::AddressSpace), where that has it: each of the VM's
    /// memory slots leads to the same memory as the sections there do.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`]: a domain registers no memory (only sPAPR version 2 does). [`ErrorKind::Overlap`]: something
    /// is mapped there that is not the guest's. Then nothing has changed.
    pub unsafe fn hand_over(&self, range: IovaRange) -> Result<()> {
        let State {
            sections,
            followers,
        } = &mut *self.memory.state();
        let mut mine: Vec<_> = followers
            .iter_mut()
            .filter(|it| it.behind == Some(self.id))
            .collect();
        for at in 0..mine.len() {
            let (done, rest) = mine.split_at_mut(at);
            let Some(follower) = rest.first_mut() else {
                break;
            };
            let before = follower.domain.translated_in(range);
            match unless_gone(follower.domain.hand_over(range)) {
                Ok(()) => follower.handed.push((range, before)),
                Err(error) => {
                    for follower in done {
                        if let Some((range, before)) = follower.handed.pop() {
                            let before = before.into_iter();
                            let before = before.map(|(range, origin)| Translation {
                                range,
                                to: origin.guest,
                                access: origin.access,
                            });
                            let mapped = mapped(sections, before);
                            follower.domain.take_back(range, &mapped);
                        }
                    }
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// KVM maps nothing in `range` any more, where the guest has that mapped now.
    pub fn take_back(&self, range: IovaRange, translations: impl IntoIterator<Item = Translation>) {
        let translations: Vec<_> = translations.into_iter().collect();
        let State {
            sections,
            followers,
        } = &mut *self.memory.state();
        let mapped = mapped(sections, translations.into_iter());
        for follower in followers.iter_mut().filter(|it| it.behind == Some(self.id)) {
            let count = follower.handed.len();
            follower.handed.retain(|(handed, _)| *handed != range);
            if follower.handed.len() < count {
                follower.domain.take_back(range, &mapped);
            }
        }
    }

    /// Whether a translation leads to memory of the guest.
    pub fn leads_to_memory(&self, translation: &Translation) -> bool {
        let state = self.memory.state();
        let pieces = translation.pieces(&state.sections);
        pieces.is_ok_and(|mut pieces| pieces.next().is_some())
    }

    /// Unmaps a part of what was handed over, whatever KVM has mapped there.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: it was not handed over. What the kernel answered.
    pub fn clear_handed(&self, part: IovaRange) -> Result<()> {
        let state = self.memory.state();
        let mut mine = state
            .followers
            .iter()
            .filter(|it| it.behind == Some(self.id));
        mine.try_for_each(|follower| {
            let mut handed = follower.handed.iter();
            match handed.any(|(range, _)| range.contains(part)) {
                true => unless_gone(follower.domain.clear_handed(part)),
                false => Err(Error::new(ErrorKind::Invalid, "unmap", "what KVM maps")
                    .at(part)
                    .because("it was not handed over")),
            }
        })
    }
}

/// What devices reach by these translations.
fn mapped(sections: &Sections, translations: impl Iterator<Item = Translation>) -> Vec<Mapped> {
    let mut mapped = Vec::new();
    for translation in translations {
        let pieces = translation.pieces(sections).into_iter().flatten();
        mapped.extend(pieces.filter_map(|it| Some((it.range, it.memory()?, it.origin?))));
    }
    mapped
}

/// Nothing that concerns the domain can be changed as long as KVM maps in it.
pub(super) fn busy(operation: &'static str) -> Error {
    Error::new(ErrorKind::Busy, operation, "guest memory")
        .because("KVM maps what a guest asks for: it must be taken back first")
}

/// Whether a domain is KVM's in part.
pub(super) fn is_handed(domain: &Domain, handed: &[Handed]) -> bool {
    !handed.is_empty() && !domain.is_over()
}

/// What was handed over, and what was mapped there then.
pub(super) type Handed = (IovaRange, Vec<(IovaRange, crate::iommu::Origin)>);
