//! What came of all clauses.

use std::collections::BTreeSet;
use std::fmt;

use super::clause::Clause;
use super::report::Outcome;

/// Counts clauses by what came of them.
#[derive(Debug, Default)]
pub(super) struct Table {
    behaviours: BTreeSet<&'static str>,
    agree: usize,
    pub(super) differ: usize,
    simulated: usize,
    not_here: usize,
}

impl Table {
    pub(super) fn count(&mut self, clause: &Clause, outcome: &Outcome) {
        let column = match outcome {
            Outcome::Agree => &mut self.agree,
            Outcome::Simulated => &mut self.simulated,
            Outcome::Differ(_) => &mut self.differ,
            Outcome::NotHere => &mut self.not_here,
        };
        *column += 1;
        if *outcome != Outcome::NotHere {
            self.behaviours.extend(clause.numbers);
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            behaviours,
            agree,
            differ,
            simulated,
            not_here,
        } = self;
        writeln!(f, "behaviours       {:4}", behaviours.len())?;
        writeln!(f, "run on both      {:4}", agree + differ)?;
        writeln!(f, "agree            {agree:4}")?;
        writeln!(f, "differ           {differ:4}")?;
        writeln!(f, "simulation only  {simulated:4}")?;
        writeln!(f, "not on this host {not_here:4}")
    }
}
