//! `vfioctl`: what this host's IOMMU can do, and whether a device can be assigned.

mod finding;
mod output;
mod probe;
mod selftest;
mod status;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use vfio_core::Vfio;
use vfio_core::host::Bdf;
// The compiler drops a crate that nobody names, and its backends with it.
use {iommu_spapr as _, iommu_type1 as _};

use output::Output;
use status::Status;

/// What this host's IOMMU can do, and whether a device can be assigned
///
/// Exit status: 0 answered and fine; 1 findings; 2 usage; 3 not permitted; 4 kernel or I/O error.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
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
    let args = Args::parse();
    let mut out = Output::default();
    let done = Vfio::new()
        .map_err(anyhow::Error::from)
        .and_then(|vfio| match args.command {
            Command::Probe { json, verify } => probe::run(&vfio, &mut out, verify, json),
            Command::Selftest { bdf } => selftest::run(&vfio, &mut out, bdf),
        });
    done.unwrap_or_else(|error| {
        output::complain(&error);
        Status::of(&error)
    })
    .into()
}
