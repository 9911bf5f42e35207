//! `vfioctl explain`: which diagnosis a message is, and what to do. It asks nothing of the host.

pub(crate) mod explanation;
mod messages;
mod page;
mod scan;

use std::io::{self, IsTerminal, Write};

use anyhow::anyhow;

use crate::output::Output;
use crate::status::Status;
use explanation::Explanation;
use page::Page;
use scan::Scan;

/// Say what a message of QEMU, libvirt, DPDK, Cloud Hypervisor or the kernel means, and what to do
///
/// Exit status: 0 if something is known; 1 if nothing is.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  vfioctl explain 'vfio 0000:01:00.0: group 1 is not viable'
  journalctl -b | vfioctl explain
  vfioctl explain VFIO-04")]
pub(crate) struct Args {
    /// The message, or the code of a diagnosis; without it, or with -, a log on standard input
    text: Vec<String>,
    /// Print JSON for programs
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(out: &mut Output, args: &Args) -> anyhow::Result<Status> {
    let explanation = explain(&args.text.join(" "))?;
    if args.json {
        out.json(&explanation)?;
    } else {
        explanation.print(out)?;
    }
    Ok(explanation.status())
}

fn explain(text: &str) -> anyhow::Result<Explanation> {
    if let Some(page) = Page::of(text.trim()) {
        return Ok(Explanation::page(page));
    }
    let mut scan = Scan::new()?;
    if matches!(text, "" | "-") {
        let input = io::stdin().lock();
        if input.is_terminal() {
            // Who does not see it is not waiting at a terminal.
            let _ = writeln!(io::stderr(), "paste the messages, then press Ctrl-D");
        }
        scan.read(input)
            .map_err(|error| anyhow!("read standard input: {error}"))?;
    } else {
        scan.read(text.as_bytes())?;
    }
    Ok(scan.into())
}
