//! A real kernel and a simulated one, side by side.

use std::fmt;
use std::sync::Arc;

use anyhow::{Result, ensure};
use vfio_sim::{Rights, SimKernel};

use super::call::{Answer, Call};
use super::execute::Executor;
use super::generate::{Generator, Places};
use super::sequence::Sequence;
use super::tally::Tally;
use crate::conformance::Host;

/// The two that are compared.
pub(super) struct Pair {
    real: Host,
    pub(super) places: Places,
}

/// Where two kernels part.
#[derive(Debug)]
pub(super) struct Difference {
    /// Which call it was; one more than there are, if it was what is in memory afterwards.
    pub(super) at: usize,
    what: String,
}

impl Pair {
    /// A host, to be compared with a simulation of the machine that it is.
    pub(super) fn new(real: Host) -> Result<Self> {
        let machine = real.machine();
        let devices = super::devices(&SimKernel::new(machine.clone()))?;
        Ok(Self {
            places: Places::of(machine, &devices),
            real,
        })
    }

    /// Makes a sequence while the simulation runs it; `None` if a kernel would not survive its end.
    pub(super) fn generate(
        &self,
        mut generator: Generator,
        calls: usize,
        tally: &mut Tally,
    ) -> Result<Option<Sequence>> {
        let mut sequence = Sequence {
            memlock: generator.memlock(),
            calls: Vec::new(),
        };
        let mut simulation = self.simulation(&sequence)?;
        while sequence.calls.len() < calls {
            let call = generator.next();
            if tally.has_enough_of(&call) {
                continue;
            }
            let answer = simulation.executor.make(&call);
            if answer == Answer::Empty {
                continue;
            }
            let hazards = simulation.kernel.hazards();
            if !hazards.is_empty() {
                tally.hazard(&hazards);
                // As if it had not been.
                simulation.executor.finish();
                simulation = self.simulation(&sequence)?;
                for call in &sequence.calls {
                    simulation.executor.make(call);
                }
                continue;
            }
            generator.learn(&call, &answer);
            tally.count(&call, &answer);
            sequence.calls.push(call);
        }
        for call in generator.reach() {
            let answer = simulation.executor.make(&call);
            if simulation.kernel.hazards().is_empty() {
                tally.count(&call, &answer);
                sequence.calls.push(call);
            }
        }
        simulation.executor.finish();
        Ok(simulation.kernel.hazards().is_empty().then_some(sequence))
    }

    /// Whether a kernel survives the calls, and the closing of what they have opened.
    pub(super) fn survives(&self, sequence: &Sequence) -> Result<bool> {
        let Simulation { kernel, executor } = self.simulation(sequence)?;
        run(executor, &sequence.calls);
        Ok(kernel.hazards().is_empty())
    }

    /// Makes the calls on both, which they [survive](Self::survives).
    pub(super) fn first_difference(&self, sequence: &Sequence) -> Result<Option<Difference>> {
        let simulation = self.simulation(sequence)?;
        let (simulated, simulated_memory) = run(simulation.executor, &sequence.calls);
        let hazards = simulation.kernel.hazards();
        ensure!(
            hazards.is_empty(),
            "a kernel would not survive it: {hazards:?}"
        );
        let limited = sequence.memlock.map(|bytes| self.real.limit(bytes));
        let executor = Executor::new(Arc::clone(self.real.kernel()))?;
        let (real, real_memory) = run(executor, &sequence.calls);
        drop(limited);
        let found = real
            .iter()
            .zip(&simulated)
            .position(|(real, simulated)| real != simulated);
        if let Some(at) = found {
            return Ok(Some(Difference {
                at,
                what: format!("real      {:?}\nsimulated {:?}", real[at], simulated[at]),
            }));
        }
        let contents = real_memory.iter().zip(&simulated_memory).enumerate();
        for (n, (real, simulated)) in contents {
            if let Some(offset) = real.iter().zip(simulated).position(|(a, b)| a != b) {
                return Ok(Some(Difference {
                    at: sequence.calls.len(),
                    what: format!(
                        "afterwards byte {offset:#x} of memory {n} is {:#x} in real, {:#x} in the simulation",
                        real[offset], simulated[offset]
                    ),
                }));
            }
        }
        Ok(None)
    }

    /// The machine, just booted, and a process with the rights of the sequence.
    fn simulation(&self, sequence: &Sequence) -> Result<Simulation> {
        let kernel = SimKernel::new(self.real.machine().clone());
        if let Some(bytes) = sequence.memlock {
            kernel.set_rights(Rights {
                memlock: Some(bytes),
                ipc_lock: false,
                ..Rights::ROOT
            });
        }
        let executor = Executor::new(Arc::new(kernel.clone()))?;
        Ok(Simulation { kernel, executor })
    }
}

struct Simulation {
    kernel: SimKernel,
    executor: Executor,
}

type Ran = (Vec<Answer>, Vec<Vec<u8>>);

fn run(mut executor: Executor, calls: &[Call]) -> Ran {
    let answers = calls.iter().map(|call| executor.make(call)).collect();
    (answers, executor.finish())
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "call {}:\n{}", self.at, self.what)
    }
}
