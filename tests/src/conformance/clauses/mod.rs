//! The clauses, by what is asked.

mod container;
mod group;
mod interrupts;

use super::clause::Clause;

/// Every clause.
pub fn all() -> impl Iterator<Item = &'static Clause> {
    let files = [container::CLAUSES, group::CLAUSES];
    let folders = [interrupts::CLAUSES];
    let folders = folders.into_iter().flatten().copied();
    files.into_iter().chain(folders).flatten()
}
