//! `vfioctl watch`: groups, drivers and nodes as they change.

mod snapshot;
mod uevents;

use std::time::Duration;

use crate::host::Host;
use crate::output::Output;
use crate::status::Status;
use snapshot::Snapshot;
use uevents::Uevents;

/// Tell each change of the groups, their devices' drivers and the nodes of VFIO, until it is interrupted
///
/// The kernel's own events say when to look; where those do not arrive (in a container), it looks every second.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  vfioctl --sim x86_64 watch --changes 0")]
pub(crate) struct Args {
    /// End after so many changes
    #[arg(long, value_name = "COUNT")]
    changes: Option<usize>,
}

/// How long is waited for an event before it is looked all the same.
const PATIENCE: Duration = Duration::from_secs(1);

pub(crate) fn run(host: &Host, out: &mut Output, args: &Args) -> anyhow::Result<Status> {
    let kernel = host.kernel();
    // Before the first look, so that nothing is missed in between.
    let uevents = Uevents::open();
    let mut last = Snapshot::of(kernel)?;
    host.announce(out)?;
    out.line(format_args!("watching: {last}"))?;
    let mut left = args.changes;
    while left != Some(0) && !out.is_closed() {
        uevents.wait(PATIENCE);
        let now = Snapshot::of(kernel)?;
        for change in now.since(&last) {
            out.line(change)?;
            left = left.map(|left| left.saturating_sub(1));
        }
        last = now;
    }
    Ok(Status::FINE)
}
