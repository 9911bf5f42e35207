//! The answer for people.

use std::io;

use vfio_core::address::Size;

use crate::output::Output;

use super::report::{BackendRow, CapabilitiesRow, DeviceRow, GroupRow, Report, TriedRow};

pub(super) fn print(report: &Report, out: &mut Output) -> io::Result<()> {
    out.line(format_args!(
        "host     Linux {} on {}",
        report.kernel, report.architecture
    ))?;
    out.line(match &report.container.reason {
        None => format!("VFIO     {} is there", report.container.node),
        Some(reason) => format!("VFIO     {reason}"),
    })?;
    if let Some(group) = report.verified_with_group {
        out.line(format_args!("verified with group {group}"))?;
    }
    out.line("")?;
    for backend in &report.backends {
        print_backend(backend, out)?;
    }
    out.line("")?;
    if report.groups.is_empty() {
        out.line("no IOMMU groups")?;
    }
    for group in &report.groups {
        print_group(group, out)?;
    }
    for finding in &report.findings {
        out.line("")?;
        out.line(finding.to_string().trim_end())?;
    }
    Ok(())
}

fn print_backend(backend: &BackendRow, out: &mut Output) -> io::Result<()> {
    let mut details = backend.reason.iter().cloned().collect::<Vec<_>>();
    details.extend(backend.capabilities.iter().flat_map(describe));
    details.extend(describe_tried(&backend.windows_tried));
    let first = details.first().map_or("", String::as_str);
    let line = format!("{:<9}{:<11} {first}", backend.name, backend.state);
    out.line(line.trim_end())?;
    for detail in details.iter().skip(1) {
        out.line(format_args!("{:<20} {detail}", ""))?;
    }
    Ok(())
}

/// What a backend can do, a line each.
fn describe(capabilities: &CapabilitiesRow) -> Vec<String> {
    let sizes: Vec<_> = capabilities
        .page_sizes
        .iter()
        .map(|&size| Size(size).to_string())
        .collect();
    let mut lines = vec![format!("pages of {}", sizes.join(", "))];
    let what = match capabilities.windows {
        Some(_) => "window",
        None => "IOVA",
    };
    for aperture in &capabilities.apertures {
        let (first, last) = (&aperture.first, &aperture.last);
        lines.push(format!(
            "{what} [{first}-{last}], pages of {}",
            Size(aperture.page_size)
        ));
    }
    if let Some(windows) = &capabilities.windows {
        lines.push(format!(
            "{} at most, tables of {} at most",
            counted(windows.most, "window"),
            counted(windows.levels, "level")
        ));
    }
    if let Some(left) = capabilities.mappings_left {
        lines.push(format!("{left} mappings at most"));
    }
    if capabilities.locked > 0 {
        lines.push(format!(
            "locks {} as soon as a device is opened",
            Size(capabilities.locked)
        ));
    }
    lines
}

/// Which windows were created and removed again: their pages, and the levels of their tables; and which were not.
fn describe_tried(tried: &[TriedRow]) -> Vec<String> {
    let mut lines = Vec::new();
    let made = |row: &&TriedRow| row.start.is_some();
    let sizes = tried.iter().filter(made).filter(|row| row.levels == 1);
    let sizes: Vec<_> = sizes.map(|row| Size(row.page_size).to_string()).collect();
    let levels = tried.iter().filter(made).map(|row| row.levels).max();
    let starts: Vec<_> = tried.iter().filter_map(|row| row.start.clone()).collect();
    if let (Some(levels), Some(start)) = (levels, starts.first()) {
        lines.push(format!(
            "created at {start}: pages of {}, tables of up to {}: verified",
            sizes.join(", "),
            counted(levels, "level")
        ));
    }
    for row in tried {
        if let Some(reason) = &row.reason {
            let size = Size(row.page_size);
            lines.push(format!(
                "not created: pages of {size}, {}: {reason}",
                counted(row.levels, "level")
            ));
        }
    }
    lines
}

/// So many of them.
fn counted(count: u32, what: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {what}{ending}")
}

fn print_group(group: &GroupRow, out: &mut Output) -> io::Result<()> {
    let state = if group.ready { "ready" } else { "" };
    let mut head = format!("group {:<4}{state:<6}", group.id);
    for device in &group.devices {
        out.line(format_args!("{head} {}", describe_device(device)))?;
        head = format!("{:<16}", "");
    }
    Ok(())
}

fn describe_device(device: &DeviceRow) -> String {
    let driver = device.driver.as_deref().unwrap_or("no driver");
    let in_the_way = if device.in_the_way {
        "  (in the way)"
    } else {
        ""
    };
    format!(
        "{}  {:04x}:{:04x}  class {:06x}  {driver}{in_the_way}",
        device.bdf, device.vendor, device.device, device.class
    )
}
