//! The clauses, by what is asked.

mod container;
mod device;
mod group;

use super::clause::Clause;

/// Every clause.
pub fn all() -> impl Iterator<Item = &'static Clause> {
    [container::CLAUSES, group::CLAUSES]
        .into_iter()
        .chain(device::CLAUSES)
        .flatten()
}
