//! What the doctor found, for people.

use std::io;

use crate::finding::{Finding, NotFoundOut};
use crate::output::Output;

use super::report::{DeviceReport, Report};

pub(super) fn print(report: &Report, out: &mut Output) -> io::Result<()> {
    let about = &report.about;
    out.line(format_args!(
        "host  Linux {} on {}",
        about.kernel, about.architecture
    ))?;
    findings(&report.findings, &report.unknown, out)?;
    for device in &report.devices {
        out.line("")?;
        print_device(device, out)?;
    }
    if report.devices.is_empty() {
        out.line("")?;
        if report.ready {
            out.line("nothing is wrong with the host")?;
        }
        out.line("no device is bound to a VFIO driver: `vfioctl groups` lists what there is, `vfioctl doctor BDF` looks at one")?;
    }
    Ok(())
}

fn print_device(report: &DeviceReport, out: &mut Output) -> io::Result<()> {
    let device = &report.device;
    let driver = device.driver.as_deref().unwrap_or("no driver");
    let group = report
        .group
        .map_or("no group".to_owned(), |id| format!("group {id}"));
    out.line(format_args!(
        "{}  {}  {group}  {driver}",
        device.bdf,
        device.title()
    ))?;
    findings(&report.findings, &report.unknown, out)?;
    match &report.command {
        None => out.verdict(false, "not ready"),
        Some(command) => {
            let ready = match report.is_limited() {
                true => "ready, with what is said above",
                false => "ready",
            };
            out.verdict(true, ready)?;
            out.line(format_args!("  to try it: vfioctl selftest {}", device.bdf))?;
            out.line(format_args!("  to use it: {command}"))
        }
    }
}

fn findings(findings: &[Finding], unknown: &[NotFoundOut], out: &mut Output) -> io::Result<()> {
    for finding in findings {
        out.finding(finding)?;
    }
    for one in unknown {
        out.line(format_args!(
            "not found out: {} {}: {}",
            one.code, one.name, one.why
        ))?;
    }
    Ok(())
}
