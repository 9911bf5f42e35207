//! What was called how often.

use std::collections::BTreeMap;
use std::fmt;

use vfio_sim::Hazard;

use super::call::{Answer, Call};

/// So many calls, by kind.
#[derive(Debug, Default)]
pub(super) struct Tally {
    kinds: BTreeMap<String, Count>,
    hazards: BTreeMap<Hazard, usize>,
}

#[derive(Debug, Default)]
struct Count {
    calls: usize,
    successes: usize,
    changes: usize,
}

impl Tally {
    pub(super) fn count(&mut self, call: &Call, answer: &Answer) {
        let count = self.kinds.entry(call.kind()).or_default();
        count.calls += 1;
        count.successes += usize::from(answer.is_success());
        count.changes += usize::from(answer.is_success() && call.changes_iommu());
    }

    pub(super) fn hazard(&mut self, hazards: &[Hazard]) {
        for hazard in hazards {
            *self.hazards.entry(*hazard).or_default() += 1;
        }
    }

    pub(super) fn calls(&self) -> usize {
        self.kinds.values().map(|count| count.calls).sum()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.calls().max(1);
        let sum = |of: fn(&Count) -> usize| self.kinds.values().map(of).sum::<usize>();
        let successes = sum(|it| it.successes);
        writeln!(f, "{:<40} calls  of all  succeeded", "call")?;
        for (kind, count) in &self.kinds {
            let (calls, successes) = (count.calls, count.successes);
            let share = calls * 1000 / all;
            writeln!(
                f,
                "{kind:<40} {calls:>5}  {:>3}.{} %  {successes:>9}",
                share / 10,
                share % 10
            )?;
        }
        writeln!(
            f,
            "{} calls, {} % succeeded, {} % of those changed what an IOMMU does",
            self.calls(),
            successes * 100 / all,
            sum(|it| it.changes) * 100 / successes.max(1)
        )?;
        for (hazard, times) in &self.hazards {
            writeln!(f, "left out: {hazard:?}, {times} times")?;
        }
        Ok(())
    }
}
