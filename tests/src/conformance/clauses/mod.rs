//! The clauses, by what is asked.

mod container;
mod feature;
mod group;
mod hot_reset;
mod lives;
mod opening;
mod reset;
mod token;

use super::clause::Clause;

/// Every clause.
pub fn all() -> impl Iterator<Item = &'static Clause> {
    [
        container::CLAUSES,
        feature::CLAUSES,
        group::CLAUSES,
        hot_reset::CLAUSES,
        lives::CLAUSES,
        opening::CLAUSES,
        reset::CLAUSES,
        token::CLAUSES,
    ]
    .into_iter()
    .flatten()
}
