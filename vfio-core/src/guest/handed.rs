//! Addresses in which KVM maps what the guest asks for, without anybody here being asked.
#![allow(unsafe_code)] // A promise about what a guest is given, passed on.

use crate::address::{Iova, IovaRange};
use crate::error::{Error, ErrorKind, Result};
use crate::iommu::Mapped;

use super::carry_out::unless_gone;
use super::follower::Follower;
use super::iommu::{GuestIommu, Unmade};
use super::piece::Piece;
use super::sections::Sections;
use super::space::State;
use super::translation::{Request, Translation};

impl GuestIommu {
    /// From now on KVM maps in `range` what the guest asks for ([`TceTable`](crate::kvm::TceTable)). What is mapped there stays
    /// so. Until it is [taken back](Self::take_back), nothing else is mapped there, no domain joins or leaves, and no
    /// memory of the guest comes or goes: each is refused as [`ErrorKind::Busy`].
    ///
    /// # Safety
    /// What KVM lets the guest map is memory of the [`AddressSpace`](super::AddressSpace), where that has it: each of the VM's
    /// memory slots leads to the same memory as the sections there do.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`]: a domain registers no memory (only sPAPR version 2 does). [`ErrorKind::Overlap`]: something
    /// is mapped there that is not the guest's. [`ErrorKind::Torn`]: [`AddressSpace::repair`](super::AddressSpace::repair)
    /// comes first. Then nothing has changed.
    pub unsafe fn hand_over(&self, range: IovaRange) -> Result<()> {
        let State {
            sections,
            followers,
        } = &mut *self.memory.state();
        let mut mine: Vec<_> = followers
            .iter_mut()
            .filter(|it| it.behind == Some(self.id))
            .collect();
        if let Some(error) = mine.iter().find_map(|it| it.refusal()) {
            return Err(error);
        }
        let mut before = Vec::new();
        let handed = mine.iter_mut().try_for_each(|follower| {
            follower.domain.cut(range);
            let there = follower.domain.translated_in(range);
            unless_gone(follower.domain.hand_over(range))?;
            follower.handed.push(range);
            before.push(there);
            Ok(())
        });
        if handed.is_err() {
            for (follower, before) in mine.into_iter().zip(before) {
                let before = before.into_iter();
                let before = before.map(|(range, origin)| Translation {
                    range,
                    to: origin.guest,
                    access: origin.access,
                });
                let mapped: Vec<_> = pieces(sections, before)
                    .filter_map(|it| mapped(&it))
                    .collect();
                follower.handed.retain(|it| *it != range);
                follower.domain.take_back(range, &mapped);
            }
        }
        handed
    }

    /// KVM maps nothing in `range` any more, where the guest has that mapped now. What KVM has let devices do beyond what the
    /// memory allows is unmapped, and mapped as it should be.
    ///
    /// # Errors
    /// [`Unmade`], of as many requests as there are translations: if none was made, it is still handed over, and the kernel
    /// could not unmap something; otherwise it is not, and what could not be mapped is not reached.
    pub fn take_back(
        &self,
        range: IovaRange,
        translations: impl IntoIterator<Item = Translation>,
    ) -> std::result::Result<(), Unmade> {
        let translations: Vec<_> = translations.into_iter().collect();
        let again: Vec<_> = {
            let State {
                sections,
                followers,
            } = &mut *self.memory.state();
            let all: Vec<_> = pieces(sections, translations.iter().copied()).collect();
            let is_exact =
                |it: &Piece<'_>| it.origin.is_some_and(|origin| origin.access == it.access);
            let exact: Vec<_> = all
                .iter()
                .filter(|it| is_exact(it))
                .filter_map(mapped)
                .collect();
            let mine = || {
                followers
                    .iter()
                    .filter(|it| it.behind == Some(self.id) && it.has_handed(range))
            };
            for other in others(&translations, &exact) {
                let cleared = mine().try_for_each(|it| unless_gone(it.domain.clear_handed(other)));
                cleared.map_err(|error| Unmade { made: 0, error })?;
            }
            for follower in followers.iter_mut().filter(|it| it.behind == Some(self.id)) {
                if follower.has_handed(range) {
                    follower.handed.retain(|handed| *handed != range);
                    follower.domain.take_back(range, &exact);
                }
            }
            let again = all.iter().filter(|it| !is_exact(it));
            let again = again.filter_map(|it| {
                let origin = it.origin?;
                Some(Request::Map(Translation {
                    range: it.range,
                    to: origin.guest,
                    access: origin.access,
                }))
            });
            again.collect()
        };
        self.apply(&again).map_err(|unmade| Unmade {
            made: unmade.made.max(1),
            ..unmade
        })
    }

    /// Maps what KVM has left to the emulator, in place of what is there: a translation inside of what was handed over.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: it was not handed over. What the kernel answered; then it leads nowhere, unless that could not
    /// be unmapped either.
    pub fn map_handed(&self, translation: &Translation) -> Result<()> {
        self.clear_handed(translation.range)?;
        let mapped = {
            let state = self.memory.state();
            let followers = state.followers.iter();
            let mut mine = followers.filter(|it| it.behind == Some(self.id));
            mine.try_for_each(|it| {
                let mut pieces = pieces(&state.sections, std::iter::once(*translation));
                pieces.try_for_each(|piece| {
                    let Some(memory) = piece.memory() else {
                        return Ok(());
                    };
                    // SAFETY: a section has it, which does not go as long as this is handed over; it is unmapped before that.
                    let mapped = unsafe { it.domain.map_handed(piece.range, memory, piece.access) };
                    unless_gone(mapped)
                })
            })
        };
        mapped.or_else(|error| self.clear_handed(translation.range).and(Err(error)))
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
            match handed.any(|range| range.contains(part)) {
                true => unless_gone(follower.domain.clear_handed(part)),
                false => Err(Error::new(ErrorKind::Invalid, "unmap", "what KVM maps")
                    .at(part)
                    .because("it was not handed over")),
            }
        })
    }

    /// Whether a translation leads to memory of the guest.
    pub fn leads_to_memory(&self, translation: &Translation) -> bool {
        let state = self.memory.state();
        let pieces = translation.pieces(&state.sections);
        pieces.is_ok_and(|mut pieces| pieces.next().is_some())
    }
}

/// What devices are to reach by these translations.
fn pieces<'a>(
    sections: &'a Sections,
    translations: impl Iterator<Item = Translation> + 'a,
) -> impl Iterator<Item = Piece<'a>> + 'a {
    translations.flat_map(|translation| translation.pieces(sections).into_iter().flatten())
}

fn mapped(piece: &Piece<'_>) -> Option<Mapped> {
    Some((piece.range, piece.memory()?, piece.origin?))
}

/// What is of these translations, and not of what is mapped just so.
fn others(translations: &[Translation], exact: &[Mapped]) -> Vec<IovaRange> {
    let mut others = Vec::new();
    for translation in translations {
        let mut next = Some(translation.range.first());
        let last = translation.range.last();
        let inside = exact
            .iter()
            .filter(|(it, ..)| translation.range.contains(*it));
        for (there, ..) in inside {
            let before = there.first().0.checked_sub(1).map(Iova);
            let gap = next
                .zip(before)
                .and_then(|(next, before)| IovaRange::inclusive(next, before));
            others.extend(gap);
            next = there.last().0.checked_add(1).map(Iova);
        }
        others.extend(next.and_then(|next| IovaRange::inclusive(next, last)));
    }
    others
}

impl Follower {
    fn has_handed(&self, range: IovaRange) -> bool {
        self.handed.contains(&range)
    }

    /// Whether KVM maps in it at all.
    pub(super) fn is_handed(&self) -> bool {
        !self.handed.is_empty() && !self.domain.is_over()
    }

    /// Whether KVM maps in a part of a range.
    pub(super) fn is_kvms(&self, range: IovaRange) -> bool {
        self.handed.iter().any(|handed| handed.overlaps(range))
    }
}

/// Nothing that concerns the domain can be changed as long as KVM maps in it.
pub(super) fn busy(operation: &'static str) -> Error {
    Error::new(ErrorKind::Busy, operation, "guest memory")
        .because("KVM maps what a guest asks for: it must be taken back first")
}
