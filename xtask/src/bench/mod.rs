//! `cargo xtask bench`: what the product costs, beside its peers.

mod instructions;
mod ioctls;

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Serialize;

use crate::ui::Ui;

/// What is measured.
#[derive(Args)]
pub(crate) struct BenchArgs {
    /// Only this: `core` or `type1`
    name: Option<String>,

    /// One object a line
    #[arg(long)]
    json: bool,
}

/// A measurement: less is better.
#[derive(Debug, Serialize)]
pub(crate) struct Measured {
    name: String,
    ours: u64,
    peer: u64,
    peer_name: &'static str,
    ratio: f64,
    unit: &'static str,
    goal: String,
    pub(crate) met: bool,
}

/// What is to be reached.
enum Goal {
    AsThePeer,
    Below(u64),
}

impl Measured {
    fn new(name: &str, unit: &'static str, ours: u64, peer: u64, goal: Goal) -> Self {
        let (goal, met) = match goal {
            Goal::AsThePeer => ("not more than the peer".to_owned(), ours <= peer),
            Goal::Below(limit) => (format!("below {limit}"), ours < limit),
        };
        #[allow(clippy::cast_precision_loss)] // small numbers
        let ratio = ours as f64 / peer as f64;
        Self {
            name: name.to_owned(),
            ours,
            peer,
            peer_name: PEER,
            ratio,
            unit,
            goal,
            met,
        }
    }
}

/// The peer of `core`.
const PEER: &str = "vfio-ioctls 0.10.0";

/// Where the measured programs are.
const MANIFEST: &str = "bench/Cargo.toml";

pub(crate) fn run(args: &BenchArgs, ui: &Ui) -> Result<ExitCode> {
    let measured = match args.name.as_deref() {
        None => {
            let mut all = core(ui)?;
            all.extend(type1(ui)?);
            all
        }
        Some("core") => core(ui)?,
        Some("type1") => type1(ui)?,
        Some(name) => bail!("there is no measurement {name}; there are core and type1"),
    };
    if args.json {
        for one in &measured {
            ui.last_line(serde_json::to_string(one).context("write JSON")?);
        }
    } else {
        ui.last_line(table(&measured));
    }
    Ok(if measured.iter().all(|one| one.met) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What the core costs: calls of the kernel to open devices, and our own part in a map and an unmap.
pub(crate) fn core(ui: &Ui) -> Result<Vec<Measured>> {
    let mut measured = ioctls::measure(ui)?;
    measured.push(instructions::pair(ui)?);
    Ok(measured)
}

/// What guest memory costs, and many mappings.
pub(crate) fn type1(ui: &Ui) -> Result<Vec<Measured>> {
    instructions::many(ui)
}

/// For people.
fn table(measured: &[Measured]) -> String {
    let width = measured.iter().map(|one| one.name.len()).max().unwrap_or(0);
    let mut lines = vec![format!(
        "{:width$}  ours  peer  ratio  {:22}  met  peer's name",
        "", "goal"
    )];
    for one in measured {
        lines.push(format!(
            "{:width$}  {:4}  {:4}  {:5.2}  {:22}  {:3}  {}",
            one.name,
            one.ours,
            one.peer,
            one.ratio,
            one.goal,
            if one.met { "yes" } else { "no" },
            one.peer_name
        ));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_met_or_not() {
        let met = |ours, goal| Measured::new("x", "y", ours, 10, goal).met;
        assert!(met(10, Goal::AsThePeer) && !met(11, Goal::AsThePeer));
        assert!(met(599, Goal::Below(600)) && !met(600, Goal::Below(600)));
    }
}
