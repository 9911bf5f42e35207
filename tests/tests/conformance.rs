//! What the page of kernel behaviours says, of every machine that is simulated.

use libtest_mimic::{Arguments, Failed, Trial};
use vfio_tests::conformance::{Conformance, Outcome, all, machines};

fn main() {
    let arguments = Arguments::from_args();
    let trials = machines().into_iter().flat_map(|machine| {
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
