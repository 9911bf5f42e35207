//! The clauses, by what is asked: a file for each theme, a folder where it has many.

mod container;
mod device;
mod feature;
mod group;
mod hot_reset;
mod interrupts;
mod lives;
mod opening;
mod reset;
mod spapr;
mod token;
mod type1;

use super::clause::Clause;

/// In the order of the page.
const THEMES: &[&[&[Clause]]] = &[
    &[
        container::CLAUSES,
        group::CLAUSES,
        opening::CLAUSES,
        token::CLAUSES,
        lives::CLAUSES,
    ],
    type1::CLAUSES,
    spapr::CLAUSES,
    device::CLAUSES,
    interrupts::CLAUSES,
    &[reset::CLAUSES, hot_reset::CLAUSES, feature::CLAUSES],
];

/// Every clause.
pub fn all() -> impl Iterator<Item = &'static Clause> {
    let files = THEMES.iter().copied().flatten();
    files.copied().flatten()
}
