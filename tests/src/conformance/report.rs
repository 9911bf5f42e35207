//! Asks every clause of two kernels, and says where they part.
#![allow(clippy::print_stdout)] // It is said when it is found: on a kernel that dies of it, too.

use std::fmt::{self, Display};
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use vfio_core::kernel::Kernel;
use vfio_sim::Machine;

use super::attempt::attempt;
use super::clause::{Clause, Proof};
use super::clauses;
use super::host::Host;
use super::table::Table;
use crate::mirror::mirror;

/// The pages of some simulated machines, which a host of larger ones cannot give them.
const SMALL_PAGE: usize = 4096;

/// How long a clause took is said from here on.
const LONG: Duration = Duration::from_secs(2);

/// A kernel and the machine that is said to answer like it.
#[derive(Debug)]
pub struct Conformance {
    machine: Machine,
    /// `None`: the simulation is asked alone.
    real: Option<Arc<dyn Kernel>>,
}

/// What came of a clause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is so on both kernels.
    Agree,
    /// It is so on the simulated machine, which is asked alone.
    Simulated,
    /// It is not so, or only on one of the two: what they said.
    Differ(String),
    /// The host does not have what it takes to ask.
    NotHere,
}

impl Conformance {
    /// That kernel, and the machine with the devices of its host.
    ///
    /// # Errors
    /// The host cannot be read.
    pub fn of(kernel: Arc<dyn Kernel>, machine: &Machine) -> Result<Self> {
        Ok(Self {
            machine: mirror(&*kernel, machine)?,
            real: Some(kernel),
        })
    }

    /// That machine alone.
    pub fn simulated(machine: Machine) -> Self {
        Self {
            machine,
            real: None,
        }
    }

    /// Asks a clause.
    pub fn ask(&self, clause: &Clause) -> Outcome {
        let ask = match clause.proof {
            Proof::Simulated(..) if rustix::param::page_size() > SMALL_PAGE => {
                return Outcome::NotHere;
            }
            Proof::Simulated(_, ask) => {
                return match attempt(ask) {
                    Ok(()) => Outcome::Simulated,
                    Err(said) => Outcome::Differ(format!("simulated: {said}")),
                };
            }
            Proof::Both(..) if !clause.fits(&self.machine) => return Outcome::NotHere,
            Proof::Both(_, ask) => ask,
        };
        let simulated = attempt(|| ask(&Host::simulated(self.machine.clone())));
        let real = self.real.as_ref().map(|kernel| {
            let host = Host::real(Arc::clone(kernel), self.machine.clone());
            attempt(|| ask(&host))
        });
        let mut said = Vec::new();
        if let Some(Err(what)) = &real {
            said.push(format!("real: {what}"));
        }
        if let Err(what) = simulated {
            said.push(format!("simulated: {what}"));
        }
        match said.is_empty() {
            false => Outcome::Differ(said.join("\n")),
            true if real.is_some() => Outcome::Agree,
            true => Outcome::Simulated,
        }
    }

    /// Asks every clause whose numbers or sentence contain one of the words between `|`, and says what came of it; answers
    /// how many differ.
    pub fn run(&self, filter: &str) -> usize {
        let is_wanted = |clause: &&Clause| {
            let text = clause.to_string();
            filter.split('|').any(|word| text.contains(word))
        };
        let mut table = Table::default();
        for clause in clauses::all().filter(is_wanted) {
            print!("{clause} ... ");
            let _ = std::io::stdout().flush(); // the kernel that is asked may not survive it
            let started = Instant::now();
            let outcome = self.ask(clause);
            println!("{outcome}");
            let time = started.elapsed();
            if time > LONG {
                println!("  that took {:.1} s", time.as_secs_f64());
            }
            table.count(clause, &outcome);
        }
        println!("\n{table}");
        table.differ
    }
}

impl Display for Clause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.numbers.join(" "), self.says)
    }
}

impl Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agree => f.write_str("agree"),
            Self::Simulated => f.write_str("simulated"),
            Self::Differ(said) => write!(f, "DIFFER\n{said}"),
            Self::NotHere => f.write_str("not here"),
        }
    }
}
