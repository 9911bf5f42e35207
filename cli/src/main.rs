//! `vfioctl`: what this host's IOMMU can do, why a device cannot be assigned, and what to do now.

mod answer;
mod bdf;
mod bind;
mod capture;
mod completions;
mod device;
mod doctor;
mod explain;
mod finding;
mod format;
mod groups;
mod host;
mod man;
mod names;
mod output;
mod probe;
mod root;
mod schema;
mod selftest;
mod size;
mod status;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::CompleteEnv;
use vfio_core::kernel::{Kernel, Linux};
use vfio_sim::Machine;
// The compiler drops a crate that nobody names, and its backends with it.
use {iommu_spapr as _, iommu_type1 as _};

use host::{Host, Source};
use output::{ColorWhen, Output};
use status::Status;

/// What this host's IOMMU can do, why a device cannot be assigned, and what to do now
///
/// Exit status: 0 answered and fine; 1 findings; 2 usage; 3 not permitted; 4 kernel or I/O error.
/// A finding that only limits what a device can do leaves the status 0.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Answer for a simulated machine instead of this host: no hardware, no rights and no VFIO are needed
    #[arg(long, global = true, help_heading = "Which host, and how", value_name = "MACHINE", value_parser = host::machine_parser())]
    sim: Option<Machine>,

    /// Answer for the host that `vfioctl capture` has written there: the archive, or a directory that it was unpacked into
    #[arg(
        long,
        global = true,
        help_heading = "Which host, and how",
        value_name = "FILE-or-DIR",
        conflicts_with = "sim"
    )]
    root: Option<PathBuf>,

    /// Whether answers for people are coloured
    #[arg(
        long,
        global = true,
        help_heading = "Which host, and how",
        value_enum,
        default_value = "auto",
        value_name = "WHEN"
    )]
    color: ColorWhen,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Probe(probe::Args),
    Groups(groups::Args),
    Device(device::Args),
    Doctor(doctor::Args),
    Explain(explain::Args),
    Watch(watch::Args),
    Selftest(selftest::Args),
    Bind(bind::Args),
    Unbind(bind::UnbindArgs),
    Capture(capture::Args),
    Schema(schema::Args),
    Completions(completions::Args),
    Man(man::Args),
}

impl Command {
    /// What a captured host cannot answer: it has no device to open and to bind, and nothing happens there.
    fn needs_the_host(&self) -> Option<&'static str> {
        match self {
            Self::Probe(args) => args.opens_a_group().then_some("probe --verify"),
            Self::Device(args) => args.opens_the_device().then_some("device --open"),
            Self::Bind(args) => args.changes_the_host().then_some("bind without --dry-run"),
            Self::Unbind(args) => args
                .changes_the_host()
                .then_some("unbind without --dry-run"),
            Self::Watch(_) => Some("watch"),
            Self::Selftest(_) => Some("selftest"),
            _ => None,
        }
    }
}

fn main() -> ExitCode {
    // Where a shell asks for completions, this answers and ends.
    CompleteEnv::with_factory(Args::command)
        .var(completions::VARIABLE)
        .complete();
    let Args {
        sim,
        root,
        color,
        command,
    } = Args::parse();
    color.obey();
    if let (Some(_), Some(what)) = (&root, command.needs_the_host()) {
        let why = format!("{what} needs the host itself, and --root is one that was captured");
        let kind = clap::error::ErrorKind::ArgumentConflict;
        Args::command().error(kind, why).exit();
    }
    let source = match (sim, root) {
        (Some(machine), _) => Source::Simulated(machine),
        (None, Some(path)) => Source::Captured(path),
        (None, None) => Source::This,
    };
    match Host::new(source) {
        Ok(host) => {
            run(&host, &command).unwrap_or_else(|error| fail(&error, &**host.vfio.kernel()))
        }
        Err(error) => fail(&error, &Linux),
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
        Command::Explain(args) => explain::run(&mut out, args),
        Command::Watch(args) => watch::run(host, &mut out, args),
        Command::Schema(args) => schema::run(&mut out, args),
        Command::Completions(args) => completions::run(&mut out, args),
        Command::Man(args) => man::run(&mut out, args),
        Command::Selftest(args) => selftest::run(host, &mut out, args),
        Command::Bind(args) => bind::run(host, &mut out, args),
        Command::Unbind(args) => bind::run_unbind(host, &mut out, args),
        Command::Capture(args) => capture::run(host, args),
    }
}

fn fail(error: &anyhow::Error, kernel: &dyn Kernel) -> Status {
    output::complain(error, kernel);
    Status::of(error)
}
