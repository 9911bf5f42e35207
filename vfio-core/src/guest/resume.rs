//! Following what another program has mapped.
#![allow(unsafe_code)] // A promise about what that program has mapped, passed on.

use crate::address::IovaRange;
use crate::error::{Error, ErrorKind, Result};
use crate::iommu::Domain;

use super::change::Change;
use super::follower::Follower;
use super::plan::ours;
use super::space::{AddressSpace, State, pieces};

impl AddressSpace {
    /// As [`follow`](Self::follow), where everything is mapped already: by a program that has made way for this one, and
    /// has [forgotten the addresses](Domain::forget_addresses) of `mapped`. They are renewed, and nothing is mapped or
    /// unmapped: devices go on. How the sections are mapped stays as it was, until they change.
    ///
    /// # Safety
    /// That of [`Domain::renew_addresses`]: the memory of the sections is the one that is mapped there, and may be reached
    /// as it is.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`]: it follows already. [`ErrorKind::Invalid`]: something of `mapped` is no part of sections whose
    /// memory follows each other, or a section is not mapped. Those of [`Domain::renew_addresses`]. Then it does not follow.
    pub unsafe fn resume(&self, domain: &Domain, mapped: &[IovaRange]) -> Result<()> {
        let error = |kind, why| Error::new(kind, "resume", "guest memory").because(why);
        let State {
            sections,
            followers,
        } = &mut *self.state();
        if followers.iter().any(|it| it.domain == *domain) {
            return Err(error(ErrorKind::Busy, "the domain follows already"));
        }
        let ours = |range: &IovaRange| {
            let why = "it is not of the sections that there are";
            ours(sections, *range).ok_or_else(|| error(ErrorKind::Invalid, why).at(*range))
        };
        let mut there = mapped.iter().map(ours).collect::<Result<Vec<_>>>()?;
        there.sort_unstable_by_key(|piece| piece.range.first());
        let wanted = pieces(sections.iter());
        let missing = Change::between(&there, &wanted).come;
        if let Some(missing) = missing.iter().find(|it| !it.section.is_peer()) {
            return Err(error(ErrorKind::Invalid, "it is not mapped").at(missing.range));
        }
        let there = there.iter();
        let renewed = there.filter_map(|piece| Some((piece.range, piece.memory()?)));
        // SAFETY: what is mapped there is our caller's promise; the sections keep their blocks until it is unmapped.
        unsafe { domain.renew_addresses(renewed) }?;
        followers.push(Follower::of(domain.clone()));
        Ok(())
    }
}
