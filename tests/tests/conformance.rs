//! What the page of kernel behaviours says, of every machine that is simulated.

use libtest_mimic::{Arguments, Failed, Trial};
use vfio_sim::Machine;
use vfio_sim::machine::{Device, Group};
use vfio_tests::conformance::{Conformance, Outcome, all};

fn main() {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1); // where a clause fails is learnt by the process's panic hook
    let machines = Machine::all()
        .into_iter()
        .filter(|machine| machine.name != "noiommu")
        .map(with_assorted);
    let trials = machines.flat_map(|machine| {
        all().map(move |clause| {
            let machine = machine.clone();
            Trial::test(
                format!("{}: {clause}", machine.name),
                move || match Conformance::simulated(machine).ask(clause) {
                    Outcome::Differ(said) => Err(Failed::from(said)),
                    _ => Ok(()),
                },
            )
        })
    });
    libtest_mimic::run(&arguments, trials.collect()).exit();
}

/// With a device of BARs of every kind, a ROM and every kind of interrupt, in a group of its own, behind the others.
fn with_assorted(mut machine: Machine) -> Machine {
    let device = Device::assorted("0000:00:1e.0");
    machine.groups.push(Group::new(99, [device]));
    machine
}
