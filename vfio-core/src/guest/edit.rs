//! A change that is not made yet.

use crate::address::IovaRange;
use crate::error::Result;

use super::populate::Population;
use super::section::{Bus, Section};
use super::space::{AddressSpace, Committed};

/// A change of an [`AddressSpace`]. Dropped uncommitted, nothing has happened.
#[derive(Debug)]
#[must_use]
pub struct Edit<'a> {
    space: &'a AddressSpace,
    removed: Vec<(Bus, IovaRange)>,
    inserted: Vec<Section>,
    population: Population<'a>,
}

impl<'a> Edit<'a> {
    pub(super) fn of(space: &'a AddressSpace) -> Self {
        Self {
            space,
            removed: Vec::new(),
            inserted: Vec::new(),
            population: Population::default(),
        }
    }

    /// A section comes.
    pub fn insert(mut self, section: Section) -> Self {
        self.inserted.push(section);
        self
    }

    /// The section of these very addresses of memory goes.
    pub fn remove(mut self, range: IovaRange) -> Self {
        self.removed.push((Bus::Memory, range));
        self
    }

    /// The section of these very port numbers goes.
    pub fn remove_ports(mut self, range: IovaRange) -> Self {
        self.removed.push((Bus::Ports, range));
        self
    }

    /// How memory that comes is made present before it is mapped. Unless this is said, [`Population::default`].
    pub fn populated(mut self, population: Population<'a>) -> Self {
        self.population = population;
        self
    }

    /// Makes the change, in every domain that follows or in none. What is removed and inserted in one edit is exchanged: in
    /// what order it was said does not matter.
    ///
    /// Devices reach all the time what they reach before and afterwards with the same rights, in the same memory, unless it
    /// is one mapping with something that changes: then [`Committed::interrupted`] names it.
    ///
    /// # Errors
    /// Before the kernel is asked: [`ErrorKind::Invalid`](crate::ErrorKind::Invalid): there is no such section, or it is not
    /// made of whole pages of the IOMMU; [`Overlap`](crate::ErrorKind::Overlap): with another section, or with what
    /// somebody else has mapped; [`OutOfReach`](crate::ErrorKind::OutOfReach): the IOMMU cannot map it;
    /// [`Exhausted`](crate::ErrorKind::Exhausted): the kernel has not so many mappings left, or 32 MiB or more would be
    /// locked and [`Error::memlock`](crate::Error::memlock) says which limit would be enough (B25);
    /// [`Torn`](crate::ErrorKind::Torn): an earlier change must be [repaired](AddressSpace::repair) first.
    ///
    /// Otherwise what the kernel answered. Then everything is mapped as before; if it is not, the error is of the kind
    /// [`Torn`](crate::ErrorKind::Torn), and [`AddressSpace::torn`] says where.
    pub fn commit(self) -> Result<Committed> {
        self.space
            .commit(&self.removed, self.inserted, self.population)
    }
}
