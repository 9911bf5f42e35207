//! `vfioctl schema`: what `--json` prints, as JSON Schema made from the types.

use schemars::{Schema, schema_for};

use crate::output::Output;
use crate::status::Status;
use crate::{bind, device, doctor, explain, groups, probe};

/// Print the JSON Schema of what a command prints with --json
///
/// Fields are only ever added as long as `schema_version` stays.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  vfioctl schema doctor")]
pub(crate) struct Args {
    /// The command
    #[arg(value_parser = SCHEMAS.map(|(name, _)| name))]
    command: String,
}

/// A command, and how the schema of what it prints is made.
type Row = (&'static str, fn() -> Schema);

/// Every command that prints JSON.
const SCHEMAS: [Row; 7] = [
    ("probe", || schema_for!(probe::report::Report)),
    ("groups", || schema_for!(groups::report::Report)),
    ("device", || schema_for!(device::report::Report)),
    ("doctor", || schema_for!(doctor::report::Report)),
    ("bind", || schema_for!(bind::report::Report)),
    ("unbind", || schema_for!(bind::report::Report)),
    ("explain", || schema_for!(explain::explanation::Explanation)),
];

pub(crate) fn run(out: &mut Output, args: &Args) -> anyhow::Result<Status> {
    let schema = SCHEMAS.iter().find(|(name, _)| *name == args.command);
    if let Some((_, schema)) = schema {
        out.json(&schema())?;
    }
    Ok(Status::FINE)
}
