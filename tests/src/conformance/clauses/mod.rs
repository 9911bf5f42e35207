//! The clauses, by what is asked.

mod container;
mod group;
mod type1;

use super::clause::Clause;

/// Every clause.
pub fn all() -> impl Iterator<Item = &'static Clause> {
    let themes = [container::CLAUSES, group::CLAUSES].into_iter();
    themes.chain(type1::ALL.iter().copied()).flatten()
}
