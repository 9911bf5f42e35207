//! Whether a wrong simulation is seen: each [`Lie`] is told, one at a time, and clauses and random calls look for it.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::Result;
use vfio_sim::wrap::{Counting, Name};
use vfio_sim::{Lie, Machine, SimKernel, What};

use super::attempt::attempt;
use super::clause::Proof;
use super::clauses;
use super::host::Host;
use super::rig;
use crate::differential;

/// So many random calls look for a lie that no clause has found.
const CALLS: usize = 1500;
/// Clauses that make more calls than this are not asked: while a kernel lies, it keeps what it knows at each call.
const MOST_CALLS: u64 = 1100;
/// So many seconds a clause waits for a signal. One that comes late would be taken for a lie that is found: what comes at
/// all is sent before a call returns, or by a thread that has nothing else to do.
const PATIENCE: i64 = 3;
/// Any number would do; with the same one, the same lies are found.
const SEED: u64 = 1;

/// What became of a lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Found {
    /// A clause is not so.
    ByClause,
    /// Random calls differ.
    ByRandomCalls,
    /// It was told, and nobody has seen it.
    Missed,
    /// Nothing that was asked came to it.
    NeverTold,
}

/// Clauses and random calls, which look for lies.
#[derive(Debug)]
pub struct Search {
    machines: Vec<Machine>,
    chances: Vec<Chance>,
}

impl Search {
    /// Gets ready to look on these machines.
    pub fn on(machines: Vec<Machine>) -> Self {
        rig::wait_at_most(PATIENCE);
        Self {
            chances: chances(&machines),
            machines,
        }
    }

    /// Tells a lie, and looks for it. What a device is led to by it may be any memory of this process: what is found may
    /// be its end.
    ///
    /// # Errors
    /// The random calls cannot be made.
    pub fn look_for(&self, lie: Lie) -> Result<Found> {
        look_for(lie, &self.machines, &self.chances)
    }
}

/// A clause on a machine, and the calls that it makes there.
#[derive(Debug)]
struct Chance {
    machine: Machine,
    ask: fn(&Host),
    calls: BTreeSet<Name>,
}

fn chances(machines: &[Machine]) -> Vec<Chance> {
    let mut chances = Vec::new();
    for machine in machines {
        for clause in clauses::all().filter(|clause| clause.fits(machine)) {
            let Proof::Both(_, ask) = clause.proof else {
                continue;
            };
            let counting = Arc::new(Counting::default());
            let host = Host::of_simulation(SimKernel::new(machine.clone())).watched(&counting);
            let _ = attempt(|| ask(&host)); // one that is not so without a lie is found elsewhere
            let counts = counting.take();
            if counts.values().sum::<u64>() > MOST_CALLS {
                continue;
            }
            let calls = counts.into_keys().collect();
            chances.push(Chance {
                machine: machine.clone(),
                ask,
                calls,
            });
        }
    }
    chances
}

impl Chance {
    fn is_one_of(&self, lie: Lie) -> bool {
        let call = lie.call.split(' ').next().unwrap_or_default();
        call == "close" || self.calls.iter().any(|name| name == call)
    }
}

fn look_for(lie: Lie, machines: &[Machine], chances: &[Chance]) -> Result<Found> {
    let mut was_told = false;
    for chance in chances.iter().filter(|chance| chance.is_one_of(lie)) {
        let sim = SimKernel::new(chance.machine.clone());
        sim.lie(Some(lie));
        let host = Host::of_simulation(sim.clone());
        let is_found = attempt(|| (chance.ask)(&host)).is_err();
        drop(host);
        let is_told = sim.has_lied();
        was_told |= is_told;
        if is_found && is_told {
            return Ok(Found::ByClause);
        }
    }
    // What no clause comes to decides nothing and changes nothing; an answer may be a rare one.
    if !was_told && !matches!(lie.what, What::Swapped { .. }) {
        return Ok(Found::NeverTold);
    }
    for machine in machines {
        let sim = SimKernel::new(machine.clone());
        sim.lie(Some(lie));
        let differs = differential::differs(&sim, CALLS, SEED)?;
        let is_told = sim.has_lied();
        was_told |= is_told;
        if differs && is_told {
            return Ok(Found::ByRandomCalls);
        }
    }
    Ok(match was_told {
        true => Found::Missed,
        false => Found::NeverTold,
    })
}
