//! What a guest sees, and the domains that follow it.

use tracing::debug;

use crate::address::IovaRange;
use crate::address_space::AddressSpaceId;
use crate::error::{Error, ErrorKind, Result};
use crate::iommu::Domain;
use crate::sync::{Mutex, MutexGuard, PoisonError};

use super::carry_out::{self, Torn};
use super::change::Change;
use super::edit::Edit;
use super::follower::{Follower, carry_out_in_all, torn};
use super::piece::Piece;
use super::plan::Plan;
use super::populate::Population;
use super::section::{Bus, Section};
use super::sections::Sections;

/// What a guest sees at its addresses, kept in step with what devices reach.
///
/// Sections come and go by an [edit](Self::edit); every [domain](Domain) that [follows](Self::follow) then maps what
/// devices are to reach, and nothing else. All methods may be called from several threads at once; one change is made
/// after the other.
///
/// When it is dropped, everything is unmapped. What cannot be unmapped is never freed.
#[derive(Debug)]
pub struct AddressSpace {
    id: AddressSpaceId,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) sections: Sections,
    pub(super) followers: Vec<Follower>,
}

/// What came of a change that was made.
#[derive(Debug, Default)]
#[must_use]
pub struct Committed {
    /// What devices could reach before, and can now, but could not all the time: the rights or the memory of something
    /// changed that is one mapping with it.
    pub interrupted: Vec<IovaRange>,
    /// What of other devices' memory could not be mapped, and why: once for each domain that refused it. What is not made of
    /// whole pages of the IOMMU is not tried, and not here.
    pub unreachable: Vec<(IovaRange, Error)>,
}

impl Default for AddressSpace {
    fn default() -> Self {
        Self::new()
    }
}

impl AddressSpace {
    /// One that is empty, and that nobody follows.
    pub fn new() -> Self {
        Self {
            id: AddressSpaceId::unique(),
            state: Mutex::default(),
        }
    }

    /// The name under which devices are [opened](crate::OpenOptions::in_space) that are to see it.
    pub fn id(&self) -> AddressSpaceId {
        self.id
    }

    /// Begins a change. Nothing happens before it is [committed](Edit::commit).
    pub fn edit(&self) -> Edit<'_> {
        Edit::of(self)
    }

    /// From now on `domain` maps what is here, beginning with all that there is. One that follows already is left alone.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`]: its devices are behind an IOMMU of the guest. Those of [`Edit::commit`]; then it does not follow.
    pub fn follow(&self, domain: &Domain) -> Result<Committed> {
        self.follow_populated(domain, Population::default())
    }

    /// As [`follow`](Self::follow), with a say in how memory is made present before it is mapped.
    ///
    /// # Errors
    /// Those of [`follow`](Self::follow).
    pub fn follow_populated(
        &self,
        domain: &Domain,
        population: Population<'_>,
    ) -> Result<Committed> {
        let mut state = self.state();
        if let Some(known) = state.followers.iter().find(|it| it.domain == *domain) {
            return match known.behind {
                None => match known.refusal().filter(|_| !known.follows) {
                    None => Ok(Committed::default()),
                    Some(error) => Err(error),
                },
                Some(_) => Err(Error::new(ErrorKind::Busy, "follow", "guest memory")
                    .because("its devices are behind an IOMMU of the guest")),
            };
        }
        let State {
            sections,
            followers,
        } = &mut *state;
        let nothing = Sections::default();
        let change = Change::between(&[], &pieces(sections.iter()));
        let mut follower = vec![Follower::of(domain.clone())];
        let committed = carry_out_in_all(&mut follower, &nothing, sections, &change, population);
        // One that is torn has mappings that must not be there.
        let follower = follower.into_iter();
        let follower = follower.filter(|it| committed.is_ok() || !it.torn.is_empty());
        followers.extend(follower.map(|it| Follower {
            follows: committed.is_ok(),
            ..it
        }));
        committed
    }

    /// Unmaps everything that is here from `domain`, which does not follow any more.
    ///
    /// # Errors
    /// What the kernel answered; then it still follows, with everything mapped, unless the kind is [`ErrorKind::Torn`].
    pub fn unfollow(&self, domain: &Domain) -> Result<()> {
        let mut state = self.state();
        let State {
            sections,
            followers,
        } = &mut *state;
        let mine = |it: &Follower| it.domain == *domain && it.behind.is_none();
        let Some(at) = followers.iter().position(mine) else {
            return Ok(());
        };
        let nothing = Sections::default();
        let change = Change::between(&pieces(sections.iter()), &[]);
        let only = followers.get_mut(at..=at).unwrap_or_default();
        carry_out_in_all(only, sections, &nothing, &change, Population::nothing()).map(drop)?;
        followers.remove(at);
        Ok(())
    }

    /// What devices may reach that they should not, or should reach and do not, since a change could be neither made nor
    /// undone. As long as there is anything, nothing can be changed.
    pub fn torn(&self) -> Vec<(Domain, Torn)> {
        let state = self.state();
        let all = state.followers.iter();
        let all = all.flat_map(|it| it.torn.iter().map(|torn| (it.domain.clone(), torn.clone())));
        all.collect()
    }

    /// Tries to make good what is [torn](Self::torn).
    ///
    /// # Errors
    /// What the kernel answered, for each that is torn still.
    pub fn repair(&self) -> Result<()> {
        let mut causes = Vec::new();
        let followers = &mut self.state().followers;
        for Follower { domain, torn, .. } in &mut *followers {
            let mut left: Vec<IovaRange> = Vec::new();
            torn.retain(|one| {
                if left.iter().any(|it| it.overlaps(one.range)) {
                    return true;
                }
                match carry_out::mend(domain, one) {
                    Ok(()) => false,
                    Err(error) => {
                        left.push(one.range);
                        causes.push(error);
                        true
                    }
                }
            });
        }
        followers.retain(|it| it.follows || !it.torn.is_empty());
        match causes.is_empty() {
            true => Ok(()),
            false => Err(torn("repair", causes)),
        }
    }

    /// The addresses that every domain that follows can map, the lowest first: where sections can be.
    ///
    /// # Errors
    /// Those of [`Domain::usable_ranges`].
    pub fn usable_ranges(&self) -> Result<Vec<IovaRange>> {
        self.state().usable_ranges(None)
    }

    /// The lowest place of `size` bytes, at a multiple of `align`, inside `within`, that every domain that follows can map
    /// and where no section is. `align` is a power of two.
    ///
    /// # Errors
    /// [`ErrorKind::Exhausted`]: there is no such place. [`ErrorKind::Invalid`]: `size` is 0, or `align` no power of two.
    /// Those of [`Domain::usable_ranges`].
    pub fn place(&self, size: u64, align: u64, within: IovaRange) -> Result<IovaRange> {
        let error = |kind, why: String| {
            let object = format!("{size:#x} bytes at a multiple of {align:#x}");
            Err(Error::new(kind, "place", object).at(within).because(why))
        };
        if size == 0 || !align.is_power_of_two() {
            return error(ErrorKind::Invalid, "there is no such place".into());
        }
        let state = self.state();
        let usable = state.usable_ranges(None)?;
        let mut ranges = usable.iter().filter_map(|range| range.intersection(within));
        let taken = |range| {
            let mut there = state.sections.overlapping(Bus::Memory, range);
            there.next().map(Section::range)
        };
        match ranges.find_map(|range| range.lowest_free(size, align, taken)) {
            Some(found) => Ok(found),
            None => {
                let usable: Vec<_> = usable.iter().map(ToString::to_string).collect();
                let why = format!("what can be mapped is {}", usable.join(" "));
                error(ErrorKind::Exhausted, why)
            }
        }
    }

    /// How many more mappings every domain that follows can make, by our own count; `None` if no kernel counts them.
    ///
    /// A section is at least one; [those that leave together](Section::leaving_with) can be one for many.
    pub fn mappings_left(&self) -> Option<u64> {
        let state = self.state();
        let following = state.followers.iter().filter(|it| it.behind.is_none());
        following.filter_map(|it| it.domain.mappings_left()).min()
    }

    /// How many domains devices may reach this memory through, directly or by an IOMMU of the guest.
    pub fn followers(&self) -> usize {
        self.state().reaching()
    }

    /// Has `give_back` give memory of sections back to the host (a balloon: `MADV_DONTNEED`, a hole in a file), unless
    /// anybody [follows](Self::followers); nobody does before it is done.
    ///
    /// What is mapped is pinned: of memory that is given back, the guest would get new pages, and devices would keep the old
    /// ones. So a balloon does nothing while there are devices. Memory of sections that were removed needs no such care, but
    /// on POWER, where a block stays pinned as a whole as long as there is a section of it.
    ///
    /// `give_back` must not use this address space: it would wait for itself.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`]: somebody follows; `give_back` was not called.
    pub fn discard<T>(&self, give_back: impl FnOnce() -> T) -> Result<T> {
        let state = self.state();
        match state.reaching() {
            0 => Ok(give_back()),
            count => Err(
                Error::new(ErrorKind::Busy, "discard", "guest memory").because(format!(
                    "devices reach it through {count} domain(s), where it is pinned"
                )),
            ),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the change that an edit describes.
    pub(super) fn commit(
        &self,
        removed: &[(Bus, IovaRange)],
        inserted: Vec<Section>,
        population: Population<'_>,
    ) -> Result<Committed> {
        let mut state = self.state();
        let State {
            sections,
            followers,
        } = &mut *state;
        let new = sections.changed(removed, inserted)?;
        for section in new.iter() {
            if let Err(why) = section.piece() {
                debug!(%section, why, "devices do not reach it");
            }
        }
        let old = removed
            .iter()
            .filter_map(|(bus, range)| sections.get(*bus, *range));
        let mut old: Vec<_> = pieces(old);
        old.sort_unstable_by_key(|piece| piece.range.first());
        let change = Change::between(&old, &pieces(new.iter()));
        let committed = carry_out_in_all(followers, sections, &new, &change, population)?;
        let gone = removed.iter();
        let gone: Vec<_> = gone
            .filter_map(|(bus, range)| sections.remove(*bus, *range))
            .collect();
        sections.extend(new);
        for follower in followers {
            follower.forget_blocks(sections);
        }
        drop(state);
        drop(gone); // the owners' code is run when all is done, and may ask this
        Ok(committed)
    }
}

impl State {
    /// How many domains devices may reach the memory through.
    fn reaching(&self) -> usize {
        let alive = self.followers.iter().filter(|it| !it.domain.is_over());
        alive.count()
    }

    /// What all can map that are behind that IOMMU, or behind none.
    pub(super) fn usable_ranges(&self, behind: Option<AddressSpaceId>) -> Result<Vec<IovaRange>> {
        let mut usable = vec![IovaRange::ALL];
        for Follower { domain, .. } in self.followers.iter().filter(|it| it.behind == behind) {
            match domain.usable_ranges() {
                Ok(theirs) => usable = common(&usable, &theirs),
                Err(error) if error.kind() == ErrorKind::Gone => {}
                Err(error) => return Err(error),
            }
        }
        Ok(usable)
    }
}

impl Drop for AddressSpace {
    fn drop(&mut self) {
        let State {
            sections,
            followers,
        } = &mut *self.state();
        let all = pieces(sections.iter());
        let change = Change::between(&all, &[]);
        let mut is_left = followers.iter().any(|it| !it.torn.is_empty());
        for Follower { domain, .. } in followers.iter().filter(|it| it.behind.is_none()) {
            let plan = Plan::new(domain, sections, &change);
            is_left |= plan.is_err();
            for step in plan.unwrap_or_default().steps {
                if let Err(stopped) = carry_out::make(domain, &[step]) {
                    debug!(error = %stopped.error, "its memory is never freed");
                    is_left = true;
                }
            }
        }
        drop(all);
        if is_left {
            // A device may reach it still. The context has its own life: when that ends, nobody is to hold its fd.
            std::mem::forget(std::mem::take(sections));
            for follower in followers {
                std::mem::forget(std::mem::take(&mut follower.torn));
            }
        }
    }
}

/// What is in ranges of both.
fn common(some: &[IovaRange], others: &[IovaRange]) -> Vec<IovaRange> {
    let pairs = some.iter().flat_map(|a| others.iter().map(move |b| (a, b)));
    pairs.filter_map(|(a, b)| a.intersection(*b)).collect()
}

/// What devices are to reach of sections, which come in the order of their addresses.
pub(super) fn pieces<'a>(sections: impl Iterator<Item = &'a Section>) -> Vec<Piece<'a>> {
    sections
        .filter_map(|section| section.piece().ok())
        .collect()
}
