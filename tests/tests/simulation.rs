//! The suites that `hardware-tests` runs on real devices, run on simulated ones: the same cases, from the same
//! source, on every machine.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use libtest_mimic::{Arguments, Trial};
use vfio_core::Vfio;
use vfio_core::iommu::Registry;
use vfio_sim::{Machine, SimKernel};
use vfio_tests::suites::{self, Rig};

// Linked in to be chosen.
use iommu_spapr as _;
use iommu_type1 as _;

fn main() -> ExitCode {
    let arguments = Arguments {
        test_threads: Some(1), // the cases of a device share it
        ..Arguments::from_args()
    };
    match trials() {
        Ok(trials) => libtest_mimic::run(&arguments, trials).exit_code(),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The cases of every device of every machine that has an IOMMU.
fn trials() -> Result<Vec<Trial>> {
    let mut trials = Vec::new();
    for machine in Machine::all().into_iter().filter(|it| it.name != "noiommu") {
        let sim = SimKernel::new(machine.clone());
        let vfio = Arc::new(Vfio::on(Arc::new(sim), Registry::linked()?));
        for device in machine.groups.iter().flat_map(|group| &group.devices) {
            let bdf = device.bdf.parse()?;
            let rig =
                Rig::open(&vfio, bdf).with_context(|| format!("open {bdf} of {}", machine.name))?;
            trials.extend(suites::trials(&format!("{}: {bdf}: ", machine.name), rig));
        }
    }
    Ok(trials)
}
