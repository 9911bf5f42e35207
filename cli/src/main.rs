//! `vfioctl`: what this host's IOMMU can do, why a device cannot be assigned, and what to do now.

mod answer;
mod bdf;
mod completions;
mod device;
mod doctor;
mod finding;
mod format;
mod groups;
mod host;
mod man;
mod names;
mod output;
mod probe;
mod schema;
mod selftest;
mod size;
mod status;
mod watch;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::CompleteEnv;
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
    Watch(watch::Args),
    Selftest(selftest::Args),
    Schema(schema::Args),
    Completions(completions::Args),
    Man(man::Args),
}

fn main() -> ExitCode {
    // Where a shell asks for completions, this answers and ends.
    CompleteEnv::with_factory(Args::command)
        .var(completions::VARIABLE)
        .complete();
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
        Command::Watch(args) => watch::run(host, &mut out, args),
        Command::Schema(args) => schema::run(&mut out, args),
        Command::Completions(args) => completions::run(&mut out, args),
        Command::Man(args) => man::run(&mut out, args),
        Command::Selftest(args) => selftest::run(host, &mut out, args),
    }
}

fn fail(error: &anyhow::Error, kernel: &dyn Kernel) -> Status {
    output::complain(error, kernel);
    Status::of(error)
}
