//! A real kernel and a simulated one, side by side.

use std::fmt;
use std::sync::Arc;

use anyhow::Result;
use vfio_core::kernel::Kernel;
use vfio_sim::{Machine, SimKernel};

use super::Comparison;
use super::call::{Answer, Call};
use super::execute::Executor;
use super::generate::{Generator, Places};
use super::mirror;
use super::tally::Tally;

/// The two that are compared.
pub(super) struct Pair {
    real: Arc<dyn Kernel>,
    machine: Machine,
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
    pub(super) fn new(comparison: &Comparison) -> Result<Self> {
        let machine = mirror::mirror(&*comparison.real, &comparison.machine)?;
        let devices = super::devices(&SimKernel::new(machine.clone()))?;
        Ok(Self {
            real: Arc::clone(&comparison.real),
            places: Places::of(&machine, &devices),
            machine,
        })
    }

    /// Makes a sequence while the simulation runs it.
    pub(super) fn generate(
        &self,
        mut generator: Generator,
        calls: usize,
        tally: &mut Tally,
    ) -> Result<Vec<Call>> {
        let mut sequence = Vec::new();
        let mut sim = SimKernel::new(self.machine.clone());
        let mut executor = Executor::new(Arc::new(sim.clone()))?;
        while sequence.len() < calls {
            let call = generator.next();
            let answer = executor.make(&call);
            if answer == Answer::Empty {
                continue;
            }
            if !sim.hazards().is_empty() {
                tally.hazard(&sim.hazards());
                // As if it had not been.
                executor.finish();
                sim = SimKernel::new(self.machine.clone());
                executor = Executor::new(Arc::new(sim.clone()))?;
                for call in &sequence {
                    executor.make(call);
                }
                continue;
            }
            generator.learn(&call, &answer);
            tally.count(&call, &answer);
            sequence.push(call);
        }
        executor.finish();
        Ok(sequence)
    }

    /// Makes the calls on both.
    pub(super) fn first_difference(&self, calls: &[Call]) -> Result<Option<Difference>> {
        let sim = SimKernel::new(self.machine.clone());
        let (simulated, simulated_memory) = run(Arc::new(sim.clone()), calls)?;
        if !sim.hazards().is_empty() {
            return Ok(None); // shrinking has made it one that must not be asked for
        }
        let (real, real_memory) = run(Arc::clone(&self.real), calls)?;
        let mut pairs = real.iter().zip(&simulated).zip(calls);
        let found = pairs.position(|((real, simulated), _)| real != simulated);
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
                    at: calls.len(),
                    what: format!(
                        "afterwards byte {offset:#x} of memory {n} is {:#x} in real, {:#x} in the simulation",
                        real[offset], simulated[offset]
                    ),
                }));
            }
        }
        Ok(None)
    }
}

type Ran = (Vec<Answer>, Vec<Vec<u8>>);

fn run(kernel: Arc<dyn Kernel>, calls: &[Call]) -> Result<Ran> {
    let mut executor = Executor::new(kernel)?;
    let answers = calls.iter().map(|call| executor.make(call)).collect();
    Ok((answers, executor.finish()))
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "call {}:\n{}", self.at, self.what)
    }
}
