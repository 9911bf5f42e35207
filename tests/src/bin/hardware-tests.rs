//! Tests VFIO on this machine with devices of this machine.
//!
//! The devices must be bound to a VFIO driver and used by nobody. Nothing is written to a disk.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Parser;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use vfio_core::Vfio;
use vfio_core::host::{self, Bdf, PciDevice};
use vfio_core::iommu::Registry;
use vfio_core::kernel::{Kernel, Linux};
use vfio_sim::{Machine, SimKernel};
use vfio_tests::conformance::Conformance;
use vfio_tests::contract::{self, Which};
use vfio_tests::devices::Model;
use vfio_tests::differential::Comparison;
use vfio_tests::suites::{self, Rig};
use vfio_tests::{assigned, compared, exit, header, numbers, recording, simulated};

// Linked in to be chosen.
use iommu_spapr as _;
use iommu_type1 as _;

/// Test VFIO on this machine with devices that are bound to it
///
/// A device that there is a driver for (QEMU's edu, any NVMe controller) does DMA and raises interrupts;
/// any other is attached, its regions are read, its interrupts fired by the kernel. Nothing is written to
/// a disk. Some cases are about two devices: the other one is another that is named.
///
/// QEMU's edu drops address bits unless it is plugged in with `dma_mask=0xffffffffffffffff`.
///
/// Exit status: 0 every case passed; 1 a case failed, or there is no VFIO, no such device, or it cannot be
/// used; 2 the command line is wrong; 3 not permitted; 4 the kernel answered something else.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// A device, such as 0000:00:04.0; on a simulated machine, without it, every device that is bound to VFIO
    #[arg(long = "device", value_name = "BDF", required_unless_present_any = ["sim", "compare", "conformance", "check", "numbers"])]
    devices: Vec<Bdf>,

    /// Test a simulated machine instead of this host: no hardware, no rights and no VFIO are needed
    #[arg(long, value_name = "MACHINE", value_parser = machine_parser())]
    sim: Option<Machine>,

    /// Use this backend and no other, such as type1 or "sPAPR v1"
    #[arg(long, value_name = "NAME")]
    backend: Option<String>,

    /// Run what every backend must do alike, instead of what the device can do: mappings, rights, lives, drops in
    /// every order, threads. The device is opened dozens of times
    #[arg(long)]
    contract: bool,

    /// Of that, run what takes long or much instead: as many mappings as there can be, 256 MiB of locked pages with 4 KiB
    #[arg(long, requires = "contract")]
    long: bool,

    /// Give the device to a guest that is written down, instead of what the device can do: config space, BARs, ROM, sleep
    /// and resets as the guest sees them
    #[arg(long, conflicts_with = "contract")]
    assigned: bool,

    /// Make so many random calls on this host and on the simulated machine of that name, and compare what comes of
    /// them. Every device that is bound to a VFIO driver takes part
    #[arg(long, value_name = "CALLS", requires = "as_machine", conflicts_with_all = ["sim", "devices"])]
    compare: Option<usize>,

    /// Ask this host and the simulated machine of that name everything that the page of kernel behaviours says. Every
    /// device that is bound to a VFIO driver takes part; with --sim, the simulated machine is asked alone
    #[arg(long, conflicts_with_all = ["compare", "devices"])]
    conformance: bool,

    /// As root, compare every number and every yes or no that `vfioctl probe` prints on this host with what the kernel
    /// says. The program must be in PATH, and a device bound to a VFIO driver and used by nobody
    #[arg(long, conflicts_with_all = ["sim", "devices", "compare", "conformance", "check", "record"])]
    numbers: bool,

    /// The simulated machine that this host is compared with
    #[arg(long, value_name = "MACHINE", value_parser = machine_parser())]
    as_machine: Option<Machine>,

    /// Where the random numbers of --compare start; without it, anywhere
    #[arg(long, value_name = "NUMBER", requires = "compare")]
    seed: Option<u64>,

    /// Write to that file what VFIO answers about the devices, without secrets: somebody who does not have them can
    /// compare the simulation with it. Nothing is written to a device, and no case is run
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,

    /// Compare the simulation with what was recorded in that file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["sim", "devices", "compare", "record"])]
    check: Option<PathBuf>,

    /// Print the names of the cases and run none
    #[arg(long)]
    list: bool,

    /// Run only the cases whose names contain this
    filter: Option<String>,
}

fn machine_parser() -> impl TypedValueParser<Value = Machine> {
    PossibleValuesParser::new(Machine::all().map(|machine| machine.name))
        .try_map(|name| Machine::named(&name).ok_or("it has no description"))
}

fn main() -> ExitCode {
    let args = Args::parse();
    let status = run(&args).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        if args.sim.is_none() {
            advise(&error);
        }
        exit::status(&error)
    });
    ExitCode::from(status)
}

/// Says what is wrong with this host, and what to do, as far as that is known.
fn advise(error: &anyhow::Error) {
    let error = error.downcast_ref::<vfio_core::Error>();
    if let Some(diagnosis) = error.and_then(|error| error.diagnose(&Linux)) {
        eprintln!("{} {}: {}", diagnosis.code, diagnosis.name, diagnosis.cause);
        for remedy in diagnosis.remedies {
            eprintln!("  {remedy}");
        }
    }
}

fn run(args: &Args) -> Result<u8> {
    let mut registry = Registry::linked()?;
    if let Some(name) = &args.backend {
        match registry.only(name) {
            Ok(only) => registry = only,
            Err(error) => {
                eprintln!("error: {error}");
                return Ok(exit::USAGE);
            }
        }
    }
    if let (Some(calls), Some(machine)) = (args.compare, &args.as_machine) {
        let comparison = Comparison {
            real: Arc::new(Linux),
            machine: machine.clone(),
            calls,
            seed: args.seed.unwrap_or_else(|| fastrand::u64(..)),
        };
        return Ok(match comparison.run()? {
            0 => exit::PASSED,
            _ => exit::FINDINGS,
        });
    }
    if args.conformance {
        let conformance = match (&args.sim, &args.as_machine) {
            (Some(machine), _) => Conformance::simulated(machine.clone()),
            (None, Some(machine)) => Conformance::of(Arc::new(Linux), machine)?,
            (None, None) => {
                eprintln!("error: --conformance: say --sim MACHINE or --as-machine MACHINE");
                return Ok(exit::USAGE);
            }
        };
        return Ok(
            match conformance.run(args.filter.as_deref().unwrap_or_default()) {
                0 => exit::PASSED,
                _ => exit::FINDINGS,
            },
        );
    }
    if let Some(file) = &args.check {
        return check(file);
    }
    if args.numbers {
        let arguments = suites::arguments(args.filter.as_deref());
        let conclusion = libtest_mimic::run(&arguments, numbers::trials("vfioctl"));
        return Ok(match conclusion.has_failed() {
            true => exit::FINDINGS,
            false => exit::PASSED,
        });
    }
    let kernel: Arc<dyn Kernel> = match &args.sim {
        Some(machine) => {
            if !args.list {
                simulated(&machine.name);
            }
            Arc::new(SimKernel::new(machine.clone()))
        }
        None => Arc::new(Linux),
    };
    let devices = match args.devices.as_slice() {
        [] => bound_to_vfio(&*kernel)?,
        named => named.to_vec(),
    };
    if let Some(file) = &args.record {
        let text = recording::record(kernel, &devices)?;
        std::fs::write(file, text).with_context(|| file.display().to_string())?;
        return Ok(exit::PASSED);
    }
    let vfio = Arc::new(Vfio::on(kernel, registry));
    let filter = args.filter.as_deref();
    let mut status = exit::PASSED;
    let which = match args.long {
        true => Which::Long,
        false => Which::Short,
    };
    for device in devices.iter().copied() {
        let mut arguments = suites::arguments(filter);
        let trials = if args.list {
            arguments.list = true;
            match args.contract {
                true => contract::names(which),
                false if args.assigned => assigned::names(),
                false => suites::names(Model::of(&host::device(&**vfio.kernel(), device)?)),
            }
        } else if args.contract {
            header(&Rig::open(&vfio, device)?)?;
            contract::trials(which, "", &vfio, device)
        } else if args.assigned {
            header(&Rig::open(&vfio, device)?)?;
            assigned::trials("", &vfio, device)?
        } else {
            let rig = Rig::open(&vfio, device)?.beside(&devices);
            header(&rig)?;
            suites::trials("", rig)
        };
        if libtest_mimic::run(&arguments, trials).has_failed() {
            status = exit::FINDINGS;
        }
    }
    Ok(status)
}

/// Replays a trace on the simulation, and prints what differs.
fn check(file: &Path) -> Result<u8> {
    let again = match recording::check_file(file) {
        Ok(again) => again,
        Err(error) => {
            eprintln!("error: {error:#}");
            return Ok(exit::USAGE);
        }
    };
    compared(&again);
    Ok(match again.is_same() {
        true => exit::PASSED,
        false => exit::FINDINGS,
    })
}

/// Every device that could be tested, in the order of the groups.
fn bound_to_vfio(kernel: &dyn Kernel) -> Result<Vec<Bdf>> {
    let groups = host::groups(kernel)?;
    let members = groups.iter().flat_map(|group| &group.devices);
    let bound = members.filter(|device| PciDevice::is_bound_to_vfio(device));
    Ok(bound.map(|device| device.bdf).collect())
}
