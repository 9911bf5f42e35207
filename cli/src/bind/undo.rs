//! `vfioctl unbind`: what was bound goes back to what it had.

use vfio_core::host::{self, Bdf, PciDevice};
use vfio_core::kernel::Kernel;
use vfio_core::{Error, ErrorKind, Result};

use super::carry_out::{Move, carry_out};
use super::choose::refusal;
use super::failure::{self, Failure, Outcome};
use super::in_use::Uses;
use super::next::renewal;
use super::plan::{Binding, Goal, Taker, drivers, is_of_vfio};
use super::record::{self, Record};
use super::report::{Report, Row};
use super::state::State;
use super::{How, persist, pseries};
use crate::bdf;
use crate::host::Host;
use crate::output::Output;
use crate::status::Status;

/// Give devices back to the kernel
///
/// Each device goes back to the driver and the driver_override that it had when `vfioctl bind` took it; one that something
/// else has bound goes to whichever driver of the kernel's own takes it. Either all devices go, or none.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  vfioctl --sim x86_64 unbind 0000:00:05.0")]
pub(crate) struct Args {
    /// The devices, as 0000:00:1f.2
    #[arg(required = true, add = bdf::completer())]
    bdf: Vec<Bdf>,
    /// Unbind all the same a device that a process has open, which waits until it is closed, and one that is not the first
    /// of its group to go back to a kernel that would not survive it
    #[arg(long)]
    force: bool,
    /// Do not bind them when the host starts any more
    #[arg(long)]
    persist: bool,
    #[command(flatten)]
    how: How,
}

impl Args {
    /// Whether it is done, and not only shown.
    pub(crate) fn changes_the_host(&self) -> bool {
        !self.how.dry_run
    }
}

pub(crate) fn run(host: &Host, out: &mut Output, args: &Args) -> anyhow::Result<Status> {
    let mut report = Report::new(host);
    let mut commands = Vec::new();
    let outcome = unbind(host, args, &mut report, &mut commands);
    super::print(out, &commands)?;
    let (status, report) = report.close(outcome);
    report.tell(host, out, args.how.json)?;
    Ok(status)
}

impl Args {
    /// This command, as it was typed.
    fn command(&self) -> String {
        let options = [(self.force, " --force"), (self.persist, " --persist")];
        let given = options.into_iter().filter(|(given, _)| *given);
        let options: String = given.map(|(_, option)| option).collect();
        let names: Vec<_> = self.bdf.iter().map(ToString::to_string).collect();
        format!("vfioctl unbind{options} {}", names.join(" "))
    }
}

/// Unbinds, or answers in `commands` what would.
pub(super) fn unbind(
    host: &Host,
    args: &Args,
    report: &mut Report,
    commands: &mut Vec<String>,
) -> Outcome<()> {
    let kernel = &**host.vfio.kernel();
    let command = args.command();
    let failed = |error: &Error| Failure::of(error, kernel, &command);
    let state = args.how.state(host);

    let devices = present(kernel, args).map_err(|error| failed(&error))?;
    let mut moves = Vec::new();
    let mut findings = Vec::new();
    for device in &devices {
        let record = state.as_ref().and_then(|it| record::of(it, device, report));
        let planned = planned(kernel, device, record, report).map_err(|error| failed(&error))?;
        if let Some(planned) = planned {
            let uses = Uses::by_processes(kernel, device);
            findings.extend(refusal(device, uses, args.force, report));
            let going_back: Vec<_> = moves.iter().map(|it: &Move| it.bdf).collect();
            let other = pseries::second_of_group(kernel, device, &going_back);
            let other = other.filter(|_| !args.force);
            findings.extend(other.map(|other| failure::second_of_group(device, &other)));
            moves.push(planned);
        }
    }
    if !findings.is_empty() {
        return Err(Failure::refused(findings));
    }

    if args.how.dry_run {
        let writes = moves.iter().flat_map(Move::writes);
        commands.extend(writes.map(|write| write.to_string()));
        if let Some(state) = state.filter(|_| args.persist) {
            let files = persist::files(&state, &[], &args.bdf).map_err(|error| failed(&error))?;
            commands.extend(files.iter().map(ToString::to_string));
        }
        return Ok(());
    }

    let drivers =
        carry_out(kernel, &moves).map_err(|error| Failure::of_moves(&error, kernel, &command))?;
    let rows = devices.iter().map(|it| Row::new(kernel, it, &drivers));
    report.devices = rows.collect();
    if let Some(state) = &state {
        forget(kernel, state, args, report).map_err(|error| failed(&error))?;
    }
    Ok(())
}

/// The devices that are there, each once. One that is gone may still be one that is bound when the host starts.
fn present(kernel: &dyn Kernel, args: &Args) -> Result<Vec<PciDevice>> {
    let mut devices: Vec<PciDevice> = Vec::new();
    for bdf in &args.bdf {
        match host::device(kernel, *bdf) {
            Err(error) if error.kind() == ErrorKind::NoSuchDevice && args.persist => {}
            Err(error) => return Err(error),
            Ok(device) if devices.iter().any(|it| it.bdf == *bdf) => drop(device),
            Ok(device) => devices.push(device),
        }
    }
    Ok(devices)
}

/// What is to become of a device; `None` if VFIO has nothing to do with it.
fn planned(
    kernel: &dyn Kernel,
    device: &PciDevice,
    record: Option<Record>,
    report: &mut Report,
) -> Result<Option<Move>> {
    let bdf = device.bdf;
    let before = Binding::read(kernel, bdf)?;
    let is_vfio = |name: &Option<String>| name.as_deref().is_some_and(is_of_vfio);
    let goal = match record.map(|record| record.before()) {
        None if !is_vfio(&before.driver) && !is_vfio(&before.only) => return Ok(None),
        None => Goal {
            taker: Taker::Own,
            only: None,
        },
        Some(had) => {
            let gone = had.driver.as_ref();
            let gone = gone.filter(|driver| kernel.list(&drivers().join(driver)).is_err());
            let taker = gone.map(|driver| {
                let warning = format!("{bdf}: {driver}, which had it, is not loaded any more");
                report.warnings.push(warning);
                Taker::Own
            });
            let goal = Goal::as_before(&had);
            Goal {
                taker: taker.unwrap_or(goal.taker),
                ..goal
            }
        }
    };
    Ok(Some(Move { bdf, before, goal }))
}

/// Takes away what would be undone or bound again.
fn forget(kernel: &dyn Kernel, state: &State, args: &Args, report: &mut Report) -> Result<()> {
    for bdf in &args.bdf {
        Record::remove(state, *bdf)?;
    }
    if args.persist {
        persist::change(state, &[], &args.bdf)?;
        report.persistent = Some(false);
        report.next.push(renewal(kernel));
        return Ok(());
    }
    for bdf in &args.bdf {
        if persist::has(state, *bdf)? {
            report.next.push(format!(
                "it is bound again when the host starts, unless: vfioctl unbind --persist {bdf}"
            ));
        }
    }
    Ok(())
}
