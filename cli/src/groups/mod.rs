//! `vfioctl groups`: what can only be given away together.

pub(crate) mod inventory;
pub(crate) mod report;
pub(crate) mod text;
mod tree;

use vfio_core::host::{self, PciDevice};

use crate::format::{Format, FormatArgs, prometheus};
use crate::host::Host;
use crate::names::Names;
use crate::output::Output;
use crate::status::Status;
use report::{DeviceRow, Report, rows};
use tree::Topology;

/// List the IOMMU groups with their devices and drivers, and which device is in the way of which
///
/// A group is given away whole. It is `ready` if a member is bound to VFIO and none belongs to a driver of the kernel's
/// own, `viable` if only the binding is missing.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  vfioctl --sim pseries groups --tree")]
pub(crate) struct Args {
    #[command(flatten)]
    form: FormatArgs,
    /// Draw which device is behind which bridge
    #[arg(long, conflicts_with_all = ["dot", "json", "format"])]
    tree: bool,
    /// The same for graphviz
    #[arg(long, conflicts_with_all = ["json", "format"])]
    dot: bool,
}

pub(crate) fn run(host: &Host, out: &mut Output, args: &Args) -> anyhow::Result<Status> {
    let kernel = host.kernel();
    let groups = host::groups(kernel)?;
    if args.tree || args.dot {
        let devices = all_devices(kernel)?;
        let names = Names::of(&devices);
        let topology = Topology::of(kernel, devices);
        if args.dot {
            topology.dot(&names, out)?;
        } else {
            host.announce(out)?;
            topology.draw(&names, out)?;
        }
        return Ok(Status::FINE);
    }
    let ungrouped: Vec<_> = all_devices(kernel)?
        .into_iter()
        .filter(|device| device.group.is_none())
        .collect();
    let grouped = groups.iter().flat_map(|group| &group.devices);
    let names = Names::of(grouped.chain(&ungrouped));
    let report = Report {
        schema_version: 1,
        about: host.about(),
        groups: rows(&groups, &names),
        without_group: ungrouped
            .iter()
            .map(|device| DeviceRow::new(device, &names))
            .collect(),
    };
    match args.form.format() {
        Format::Json => out.json(&report)?,
        Format::Prometheus => prometheus::print(&report.gauges(), out)?,
        Format::Nfd => report.features().print(out)?,
        Format::Text => {
            host.announce(out)?;
            text::print(&report.groups, out)?;
            if !report.without_group.is_empty() {
                let count = report.without_group.len();
                out.line(format_args!(
                    "{count} devices have no IOMMU in front of them: `vfioctl doctor` says why"
                ))?;
            }
        }
    }
    Ok(Status::FINE)
}

/// Every PCI device that can be looked at.
fn all_devices(kernel: &dyn vfio_core::kernel::Kernel) -> vfio_core::Result<Vec<PciDevice>> {
    let all = host::devices(kernel).into_iter();
    let found = all.map(|bdf| host::device(kernel, bdf));
    // One that went away meanwhile is none.
    let there = |it: &vfio_core::Result<PciDevice>| match it {
        Err(error) => error.kind() != vfio_core::ErrorKind::NoSuchDevice,
        Ok(_) => true,
    };
    found.filter(there).collect()
}
