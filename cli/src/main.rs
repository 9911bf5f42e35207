//! `vfioctl`: what this host's IOMMU can do, and whether a device can be assigned.

mod finding;
mod host;
mod output;
mod probe;
mod selftest;
mod status;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use vfio_core::host::Bdf;
use vfio_core::kernel::{Kernel, Linux};
use vfio_sim::Machine;
// The compiler drops a crate that nobody names, and its backends with it.
use {iommu_spapr as _, iommu_type1 as _};

use host::Host;
use output::Output;
use status::Status;

/// What this host's IOMMU can do, and whether a device can be assigned
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
    /// Ask the kernel what its IOMMU can do; attaches nothing
    Probe {
        /// Print JSON for programs
        #[arg(long)]
        json: bool,
        /// Put an idle group that is bound to VFIO into a container for each backend in turn, ask what
        /// only then can be asked, and release it; without GROUP, the first such group
        #[arg(long, value_name = "GROUP", num_args = 0..=1, require_equals = true)]
        verify: Option<Option<u32>>,
    },
    /// Attach a device, map a buffer for it and unmap it; the device itself does nothing
    Selftest {
        /// The device, as 0000:00:1f.2
        bdf: Bdf,
    },
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
    match *command {
        Command::Probe { json, verify } => probe::run(host, &mut out, verify, json),
        Command::Selftest { bdf } => selftest::run(host, &mut out, bdf),
    }
}

fn fail(error: &anyhow::Error, kernel: &dyn Kernel) -> Status {
    output::complain(error, kernel);
    Status::of(error)
}
