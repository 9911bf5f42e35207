//! `vfioctl doctor`: why a device cannot be assigned, and what to do.

pub(crate) mod report;
mod text;

use vfio_core::diagnosis::{Examination, Examiner, Question};
use vfio_core::host::{self, Bdf, PciDevice};

use crate::bdf;
use crate::host::Host;
use crate::names::Names;
use crate::output::Output;
use crate::size::Bytes;
use crate::status::Status;
use report::{DeviceReport, Report};

/// Say why a device cannot be assigned, what shows it, and what to do; or that it is ready
///
/// Without a device: what is wrong with the host, and with each device that is bound to a VFIO driver or meant to be. Nothing
/// is opened and nothing changed; without root some things cannot be seen, and it says which.
///
/// Exit status: 0 nothing blocks (what only limits is told all the same); 1 something blocks.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  vfioctl --sim x86_64 doctor 0000:00:04.0 --guest-memory 16G")]
pub(crate) struct Args {
    /// The device, as 0000:00:1f.2
    #[arg(add = bdf::completer())]
    bdf: Option<Bdf>,
    /// How much memory the guest has that the device is for
    #[arg(long, value_name = "SIZE")]
    guest_memory: Option<Bytes>,
    /// Print JSON for programs
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(host: &Host, out: &mut Output, args: &Args) -> anyhow::Result<Status> {
    let report = ask(host, args.bdf, args.guest_memory)?;
    if args.json {
        out.json(&report)?;
    } else {
        host.announce(out)?;
        text::print(&report, out)?;
    }
    Ok(match report.ready {
        true => Status::FINE,
        false => Status::FINDINGS,
    })
}

/// What is wrong.
pub(crate) fn ask(
    host: &Host,
    bdf: Option<Bdf>,
    guest_memory: Option<Bytes>,
) -> vfio_core::Result<Report> {
    let kernel = host.kernel();
    let examiner = Examiner::of(kernel);
    let examine = |device| {
        let guest_memory = guest_memory.map(|bytes| bytes.0);
        examiner.examine(Question {
            device,
            guest_memory,
        })
    };
    let devices = match bdf {
        Some(bdf) => vec![host::device(kernel, bdf)?],
        None => wanted(host)?,
    };
    let names = Names::of(&devices);
    let general = match bdf {
        Some(_) => Examination::default(),
        None => examine(None)?,
    };
    let mut reports = Vec::new();
    for device in &devices {
        let mut examination = examine(Some(device.bdf))?;
        // What is wrong for every device is said once.
        let said = |code, cause: &str| {
            let mut findings = general.findings.iter();
            findings.any(|it| it.code == code && it.cause == cause)
        };
        examination.findings.retain(|it| !said(it.code, &it.cause));
        examination
            .unknown
            .retain(|it| !general.unknown.contains(it));
        reports.push(DeviceReport::new(
            device,
            &names,
            examination,
            kernel,
            &general,
        ));
    }
    Ok(Report::new(host.about(), general, reports))
}

/// The devices that somebody wants to assign: bound to a VFIO driver, or meant to be.
fn wanted(host: &Host) -> vfio_core::Result<Vec<PciDevice>> {
    let kernel = host.kernel();
    let mut wanted = Vec::new();
    for bdf in host::devices(kernel) {
        let meant = host::attribute(kernel, bdf, "driver_override");
        let is_meant = meant.is_some_and(|driver| driver.contains("vfio"));
        match host::device(kernel, bdf) {
            Ok(device) if is_meant || device.is_bound_to_vfio() => wanted.push(device),
            Err(error) if error.kind() != vfio_core::ErrorKind::NoSuchDevice => return Err(error),
            _ => {}
        }
    }
    Ok(wanted)
}
