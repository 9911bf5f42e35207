//! The clauses, by what is asked.

mod container;
mod group;

use super::clause::Clause;

/// Every clause.
pub fn all() -> impl Iterator<Item = &'static Clause> {
    [container::CLAUSES, group::CLAUSES].into_iter().flatten()
}
