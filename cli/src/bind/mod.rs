//! `vfioctl bind` and `vfioctl unbind`: devices go to a driver of VFIO's, and come back.
//!
//! - `plan`: the writes as data; `carry_out`: all of them, or none.
//! - `choose`: which devices, and whether they may be had; `in_use`: what of the host would lose a device.
//! - `modules`: the driver is loaded. `pseries`: what ends a kernel.
//! - `record`, `persist`: what outlives this program, in files that `state` writes.
//! - `failure`, `report`, `next`: what is told.

mod carry_out;
mod choose;
mod failure;
mod in_use;
mod modules;
mod next;
/// The one of the core's own tests.
#[cfg(test)]
#[allow(dead_code)] // what they need it for beside this
#[path = "../../../vfio-core/tests/simulated/overlay.rs"]
mod overlay;
mod persist;
mod plan;
mod pseries;
mod record;
pub(crate) mod report;
mod state;
#[cfg(test)]
mod tests;
mod undo;

use std::collections::BTreeSet;
use std::path::PathBuf;

use vfio_core::host::Bdf;
use vfio_core::kernel::Kernel;
use vfio_core::{Error, Result};

use crate::bdf;
use crate::host::Host;
use crate::output::Output;
use crate::status::Status;
use carry_out::{Move, carry_out};
use choose::{check, chosen, has_group};
use failure::{Failure, Outcome};
use plan::{Binding, Goal};
use report::{Report, Row};
use state::State;

pub(crate) use undo::{Args as UnbindArgs, run as run_unbind};

/// Give devices to VFIO
///
/// Each device goes to the driver by its driver_override; a module that is not loaded is loaded with modprobe. Either all
/// devices go, or everything is put back as it was. What they had is written down in /run/vfioctl for `vfioctl unbind`.
///
/// A bridge is refused, and so is a device that the host uses: a mounted disk, swap, a route, the display, an open node.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  vfioctl --sim x86_64 bind --group 0000:00:05.0")]
pub(crate) struct Args {
    /// The devices, as 0000:00:1f.2
    #[arg(required = true, add = bdf::completer())]
    bdf: Vec<Bdf>,
    /// The driver: a variant of vfio-pci for that device
    #[arg(long, value_name = "NAME", default_value = "vfio-pci", value_parser = vfio_driver)]
    driver: String,
    /// Bind every other device of their groups too, but bridges
    #[arg(long)]
    group: bool,
    /// Bind a device that is in use all the same: whoever uses it loses it. Not one with the root file system or swap,
    /// without which the host cannot go on, nor give it back
    #[arg(long)]
    force: bool,
    /// Bind them whenever the host starts: /etc/vfioctl/devices, and a udev rule
    #[arg(long)]
    persist: bool,
    #[command(flatten)]
    how: How,
}

/// How it is done and told.
#[derive(Debug, clap::Args)]
struct How {
    /// Print the shell's commands that would do the same, and change nothing
    #[arg(long, conflicts_with = "json")]
    dry_run: bool,
    /// Print JSON for programs
    #[arg(long)]
    json: bool,
    /// The root of the tree in which files are kept
    #[arg(long, value_name = "DIR", hide = true)]
    state: Option<PathBuf>,
}

impl Args {
    /// Whether it is done, and not only shown.
    pub(crate) fn changes_the_host(&self) -> bool {
        !self.how.dry_run
    }
}

impl How {
    /// Where files are kept. A simulated machine ends with this program, and has nowhere to keep any; those of a captured
    /// host are elsewhere.
    fn state(&self, host: &Host) -> Option<State> {
        let is_here = host.simulated.is_none() && host.captured.is_none();
        let on_host = || is_here.then(|| PathBuf::from("/"));
        self.state.clone().or_else(on_host).map(State)
    }
}

/// Whether that can be a driver's name, which becomes part of paths and of udev's rules.
fn is_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    !name.is_empty() && name.bytes().all(allowed)
}

fn vfio_driver(name: &str) -> std::result::Result<String, &'static str> {
    match is_name(name) && plan::is_of_vfio(name) {
        true => Ok(name.to_owned()),
        false => Err("it is no driver of VFIO's: they have vfio in their names"),
    }
}

pub(crate) fn run(host: &Host, out: &mut Output, args: &Args) -> anyhow::Result<Status> {
    let mut report = Report::new(host);
    let mut commands = Vec::new();
    let outcome = bind(host, args, &mut report, &mut commands);
    print(out, &commands)?;
    let (status, report) = report.close(outcome);
    report.tell(host, out, args.how.json)?;
    Ok(status)
}

/// Prints the shell's commands, some of which have several lines.
fn print(out: &mut Output, commands: &[String]) -> std::io::Result<()> {
    let mut lines = commands.iter().flat_map(|it| it.lines());
    lines.try_for_each(|line| out.line(line))
}

impl Args {
    /// This command, as it was typed.
    fn command(&self) -> String {
        let mut words = vec!["vfioctl bind".to_owned()];
        if self.driver != "vfio-pci" {
            words.push(format!("--driver {}", self.driver));
        }
        let options = [
            (self.group, "--group"),
            (self.force, "--force"),
            (self.persist, "--persist"),
        ];
        let given = options.into_iter().filter(|(given, _)| *given);
        words.extend(given.map(|(_, option)| option.to_owned()));
        words.extend(self.bdf.iter().map(ToString::to_string));
        words.join(" ")
    }
}

/// Binds, or answers in `commands` what would.
fn bind(host: &Host, args: &Args, report: &mut Report, commands: &mut Vec<String>) -> Outcome<()> {
    let kernel = &**host.vfio.kernel();
    let command = args.command();
    let failed = |error: &Error| Failure::of(error, kernel, &command);
    let state = args.how.state(host);

    let devices = chosen(kernel, &args.bdf, args.group).map_err(|error| failed(&error))?;
    let loaded = modules::loaded(kernel, &args.driver);
    let driver = loaded.clone().unwrap_or_else(|| args.driver.clone());
    let to_move = devices.iter();
    let to_move: Vec<_> = to_move
        .filter(|device| device.driver.as_ref() != Some(&driver))
        .collect();
    check(kernel, &to_move, args.force, report)?;
    for device in &to_move {
        has_group(kernel, device).map_err(|error| failed(&error))?;
    }

    let driver = match loaded {
        None if args.how.dry_run => {
            commands.extend(modules::to_load(kernel, &driver).map(|it| format!("modprobe {it}")));
            driver
        }
        None if !to_move.is_empty() => modules::load(host, &driver, report)?,
        _ => driver,
    };
    let moves = to_move.iter().map(|device| {
        Ok(Move {
            bdf: device.bdf,
            before: Binding::read(kernel, device.bdf)?,
            goal: Goal::bound_to(&driver),
        })
    });
    let moves: Vec<_> = moves
        .collect::<Result<_>>()
        .map_err(|error| failed(&error))?;
    let entries = devices.iter().map(|it| persist::Entry::new(it, &driver));
    let entries: Vec<_> = entries.filter(|_| args.persist).collect();

    if args.how.dry_run {
        let writes = moves.iter().flat_map(Move::writes);
        commands.extend(writes.map(|write| write.to_string()));
        if let Some(state) = state.filter(|_| args.persist) {
            let files = persist::files(&state, &entries, &[]).map_err(|error| failed(&error))?;
            commands.extend(files.iter().map(ToString::to_string));
        }
        return Ok(());
    }

    let kept = state.as_ref().map(|state| {
        let kept = record::keep(state, &to_move, &moves, &driver, report)?;
        Ok((state, kept))
    });
    let kept = kept.transpose().map_err(|error| failed(&error))?;
    let drivers = carry_out(kernel, &moves).map_err(|error| {
        // What could not be put back can be undone by its record yet.
        if let Some((state, kept)) = kept.filter(|_| error.left.is_empty()) {
            record::restore(state, &kept, report);
        }
        Failure::of_moves(&error, kernel, &command)
    })?;

    let rows = devices.iter().map(|it| Row::new(kernel, it, &drivers));
    report.devices = rows.collect();
    let groups: BTreeSet<_> = report.devices.iter().filter_map(|it| it.group).collect();
    for group in groups {
        report.next.extend(next::for_group(kernel, group));
    }
    if args.persist {
        match &state {
            Some(state) => keep(kernel, state, &entries, report).map_err(|error| failed(&error))?,
            None => report
                .warnings
                .push("a simulated machine does not start again".to_owned()),
        }
    }
    Ok(())
}

/// Has the devices bound whenever the host starts.
fn keep(
    kernel: &dyn Kernel,
    state: &State,
    entries: &[persist::Entry],
    report: &mut Report,
) -> Result<()> {
    persist::change(state, entries, &[])?;
    report.persistent = Some(true);
    report.next.push(next::renewal(kernel));
    Ok(())
}
