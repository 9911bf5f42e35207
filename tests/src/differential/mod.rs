//! The same calls on a real kernel and on a simulated one: random sequences, of which every answer, every byte that
//! comes back and every effect must agree.
//!
//! A sequence is made while the simulation runs it, so that it can go on from what was answered; then the real kernel
//! gets the same calls. What a real kernel does not survive ([`vfio_sim::Hazard`]) is left out and counted.
#![allow(clippy::print_stdout)] // What is found is said when it is found: a run takes minutes.

mod call;
mod compare;
mod execute;
mod finds;
mod generate;
mod ignored;
mod memory;
mod sequence;
mod shrink;
mod tally;

use std::sync::Arc;

use anyhow::{Result, ensure};
use vfio_core::host::{self, PciDevice};
use vfio_core::kernel::Kernel;
use vfio_sim::{Machine, SimKernel};

use compare::Pair;
use generate::Generator;
use tally::Tally;

use crate::conformance::Host;
use crate::mirror::mirror;

/// So many calls are a sequence; then everything is closed.
const SEQUENCE: usize = 150;

/// What is to be compared.
#[derive(Debug)]
pub struct Comparison {
    /// The kernel that is right.
    pub real: Arc<dyn Kernel>,
    /// The machine that is said to answer like it.
    pub machine: Machine,
    /// How many calls are made at least.
    pub calls: usize,
    /// Where the random numbers start.
    pub seed: u64,
}

impl Comparison {
    /// Makes the calls; prints the shortest sequence of each difference, and what was called how often. Answers how many
    /// sequences differ, and how much else is wrong.
    ///
    /// # Errors
    /// The comparison cannot be made: the devices of the two are not alike.
    pub fn run(&self) -> Result<usize> {
        println!("seed {}, {} calls", self.seed, self.calls);
        let machine = mirror(&*self.real, &self.machine)?;
        let pair = Pair::new(Host::real(Arc::clone(&self.real), machine.clone()))?;
        let mut tally = Tally::of(&pair.places);
        let mut differing = 0;
        let mut seed = fastrand::Rng::with_seed(self.seed);
        for find in finds::of(&machine) {
            let (name, sequence) = find?;
            if let Some(difference) = pair.first_difference(&sequence)? {
                differing += 1;
                println!("\nonce more, {name}\n{difference}");
            }
        }
        while tally.calls() < self.calls {
            let generator = Generator::new(seed.u64(..), &pair.places);
            let Some(sequence) = pair.generate(generator, SEQUENCE, &mut tally)? else {
                println!("a sequence is left out, whose end a kernel would not survive");
                continue;
            };
            let Some(first) = pair.first_difference(&sequence)? else {
                continue;
            };
            differing += 1;
            let until = sequence.calls.iter().take(first.at + 1).cloned().collect();
            let shortest = shrink::shrink(sequence.with(until), |calls| {
                Ok(pair.survives(calls)? && pair.first_difference(calls)?.is_some())
            })?;
            let difference = pair.first_difference(&shortest)?;
            println!(
                "\nthe two differ; to keep it, a file of tests/src/differential/finds:\n{shortest}"
            );
            match difference {
                Some(difference) => println!("{difference}"),
                None => println!("and now they do not: it depends on something else\n{first}"),
            }
        }
        println!("\n{tally}");
        let complaints = tally.complaints();
        for complaint in &complaints {
            println!("it says too little: {complaint}");
        }
        println!("{differing} sequences differ");
        Ok(differing + complaints.len())
    }
}

/// Whether a simulated kernel answers so many random calls otherwise than a machine of its description does.
///
/// # Errors
/// No device is bound to VFIO.
pub(crate) fn differs(kernel: &SimKernel, calls: usize, seed: u64) -> Result<bool> {
    let pair = Pair::new(Host::of_simulation(kernel.clone()))?;
    let mut tally = Tally::of(&pair.places);
    let mut seed = fastrand::Rng::with_seed(seed);
    while tally.calls() < calls {
        let generator = Generator::new(seed.u64(..), &pair.places);
        let sequence = pair.generate(generator, SEQUENCE, &mut tally)?;
        let first = sequence.map(|it| pair.first_difference(&it)).transpose()?;
        if first.flatten().is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The devices that take part, by their addresses: groups are numbered as the kernel comes across them.
fn devices(kernel: &dyn Kernel) -> Result<Vec<PciDevice>> {
    let groups = host::groups(kernel)?;
    let members = groups.into_iter().flat_map(|group| group.devices);
    let mut bound: Vec<_> = members.filter(PciDevice::is_bound_to_vfio).collect();
    ensure!(!bound.is_empty(), "no device is bound to a VFIO driver");
    bound.sort_by_key(|device| device.bdf);
    Ok(bound)
}

/// Their groups, in that order.
fn groups(devices: &[PciDevice]) -> Vec<u32> {
    let mut groups = Vec::new();
    for id in devices.iter().filter_map(|device| device.group) {
        if !groups.contains(&id) {
            groups.push(id);
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::machines;

    #[test]
    fn the_calls_say_enough() {
        for machine in machines() {
            let name = machine.name.clone();
            let pair = Pair::new(Host::of_simulation(SimKernel::new(machine))).unwrap();
            let mut tally = Tally::of(&pair.places);
            let mut seed = fastrand::Rng::with_seed(5);
            // At each end of a sequence: a run may end there.
            while tally.calls() < 6000 {
                let generator = Generator::new(seed.u64(..), &pair.places);
                pair.generate(generator, SEQUENCE, &mut tally).unwrap();
                if tally.calls() > 3000 {
                    assert_eq!(tally.complaints(), <[String; 0]>::default(), "{name}");
                }
            }
        }
    }

    #[test]
    fn a_machine_is_like_itself() {
        for machine in machines() {
            let sim = SimKernel::new(machine.clone());
            assert!(!differs(&sim, 1500, 3).unwrap(), "{}", machine.name);
        }
    }
}
