//! `vfioctl device`: everything about one device.

mod drawing;
mod layout;
pub(crate) mod report;
mod sysfs;
mod text;
mod vfio;

use anyhow::Context;
use pci_device::bar::PageSize;
use vfio_core::host::Bdf;

use crate::answer::Answer;
use crate::bdf;
use crate::host::Host;
use crate::output::Output;
use crate::size::Bytes;
use crate::status::Status;
use report::VfioRow;

/// Tell everything about one device: who it is, its group, driver and node, what is reserved, how it is reset, its BARs
///
/// What only VFIO knows, its regions and interrupts, is told with --open; what a guest would have of its BARs, with --layout.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  vfioctl --sim x86_64 device 0000:00:05.0 --open")]
pub(crate) struct Args {
    /// The device, as 0000:00:1f.2
    #[arg(add = bdf::completer())]
    bdf: Bdf,
    /// Open it through VFIO for a moment, which resets it, and ask for its regions and interrupts
    #[arg(long)]
    open: bool,
    /// Open it in the same way, and draw what of its BARs a guest reaches directly and what is trapped
    #[arg(long)]
    layout: bool,
    /// Draw that as on a host with pages of this size, such as 64K, and not this host's
    #[arg(long, value_name = "SIZE", requires = "layout")]
    page_size: Option<Bytes>,
    /// Print JSON for programs
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Whether the device is opened for the answer.
    pub(crate) fn opens_the_device(&self) -> bool {
        self.open || self.layout
    }
}

pub(crate) fn run(host: &Host, out: &mut Output, args: &Args) -> anyhow::Result<Status> {
    let page = match args.page_size {
        Some(Bytes(bytes)) => bytes,
        None => host.kernel().page_size() as u64,
    };
    let page = PageSize::new(page).context("--page-size: a page has a power of two of bytes")?;
    let vfio = match args.opens_the_device() {
        true => vfio::ask(host, args.bdf, args.layout.then_some(page))?,
        false => VfioRow {
            opened: Answer::Unknown(
                "only the open device tells; --open opens it, which resets it".to_owned(),
            ),
            can_reset: None,
            regions: Vec::new(),
            interrupts: Vec::new(),
            hot_reset: None,
            layout: None,
        },
    };
    let report = sysfs::ask(host, args.bdf, vfio)?;
    if args.json {
        out.json(&report)?;
    } else {
        host.announce(out)?;
        text::print(&report, out)?;
    }
    Ok(Status::FINE)
}
