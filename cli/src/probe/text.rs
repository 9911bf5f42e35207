//! The answer for people.

use std::io;

use vfio_core::address::Size;

use crate::groups;
use crate::output::Output;

use super::backend::{BackendRow, CapabilitiesRow, TriedRow};
use super::iommu::IommuRow;
use super::memlock::MemlockRow;
use super::report::Report;

pub(super) fn print(report: &Report, out: &mut Output) -> io::Result<()> {
    let about = &report.about;
    out.line(format_args!(
        "host     Linux {} on {}",
        about.kernel, about.architecture
    ))?;
    print_iommu(&report.iommu, out)?;
    out.line(match &report.container.reason {
        None => format!("VFIO     {} is there", report.container.node),
        Some(reason) => format!("VFIO     {reason}"),
    })?;
    let interfaces = &report.interfaces;
    out.line(format_args!(
        "         iommufd: {}; noiommu: {}",
        interfaces.iommufd, interfaces.noiommu
    ))?;
    print_memlock(&report.memlock, out)?;
    if let Some(group) = report.verified_with_group {
        out.line(format_args!("verified with group {group}"))?;
    }
    out.line("")?;
    for backend in &report.backends {
        print_backend(backend, out)?;
    }
    out.line("")?;
    groups::text::print(&report.groups, out)?;
    for finding in &report.findings {
        out.line("")?;
        out.finding(finding)?;
    }
    Ok(())
}

fn print_iommu(iommu: &IommuRow, out: &mut Output) -> io::Result<()> {
    let units = iommu
        .units
        .iter()
        .map(|unit| format!("{} ({})", unit.name, unit.kind));
    let units = match iommu.units.is_empty() {
        true => "none that the kernel drives".to_owned(),
        false => units.collect::<Vec<_>>().join(", "),
    };
    let bits = iommu
        .address_bits
        .map_or(String::new(), |bits| format!(", {bits} bits of address"));
    out.line(format_args!("IOMMU    {units}{bits}"))?;
    let firmware = iommu.firmware.unwrap_or("says nothing of an IOMMU");
    let arguments = match iommu.boot_arguments.is_empty() {
        true => String::new(),
        false => format!("; boot arguments: {}", iommu.boot_arguments.join(" ")),
    };
    out.line(format_args!("         firmware: {firmware}{arguments}"))?;
    out.line(format_args!(
        "         interrupts isolated: {}",
        iommu.interrupt_isolation
    ))
}

fn print_memlock(memlock: &MemlockRow, out: &mut Output) -> io::Result<()> {
    let limit = match (memlock.exempt, memlock.limit) {
        (true, _) => "any amount (CAP_IPC_LOCK)".to_owned(),
        (false, None) => "any amount".to_owned(),
        (false, Some(limit)) => Size(limit).to_string(),
    };
    let whom = match memlock.guest_memory {
        Some(memory) => format!("a guest of {}", Size(memory)),
        None => "a small program".to_owned(),
    };
    out.line(format_args!(
        "memlock  {limit} may be locked; {whom} needs {}: {}",
        Size(memlock.needed),
        memlock.enough
    ))
}

fn print_backend(backend: &BackendRow, out: &mut Output) -> io::Result<()> {
    let mut details = backend.reason.iter().cloned().collect::<Vec<_>>();
    details.extend(backend.capabilities.iter().flat_map(describe));
    details.extend(describe_tried(&backend.windows_tried));
    if backend.capabilities.is_some() {
        let (dirty, coherent) = (&backend.dirty_tracking, &backend.coherent_dma);
        details.push(format!(
            "tells dirty pages: {dirty}; DMA coherent by force: {coherent}"
        ));
    }
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
