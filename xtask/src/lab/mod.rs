//! Stub.

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::ui::Ui;

/// What to run, and in which machine.
#[derive(clap::Args)]
pub(crate) struct LabArgs {}

/// Runs a command in a machine.
pub(crate) fn run(_args: &LabArgs, _ui: &Ui) -> Result<ExitCode> {
    bail!("the lab is not there yet")
}
