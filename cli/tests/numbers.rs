//! What `probe` prints of simulated machines, compared with what their kernels say.

use std::error::Error;

use vfio_sim::Machine;
use vfio_tests::numbers::Comparison;

#[test]
fn every_number_and_every_answer_is_what_the_kernel_says() -> Result<(), Box<dyn Error>> {
    for machine in Machine::all() {
        let name = machine.name.clone();
        let compared = Comparison::simulated(env!("CARGO_BIN_EXE_vfioctl"), machine).run();
        compared.map_err(|error| format!("{name}: {error:#}"))?;
    }
    Ok(())
}
