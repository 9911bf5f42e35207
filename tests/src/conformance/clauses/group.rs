//! A10 to A17: groups.

use super::super::clause::Clause;

pub(super) const CLAUSES: &[Clause] = &[];
