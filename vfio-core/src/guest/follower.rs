//! Domains that follow an address space, all of them or none.

use tracing::debug;

use crate::address::IovaRange;
use crate::address_space::AddressSpaceId;
use crate::error::{Error, ErrorKind, Result};
use crate::iommu::Domain;

use super::block::Block;
use super::carry_out::{self, Stopped, Tear, Torn};
use super::change::Change;
use super::handed::busy;
use super::limit;
use super::piece::Piece;
use super::plan::{Plan, Step};
use super::populate::{Population, populate};
use super::registered::Registered;
use super::section::{Bus, Section};
use super::sections::Sections;
use super::space::Committed;

const OPERATION: &str = "commit";
const OBJECT: &str = "guest memory";

/// A domain, and what is wrong with it.
#[derive(Debug)]
pub(super) struct Follower {
    pub(super) domain: Domain,
    pub(super) torn: Vec<Torn>,
    /// Whether it follows; otherwise it is here for what is torn alone.
    pub(super) follows: bool,
    /// The guest's IOMMU that its devices are behind, if they are; otherwise they see what the guest sees.
    pub(super) behind: Option<AddressSpaceId>,
    /// The blocks of the memory, where they are to be known before they are mapped.
    pub(super) registered: Vec<Registered>,
    /// Where KVM maps what the guest asks for.
    pub(super) handed: Vec<IovaRange>,
}

impl Follower {
    pub(super) fn of(domain: Domain) -> Self {
        Self {
            domain,
            torn: Vec::new(),
            follows: true,
            behind: None,
            registered: Vec::new(),
            handed: Vec::new(),
        }
    }

    pub(super) fn behind(domain: Domain, iommu: AddressSpaceId) -> Self {
        Self {
            behind: Some(iommu),
            ..Self::of(domain)
        }
    }

    /// Another device's memory may be mapped later, if the kernel can.
    pub(super) fn know_peer(&mut self, section: &Section) {
        let block = section.block().into_iter();
        match Registered::all(&self.domain, block, &self.registered) {
            Ok(known) => self.registered.extend(known),
            Err(error) => debug!(%error, "other devices will not reach it"),
        }
    }

    /// Maps another device's memory.
    fn map_peer(&mut self, piece: &Piece<'_>) -> Result<()> {
        let block = piece.section.block().into_iter();
        let known = Registered::all(&self.domain, block, &self.registered)?;
        carry_out::make(&self.domain, &[Step::Map(*piece)]).map_err(|stopped| stopped.error)?;
        self.registered.extend(known);
        Ok(())
    }

    /// Blocks of which there is no section any more need not be known.
    pub(super) fn forget_blocks(&mut self, sections: &Sections) {
        self.registered.retain(|known| {
            let mut blocks = sections.iter().filter_map(Section::block);
            blocks.any(|block| *block == known.block)
        });
    }

    /// Why nothing can be changed in it.
    pub(super) fn refusal(&self) -> Option<Error> {
        let torn = self.torn.first()?;
        let how = match torn.tear {
            Tear::Missing => "should be reached and is not",
            Tear::Left => "should not be reached and may be",
        };
        Some(
            Error::new(ErrorKind::Torn, OPERATION, OBJECT)
                .at(torn.range)
                .of_memory(torn.memory)
                .because(format!(
                    "it {how}, since an earlier change; repair() comes first"
                )),
        )
    }
}

/// Makes a change from `old`, of which `new` comes, in all domains or in none.
pub(super) fn carry_out_in_all<'a>(
    followers: &mut [Follower],
    old: &'a Sections,
    new: &'a Sections,
    change: &Change<'a>,
    population: Population<'_>,
) -> Result<Committed> {
    if let Some(error) = followers.iter().find_map(Follower::refusal) {
        return Err(error);
    }
    let is_some = !change.gone.is_empty() || !change.come.is_empty();
    if is_some && followers.iter().any(Follower::is_handed) {
        return Err(busy(OPERATION));
    }
    let is_peer = |piece: &&Piece<'a>| piece.section.is_peer();
    let peers = change.come.iter().filter(is_peer);
    let change = Change {
        gone: change.gone.clone(),
        come: change
            .come
            .iter()
            .filter(|it| !is_peer(it))
            .copied()
            .collect(),
    };
    let mut committed = Committed::default();
    let mut plans = Vec::new();
    for Follower { domain, behind, .. } in followers.iter() {
        let plan = match behind {
            None => Plan::new(domain, old, &change),
            Some(_) => Plan::behind_iommu(domain, old, &change),
        };
        let plan = match plan {
            Err(error) if error.kind() == ErrorKind::Gone => Plan::default(),
            plan => plan?,
        };
        committed.interrupted.extend(plan.interrupted);
        plans.push(plan.steps);
    }
    limit::check(&of_domains(followers, &plans))?;
    // What a guest's IOMMU leads to is only known when it is mapped.
    if let Some(Follower { domain, .. }) = followers.iter().find(|it| it.behind.is_none()) {
        populate(&**domain.kernel(), &change.come, population);
    }
    for range in &committed.interrupted {
        debug!(%range, "devices do not reach it for a moment");
    }
    let coming = change.come.iter().map(|it| it.section);
    let coming = coming.filter_map(Section::reachable_block);
    let known = followers.iter();
    let known = known.map(|it| Registered::all(&it.domain, coming.clone(), &it.registered));
    let known = known
        .collect::<Result<Vec<_>>>()
        .map_err(|error| error.because_also("nothing has changed"))?;
    let made = make_in_all(followers, &plans, blocks_of([old, new]));
    for (follower, known) in followers.iter_mut().zip(known) {
        if made.is_ok() || !follower.torn.is_empty() {
            follower.registered.extend(known);
        }
    }
    made?;
    for piece in peers {
        for follower in followers.iter_mut() {
            if follower.behind.is_some() {
                follower.know_peer(piece.section);
                continue;
            }
            if !has_whole_pages(&follower.domain, piece) {
                debug!(section = %piece.section, "other devices do not reach it: it is not made of whole pages of the IOMMU");
                continue;
            }
            if let Err(error) = follower.map_peer(piece) {
                debug!(%error, "other devices do not reach it");
                committed.unreachable.push((piece.range, error));
            }
        }
    }
    Ok(committed)
}

/// Makes the calls of these plans, each in a domain, all or none.
pub(super) fn make_in_all<'a>(
    followers: &mut [Follower],
    plans: &[Vec<Step<'a>>],
    blocks: impl Fn(&Piece<'a>) -> Vec<Block>,
) -> Result<()> {
    for (at, steps) in plans.iter().enumerate() {
        let domain = followers.get(at).map(|it| &it.domain);
        let made = domain.map_or(Ok(()), |domain| carry_out::make(domain, steps));
        if let Err(stopped) = made {
            return Err(undo(followers, (plans, at), stopped, blocks));
        }
    }
    Ok(())
}

/// What tells the blocks that a piece of these sections is of.
pub(super) fn blocks_of<const N: usize>(
    sections: [&Sections; N],
) -> impl Fn(&Piece<'_>) -> Vec<Block> {
    move |piece| {
        let there = sections.iter().zip(std::iter::repeat(piece.guest()));
        let there = there.filter_map(|(sections, guest)| Some((sections, guest?)));
        let there = there.flat_map(|(it, guest)| it.overlapping(Bus::Memory, guest));
        there.filter_map(Section::block).cloned().collect()
    }
}

/// Whether a piece is made of whole pages of the IOMMU, as far as that has addresses for it.
fn has_whole_pages(domain: &Domain, piece: &Piece<'_>) -> bool {
    let checked = piece.memory().map(|it| domain.check_map(piece.range, it));
    !matches!(checked, Some(Err(error)) if error.kind() == ErrorKind::Invalid)
}

/// The calls for each domain.
fn of_domains<'s, 'a>(
    followers: &'s [Follower],
    plans: &'s [Vec<Step<'a>>],
) -> Vec<(&'s Domain, &'s [Step<'a>])> {
    let domains = followers.iter().map(|it| &it.domain);
    domains.zip(plans.iter().map(Vec::as_slice)).collect()
}

/// Undoes what was made: in the first domains all, in the next one until it stopped. Answers the error of the commit.
///
/// What was made last is undone first, in that domain too: each state on the way was there before, so that the limit of
/// what may be locked, which is one for all, is enough for it.
fn undo<'a>(
    followers: &mut [Follower],
    (plans, at): (&[Vec<Step<'a>>], usize),
    stopped: Stopped,
    blocks: impl Fn(&Piece<'a>) -> Vec<Block>,
) -> Error {
    let (before, rest) = plans.split_at(at.min(plans.len()));
    let last = rest.first().map_or(&[][..], Vec::as_slice);
    let (made, rest) = last.split_at(stopped.made.min(last.len()));
    let stopped_at = rest.first().map_or(&[][..], Step::pieces);
    let (unmapped, untried) = stopped_at.split_at(stopped.unmapped.min(stopped_at.len()));
    let mut made = made.to_vec();
    made.push(Step::Unmap(unmapped.to_vec()));

    let mut errors = Vec::new();
    let all: Vec<_> = before.iter().chain([&made]).collect();
    for (follower, steps) in followers.iter_mut().zip(all).rev() {
        for (torn, error) in carry_out::undo(&follower.domain, steps, &blocks) {
            follower.torn.push(torn);
            errors.push(error);
        }
    }
    if let Some(follower) = followers
        .get_mut(before.len())
        .filter(|_| stopped.is_halfway)
    {
        let halfway = untried.iter();
        let halfway = halfway.filter_map(|it| Torn::new(it, Tear::Missing, blocks(it)));
        follower.torn.extend(halfway);
    }
    let error = limit::explain(stopped.error, &of_domains(followers, plans));
    match followers.iter().all(|it| it.torn.is_empty()) {
        true => error.because_also("nothing has changed"),
        false => {
            let why = error.to_string();
            errors.insert(0, error);
            torn(OPERATION, errors).because_also(why)
        }
    }
}

/// Something is not as it should be, for these reasons.
pub(super) fn torn(operation: &'static str, causes: Vec<Error>) -> Error {
    Error::new(ErrorKind::Torn, operation, OBJECT)
        .because("not all of it could be undone")
        .caused_by(causes)
}
