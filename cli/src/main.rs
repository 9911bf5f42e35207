//! `vfioctl`: what this host's IOMMU can do, why a device cannot be assigned, and what to do now.

mod answer;
mod device;
mod doctor;
mod finding;
mod groups;
mod host;
mod names;
mod output;
mod probe;
mod selftest;
mod size;
mod status;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use vfio_core::kernel::{Kernel, Linux};
use vfio_sim::Machine;
// The compiler drops a crate that nobody names, and its backends with it.
use {iommu_spapr as _, iommu_type1 as _};

use host::Host;
use output::Output;
use status::Status;

/// What this host's IOMMU can do, why a device cannot be assigned, and what to do now
///
/// Exit status: 0 answered and fine; 1 findings; 2 usage; 3 not permitted; 4 kernel or I/O error.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Answer for a simulated machine instead of this host: no hardware, no rights and no VFIO are needed
    #[arg(long, global = true, value_name = "MACHINE", value_parser = host::machine_parser())]
    sim: Option<Machine>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Probe(probe::Args),
    Groups(groups::Args),
    Device(device::Args),
    Doctor(doctor::Args),
    Selftest(selftest::Args),
}

fn main() -> ExitCode {
    let Args { sim, command } = Args::parse();
    match Host::new(sim) {
        Ok(host) => {
            run(&host, &command).unwrap_or_else(|error| fail(&error, &**host.vfio.kernel()))
        }
        Err(error) => fail(&error.into(), &Linux),
    }
    .into()
}

fn run(host: &Host, command: &Command) -> anyhow::Result<Status> {
    let mut out = Output::default();
    match command {
        Command::Probe(args) => probe::run(host, &mut out, args),
        Command::Groups(args) => groups::run(host, &mut out, args),
        Command::Device(args) => device::run(host, &mut out, args),
        Command::Doctor(args) => doctor::run(host, &mut out, args),
        Command::Selftest(args) => selftest::run(host, &mut out, args),
    }
}

fn fail(error: &anyhow::Error, kernel: &dyn Kernel) -> Status {
    output::complain(error, kernel);
    Status::of(error)
}
