//! The suites that `hardware-tests` runs on real devices, run on simulated ones: the same cases, from the same
//! source, on every machine.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use libtest_mimic::{Arguments, Trial};
use vfio_core::host::Bdf;
use vfio_core::iommu::Registry;
use vfio_core::{ErrorKind, Vfio};
use vfio_sim::machine::{Device, Group, Hardware};
use vfio_sim::{Machine, SimKernel};
use vfio_tests::contract::{self, Which};
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

/// The cases of endpoints, on hardware that freezes them, as no machine of the lab does.
fn with_freezing_hardware() -> Result<Vec<Trial>> {
    let machine = Machine::powernv9().freezing();
    let mut trials = Vec::new();
    for registration in [iommu_spapr::SPAPR_V1, iommu_spapr::SPAPR_V2] {
        for device in machine.groups.iter().flat_map(|group| &group.devices) {
            let vfio = vfio(&machine, Registry::of([registration])?);
            let rig = Rig::open(&vfio, device.bdf.parse()?)?;
            let prefix = format!("freezing: {}: {}: ", device.bdf, registration.name);
            let cases = suites::trials(&prefix, rig);
            trials.extend(
                cases
                    .into_iter()
                    .filter(|it| it.name().contains("endpoint")),
            );
        }
    }
    Ok(trials)
}

/// The cases of every device of every machine that has an IOMMU.
fn trials() -> Result<Vec<Trial>> {
    let mut trials = Vec::new();
    for machine in Machine::all().into_iter().filter(|it| it.name != "noiommu") {
        let devices = machine.groups.iter().flat_map(|group| &group.devices);
        let devices = devices.map(|device| Ok(device.bdf.parse()?));
        let devices = devices.collect::<Result<Vec<Bdf>>>()?;
        for &bdf in &devices {
            for registration in Registry::linked()?.iter() {
                let only = Registry::of([*registration])?;
                let vfio = vfio(&machine, only);
                if matches!(vfio.open(bdf), Err(error) if error.kind() == ErrorKind::NoBackend) {
                    continue; // not one of this machine's
                }
                let prefix = format!("{}: {bdf}: {}: ", machine.name, registration.name);
                trials.extend(contract::trials(Which::Short, &prefix, &vfio, bdf));
            }
            let vfio = vfio(&machine, Registry::linked()?);
            let rig =
                Rig::open(&vfio, bdf).with_context(|| format!("open {bdf} of {}", machine.name))?;
            let rig = rig.beside(&devices);
            trials.extend(suites::trials(&format!("{}: {bdf}: ", machine.name), rig));
        }
    }
    trials.extend(with_kvm()?);
    trials.extend(with_freezing_hardware()?);
    trials.extend(with_few_mappings()?);
    trials.extend(with_shared_memory()?);
    Ok(trials)
}

/// What KVM has to do with it, on every machine that is given one.
fn with_kvm() -> Result<Vec<Trial>> {
    // One of those with a BAR that is memory, on small pages and on large ones.
    let with_memory = [Machine::x86_64(), Machine::pseries()].map(|machine| Machine {
        name: format!("{} with a BAR of memory", machine.name),
        ..machine.with_devices([Device::assorted("0000:00:04.0")])
    });
    let all = Machine::all().into_iter().chain(with_memory);
    let mut trials = Vec::new();
    for machine in all.filter(|it| it.name != "noiommu") {
        let devices = machine.groups.iter().flat_map(|group| &group.devices);
        let devices = devices.map(|device| Ok(device.bdf.parse()?));
        let devices = devices.collect::<Result<Vec<Bdf>>>()?;
        let prefix = format!("{} with KVM: ", machine.name);
        let vfio = vfio(&machine.with_kvm(), Registry::linked()?);
        let of_kvm =
            suites::trials(&prefix, Rig::open(&vfio, devices[0])?.beside(&devices)).into_iter();
        trials.extend(of_kvm.filter(|trial| trial.name().contains(": kvm_")));
    }
    Ok(trials)
}

/// What takes a BAR of memory: on no other machine has one an address.
fn with_shared_memory() -> Result<Vec<Trial>> {
    let mut machine = Machine::x86_64();
    let (engine, memory) = ("0000:00:04.0", "0000:00:06.0");
    let shared = Device {
        device: 0x1110, // QEMU's ivshmem
        ..Device::assorted(memory)
    };
    machine.groups.push(Group::new(4, [shared]));
    let vfio = vfio(&machine, Registry::linked()?);
    let rig = Rig::open(&vfio, engine.parse()?)?.beside(&[memory.parse()?]);
    let mut trials = suites::trials("x86_64 with shared memory: ", rig);
    trials.retain(|trial| trial.name().ends_with("_reaches_another_devices_memory"));
    Ok(trials)
}

/// What takes as many mappings as there are, where there are few.
fn with_few_mappings() -> Result<Vec<Trial>> {
    let mut machine = Machine::x86_64();
    for iommu in &mut machine.iommus {
        if let Hardware::Type1(type1) = &mut iommu.hardware {
            type1.entry_limit = 100;
        }
    }
    let vfio = vfio(&machine, Registry::linked()?);
    let bdf = "0000:00:04.0".parse()?;
    let prefix = "x86_64 with few mappings: ";
    Ok(contract::trials(Which::Long, prefix, &vfio, bdf))
}

fn vfio(machine: &Machine, registry: Registry) -> Arc<Vfio> {
    let sim = SimKernel::new(machine.clone());
    Arc::new(Vfio::on(Arc::new(sim), registry))
}
