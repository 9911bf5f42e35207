//! The clauses, by what is asked.

mod container;
mod group;
mod spapr;

use super::clause::Clause;

/// Every clause.
pub fn all() -> impl Iterator<Item = &'static Clause> {
    let themes = [container::CLAUSES, group::CLAUSES].into_iter();
    themes.chain(spapr::CLAUSES.iter().copied()).flatten()
}
