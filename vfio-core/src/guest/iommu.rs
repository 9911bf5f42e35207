//! An IOMMU that a guest has.

use std::fmt;
use std::sync::Arc;

use tracing::debug;

use crate::address::IovaRange;
use crate::address_space::AddressSpaceId;
use crate::error::{Error, ErrorKind, Result};
use crate::iommu::Domain;

use super::carry_out::{self, Tear, Torn, unless_gone};
use super::follower::{Follower, blocks_of, make_in_all, torn};
use super::handed::busy;
use super::limit;
use super::piece::Piece;
use super::plan::{Plan, Step};
use super::registered::Registered;
use super::retranslate::mapping;
use super::section::Section;
use super::sections::Sections;
use super::space::{AddressSpace, State};
use super::translation::{Request, Translation};

/// A table of a guest's own IOMMU (a domain of virtio-iommu, of VT-d, a context of an SMMU), kept in step with what the
/// devices behind it reach.
///
/// The guest's memory is that of an [`AddressSpace`], and the guest's tables are the emulator's: it tells what the guest
/// maps and unmaps by [`apply`](Self::apply), and what is mapped already when a device [joins](Self::follow). Nothing of
/// them is kept here but what the kernel has mapped.
///
/// Its domains follow no address space beside it: a device that the guest takes from behind its IOMMU
/// [leaves](Self::unfollow), and then follows the [`AddressSpace`]. What somebody else maps in them is left alone, and must
/// be where the guest maps nothing.
///
/// Where the guest's memory changes, what was mapped of it changes in the same [commit](super::Edit::commit): memory that
/// goes is unmapped, and other rights are given. Memory that comes is not mapped, since nobody has kept what led to it (nor
/// is what was to be written alone and is read-only meanwhile): the emulator says it anew.
///
/// When it is dropped, everything is unmapped. What cannot be unmapped is never freed, and
/// [`torn`](AddressSpace::torn).
///
/// ```
/// # use std::sync::Arc;
/// use vfio_core::address::{Access, Iova, IovaRange};
/// use vfio_core::guest::{AddressSpace, GuestIommu, Request, Translation};
/// # use vfio_core::{OpenOptions, Vfio, host::Bdf};
///
/// # fn behind(vfio: &Vfio, bdf: Bdf, memory: &Arc<AddressSpace>) -> Result<(), Box<dyn std::error::Error>> {
/// let iommu = GuestIommu::of(memory);
/// let device = vfio.open_with(bdf, OpenOptions::default().in_space(iommu.id()))?;
/// iommu.follow(device.domain(), [])?;
/// let range = IovaRange::new(Iova(0x1000), 0x1000).ok_or("no such range")?;
/// let to = Iova(0x7000_0000);
/// let access = Access::ReadWrite;
/// iommu.apply(&[Request::Map(Translation { range, to, access })])?;
/// iommu.apply(&[Request::Unmap(range)])?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct GuestIommu {
    pub(super) id: AddressSpaceId,
    pub(super) memory: Arc<AddressSpace>,
}

/// Why a request was not made.
#[derive(Debug)]
pub struct Unmade {
    /// So many requests before it were.
    pub made: usize,
    /// What was wrong.
    pub error: Error,
}

impl GuestIommu {
    /// One that maps nothing, and that no device is behind, of a guest with that memory.
    pub fn of(memory: &Arc<AddressSpace>) -> Self {
        Self {
            id: AddressSpaceId::unique(),
            memory: Arc::clone(memory),
        }
    }

    /// The name under which devices are [opened](crate::OpenOptions::in_space) that are to be behind it.
    pub fn id(&self) -> AddressSpaceId {
        self.id
    }

    /// From now on `domain` maps what the guest maps, beginning with `translations`: what the guest has mapped already. One
    /// that follows already is left alone.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`]: it follows something else. Those of [`apply`](Self::apply). Then
    /// it does not follow.
    pub fn follow(
        &self,
        domain: &Domain,
        translations: impl IntoIterator<Item = Translation>,
    ) -> Result<()> {
        // Before the lock: the caller's code may panic, or ask this.
        let translations: Vec<_> = translations.into_iter().collect();
        let State {
            sections,
            followers,
        } = &mut *self.memory.state();
        if let Some(known) = followers.iter().find(|it| it.domain == *domain) {
            return match known.behind {
                Some(id) if id == self.id && known.follows => Ok(()),
                _ => Err(self.busy("it follows something else")),
            };
        }
        if of(followers, self.id).any(Follower::is_handed) {
            return Err(busy("follow"));
        }
        let blocks = sections.iter().filter_map(Section::reachable_block);
        let mut follower = Follower {
            registered: Registered::all(domain, blocks, &[])?,
            ..Follower::behind(domain.clone(), self.id)
        };
        let peers = sections.iter().filter(|section| section.is_peer());
        peers.for_each(|section| follower.know_peer(section));
        let mut follower = [follower];
        let mut translations = translations.into_iter();
        let failed = translations.find_map(|it| map(sections, &mut follower, self.id, &it).err());
        let [mut follower] = follower;
        if let Some(error) = failed {
            let error = match follower.leave(sections) {
                Ok(()) => error,
                Err(left) => torn("follow", vec![error, left]),
            };
            if !follower.torn.is_empty() {
                followers.push(follower);
            }
            return Err(error);
        }
        followers.push(follower);
        Ok(())
    }

    /// Unmaps everything from `domain`, which does not follow any more.
    ///
    /// # Errors
    /// What the kernel answered; then it still follows, and what could not be unmapped may still be reached.
    pub fn unfollow(&self, domain: &Domain) -> Result<()> {
        let followers = &mut self.memory.state().followers;
        let mine = |it: &Follower| it.behind == Some(self.id) && it.domain == *domain;
        let Some(at) = followers.iter().position(mine) else {
            return Ok(());
        };
        if followers.get(at).is_some_and(Follower::is_handed) {
            return Err(busy("unfollow"));
        }
        unless_gone(unmap_whole(domain, IovaRange::ALL))?;
        followers.remove(at);
        Ok(())
    }

    /// Does what the guest asks, one request after the other, until one cannot be done. That one is done in no domain that
    /// follows, and those before it are.
    ///
    /// - [`Request::Map`] maps the guest's RAM, ROM (to be read) and other devices' memory; where the guest's addresses lead
    ///   to anything else, nothing is, as for the doorbells of interrupts. A range of several sections is as many mappings.
    ///   What is mapped already, and just so, is left alone; what is to lead to no memory leaves what is there.
    /// - [`Request::Unmap`] is no call of the kernel where nothing is mapped, and one where many mappings are; requests
    ///   whose ranges follow each other are one. Where it cuts a mapping, that goes as a whole, and what stays of it is
    ///   mapped again: devices do not reach that for a moment. If the kernel fails, what the others have is unmapped
    ///   nevertheless, and the request can be made again.
    ///
    /// A call for the kernel costs the most by far: a guest that maps and unmaps much is served best by large ranges.
    ///
    /// # Errors
    /// [`Unmade`] says how many requests were made, and why the next one was not: [`ErrorKind::Invalid`]: it is not made of
    /// whole pages of the host's IOMMU ([`page_size`](Self::page_size)), or the guest has no such addresses;
    /// [`ErrorKind::OutOfReach`]: the host's IOMMU cannot map the device's addresses
    /// ([`usable_ranges`](Self::usable_ranges)); [`ErrorKind::Overlap`]: something else is mapped there;
    /// [`ErrorKind::Exhausted`]: the kernel has no more mappings, or the process may lock no more memory, and
    /// [`Error::memlock`] says what would be enough. Otherwise what the kernel answered. If it could not be undone, the
    /// kind is [`ErrorKind::Torn`], and nothing more is done before [`AddressSpace::repair`].
    pub fn apply(&self, requests: &[Request]) -> std::result::Result<(), Unmade> {
        let State {
            sections,
            followers,
        } = &mut *self.memory.state();
        let mut made = 0;
        let mut is_kvms = false;
        let refusal = of(followers, self.id).find_map(|it| {
            is_kvms |= !it.handed.is_empty();
            it.refusal()
        });
        if let Some(error) = refusal {
            return Err(Unmade { made, error });
        }
        if is_kvms {
            check_not_kvms(followers, self.id, requests)?;
        }
        while let Some(request) = requests.get(made) {
            let (count, result) = match request {
                Request::Map(translation) => (1, map(sections, followers, self.id, translation)),
                Request::Unmap(range) => {
                    let (count, all) = run(*range, requests.get(made + 1..).unwrap_or_default());
                    let unmapped = unmap(sections, followers, self.id, all);
                    match unmapped.is_err() && count > 1 {
                        false => (count, unmapped),
                        true => (1, self.unmap_first(sections, followers, *range, unmapped)),
                    }
                }
            };
            result.map_err(|error| Unmade { made, error })?;
            made += count;
        }
        Ok(())
    }

    /// Unmaps the first range of a run that could not be unmapped as a whole: which of them it was is seen one by one.
    #[cold]
    fn unmap_first(
        &self,
        sections: &Sections,
        followers: &mut [Follower],
        range: IovaRange,
        all: Result<()>,
    ) -> Result<()> {
        match all {
            Err(error) if error.kind() == ErrorKind::Torn => Err(error),
            _ => unmap(sections, followers, self.id, range),
        }
    }

    /// What the guest's IOMMU can say that its devices' addresses are, as far as the host's can map them, the lowest first.
    ///
    /// # Errors
    /// Those of [`Domain::usable_ranges`].
    pub fn usable_ranges(&self) -> Result<Vec<IovaRange>> {
        self.memory.state().usable_ranges(Some(self.id))
    }

    /// What ranges and addresses must be multiples of in all domains that follow, in bytes: the smallest page that the
    /// guest's IOMMU can have. 1 while none follows.
    pub fn page_size(&self) -> u64 {
        let state = self.memory.state();
        let sizes = of(&state.followers, self.id).map(|it| it.domain.largest_page_size());
        sizes.max().unwrap_or(1)
    }

    fn busy(&self, why: &str) -> Error {
        Error::new(ErrorKind::Busy, "follow", "a guest's IOMMU").because(why)
    }
}

impl Drop for GuestIommu {
    fn drop(&mut self) {
        let State {
            sections,
            followers,
        } = &mut *self.memory.state();
        for follower in followers.iter_mut() {
            if follower.behind == Some(self.id) {
                if let Err(error) = follower.leave(sections) {
                    debug!(%error, "its memory is never freed");
                }
            }
        }
        followers.retain(|it| it.behind != Some(self.id) || !it.torn.is_empty());
    }
}

impl Follower {
    /// Unmaps everything; what cannot be is torn.
    fn leave(&mut self, sections: &Sections) -> Result<()> {
        self.follows = false;
        for range in std::mem::take(&mut self.handed) {
            if unless_gone(self.domain.clear_handed(range)).is_err() {
                // A device may reach any of it: its blocks are never freed.
                for known in &self.registered {
                    std::mem::forget(known.block.clone());
                }
            }
            self.domain.take_back(range, &[]);
        }
        let left = unless_gone(unmap_whole(&self.domain, IovaRange::ALL));
        // Its blocks may be nowhere else.
        self.torn
            .retain(|it| left.is_err() && it.tear == Tear::Left);
        if left.is_err() {
            let known: Vec<_> = self.torn.iter().map(|it| it.range).collect();
            for (range, origin) in self.domain.translated_in(IovaRange::ALL) {
                if known.contains(&range) {
                    continue;
                }
                let blocks = blocks_of([sections]);
                let torn = mapping(sections, range, origin)
                    .and_then(|(it, _)| Torn::new(&it, Tear::Left, blocks(&it)));
                self.torn.extend(torn);
            }
        }
        left
    }
}

/// Refuses what is about addresses in which KVM maps.
#[cold]
fn check_not_kvms(
    followers: &[Follower],
    iommu: AddressSpaceId,
    requests: &[Request],
) -> std::result::Result<(), Unmade> {
    let range = |request: &Request| match request {
        Request::Map(translation) => translation.range,
        Request::Unmap(range) => *range,
    };
    let is_kvms = |request: &Request| of(followers, iommu).any(|it| it.is_kvms(range(request)));
    match requests.iter().find(|request| is_kvms(request)) {
        None => Ok(()),
        Some(request) => Err(Unmade {
            made: 0,
            error: busy("change").at(range(request)),
        }),
    }
}

/// Those that are behind an IOMMU.
fn of(followers: &[Follower], iommu: AddressSpaceId) -> impl Iterator<Item = &Follower> {
    let behind = move |it: &&Follower| it.behind == Some(iommu);
    followers.iter().filter(behind)
}

/// A range, with those that are unmapped next and follow it; answers how many requests that are.
fn run(range: IovaRange, next: &[Request]) -> (usize, IovaRange) {
    let mut all = range;
    let mut count = 1;
    for request in next {
        match request {
            Request::Unmap(more) if all.last().0.checked_add(1) == Some(more.first().0) => {
                let Some(longer) = IovaRange::inclusive(all.first(), more.last()) else {
                    break;
                };
                all = longer;
                count += 1;
            }
            _ => break,
        }
    }
    (count, all)
}

/// Maps what a translation leads to, in all domains or in none.
fn map(
    sections: &Sections,
    followers: &mut [Follower],
    iommu: AddressSpaceId,
    translation: &Translation,
) -> Result<()> {
    let mut made = 0;
    let mut map_in_all = |piece: &Piece<'_>| {
        of(followers, iommu).try_for_each(|it| map_one(&it.domain, piece).map(|()| made += 1))
    };
    let mapped = match translation.one_piece(sections) {
        Some(piece) => {
            check(of(followers, iommu).skip(1), &[piece]).and_then(|()| map_in_all(&piece))
        }
        None => {
            let pieces: Vec<_> = translation.pieces(sections)?.collect();
            check(of(followers, iommu), &pieces)
                .and_then(|()| pieces.iter().try_for_each(map_in_all))
        }
    };
    mapped.or_else(|error| not_mapped(sections, followers, iommu, (translation, made), error))
}

/// Checks what [`Domain::map`] would, before anything is mapped.
fn check<'f>(
    mut followers: impl Iterator<Item = &'f Follower>,
    pieces: &[Piece<'_>],
) -> Result<()> {
    followers.try_for_each(|Follower { domain, .. }| {
        unless_gone(pieces.iter().try_for_each(|it| check_one(domain, it)))
    })
}

fn check_one(domain: &Domain, piece: &Piece<'_>) -> Result<()> {
    // Other devices' memory need not be mapped, but must not be where something is.
    if let Some(memory) = piece.memory().filter(|_| !piece.section.is_peer()) {
        domain.check_map(piece.range, memory)?;
    }
    let there = domain.mappings_in(piece.range);
    match there.first().filter(|_| !domain.is_over()) {
        None => Ok(()),
        Some(other) => Err(Error::new(ErrorKind::Overlap, "map", "guest memory")
            .at(piece.range)
            .because(format!("{other} is mapped already"))),
    }
}

/// Maps one piece, in one domain. Other devices' memory need not be there.
fn map_one(domain: &Domain, piece: &Piece<'_>) -> Result<()> {
    match unless_gone(carry_out::map(domain, piece)) {
        Err(error) if piece.section.is_peer() && error.kind() != ErrorKind::Overlap => {
            debug!(%error, "another device's memory is not reached");
            Ok(())
        }
        answer => answer,
    }
}

/// What comes of a translation that cannot be mapped: if it was before, and just so, nothing; else what was mapped of it is
/// unmapped.
#[cold]
fn not_mapped(
    sections: &Sections,
    followers: &mut [Follower],
    iommu: AddressSpaceId,
    (translation, made): (&Translation, usize),
    error: Error,
) -> Result<()> {
    let pieces: Vec<_> = translation.pieces(sections)?.collect();
    if made == 0 && error.kind() == ErrorKind::Overlap {
        let is_there = |it: &Follower| {
            it.domain.is_over() || pieces.iter().all(|piece| is_mapped(&it.domain, piece))
        };
        if of(followers, iommu).all(is_there) {
            return Ok(());
        }
    }
    let steps: Vec<_> = pieces.into_iter().map(Step::Map).collect();
    let domains: Vec<_> = of(followers, iommu).map(|it| it.domain.clone()).collect();
    let plans: Vec<_> = domains.iter().map(|it| (it, steps.as_slice())).collect();
    let error = limit::explain(error, &plans).because_also(format!("for {translation}"));
    let mut left = Vec::new();
    for (n, follower) in followers
        .iter_mut()
        .filter(|it| it.behind == Some(iommu))
        .enumerate()
    {
        // The pieces were mapped one after the other, each in all domains.
        let mapped = (made + domains.len() - 1 - n) / domains.len();
        let mapped = steps.get(..mapped).unwrap_or_default();
        for (torn, error) in carry_out::undo(&follower.domain, mapped, blocks_of([sections])) {
            follower.torn.push(torn);
            left.push(error);
        }
    }
    match left.is_empty() {
        true => Err(error),
        false => {
            left.insert(0, error);
            Err(torn("map", left))
        }
    }
}

/// Whether all of a piece is mapped for the same reason, if perhaps in other parts.
fn is_mapped(domain: &Domain, piece: &Piece<'_>) -> bool {
    let there = domain.translated_in(piece.range).into_iter();
    let alike = there.filter_map(|(range, origin)| {
        let common = range.intersection(piece.range)?;
        let same = piece.inside(common)?.origin == Some(origin.of_part(range, common));
        same.then(|| common.size())
    });
    alike.sum::<u64>() == piece.range.size()
}

/// Unmaps a range in all domains, also if one fails.
#[inline(always)] // the usual way; the other caller is a rare one
fn unmap(
    sections: &Sections,
    followers: &mut [Follower],
    iommu: AddressSpaceId,
    range: IovaRange,
) -> Result<()> {
    let mut result = Ok(());
    for follower in followers.iter_mut().filter(|it| it.behind == Some(iommu)) {
        let unmapped = match follower.domain.unmap_translated(range) {
            Ok(false) => unmap_inside(sections, follower, range),
            unmapped => unmapped.map(drop),
        };
        result = result.and(unless_gone(unmapped));
    }
    result
}

/// Unmaps the mappings that are in a range; what is outside of it stays.
#[cold]
fn unmap_inside(sections: &Sections, follower: &mut Follower, range: IovaRange) -> Result<()> {
    let cut = Plan::without(&follower.domain, sections, range)?;
    let one = std::slice::from_mut(follower);
    make_in_all(one, &[cut.steps], blocks_of([sections]))?;
    unmap_whole(&follower.domain, range)
}

/// Unmaps the mappings that are in a range, none of which is cut.
fn unmap_whole(domain: &Domain, range: IovaRange) -> Result<()> {
    let mappings = domain.translated_in(range).into_iter();
    let mappings: Vec<_> = mappings.map(|(mapping, _)| mapping).collect();
    if domain.unmap_at_once(&mappings)? {
        return Ok(());
    }
    let mut mappings = mappings.into_iter();
    mappings.try_for_each(|mapping| domain.unmap(mapping).map(drop))
}

impl fmt::Display for Unmade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "request {}: {}", self.made + 1, self.error)
    }
}

impl std::error::Error for Unmade {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}
