//! `cargo xtask bench`: what the product costs, beside its peers.

mod cli;
mod instructions;
mod ioctls;
mod pci;
mod programs;
mod times;

use std::cmp::Ordering;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Serialize;

use crate::ui::Ui;

/// What is measured.
#[derive(Args)]
pub(crate) struct BenchArgs {
    /// Only this: `core`, `type1`, `spapr`, `pci` or `cli`
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
    /// The lowest and the highest ratio, if there were several pairs; the numbers above are medians then.
    spread: Option<(f64, f64)>,
    unit: &'static str,
    goal: String,
    pub(crate) met: bool,
}

/// What is to be reached.
enum Goal {
    AsThePeer,
    Below(u64),
    /// So many times the peer's.
    AtMost(f64),
    /// The peer's and so much.
    MoreByAtMost(u64),
}

impl Measured {
    /// Something that is the same each time.
    fn new(name: &str, unit: &'static str, ours: u64, peer: u64, goal: Goal) -> Self {
        Self::of_pairs(name, unit, &[(ours, peer)], PEER, goal)
    }

    /// Something that varies: ours and the peer's, measured in turns. The goal is one for the medians of the pairs.
    fn of_pairs(
        name: &str,
        unit: &'static str,
        pairs: &[(u64, u64)],
        peer_name: &'static str,
        goal: Goal,
    ) -> Self {
        #[allow(clippy::cast_precision_loss)] // small numbers
        let ratios = sorted(pairs, |(ours, peer)| ours as f64 / peer.max(1) as f64);
        let ours = median(&sorted(pairs, |(ours, _)| ours));
        let peer = median(&sorted(pairs, |(_, peer)| peer));
        let ratio = median(&ratios);
        let (goal, met) = match goal {
            Goal::AsThePeer => ("not more than the peer".to_owned(), ours <= peer),
            Goal::Below(limit) => (format!("below {limit}"), ours < limit),
            Goal::AtMost(limit) => (format!("ratio at most {limit:.2}"), ratio <= limit),
            Goal::MoreByAtMost(limit) => {
                let more = sorted(pairs, |(ours, peer)| ours.saturating_sub(peer));
                (format!("at most {limit} more"), median(&more) <= limit)
            }
        };
        Self {
            name: name.to_owned(),
            ours,
            peer,
            peer_name,
            ratio,
            spread: (pairs.len() > 1).then(|| (ratios[0], ratios[ratios.len() - 1])),
            unit,
            goal,
            met,
        }
    }
}

/// What `of` says of each pair, the lowest first.
fn sorted<T: PartialOrd>(pairs: &[(u64, u64)], of: impl Fn((u64, u64)) -> T) -> Vec<T> {
    let mut all: Vec<T> = pairs.iter().map(|pair| of(*pair)).collect();
    all.sort_by(|a, b| a.partial_cmp(b).unwrap_or(Ordering::Equal));
    all
}

fn median<T: Copy>(sorted: &[T]) -> T {
    sorted[sorted.len() / 2]
}

/// The peer, unless another one is named.
const PEER: &str = "vfio-ioctls 0.10.0";

pub(crate) fn run(args: &BenchArgs, ui: &Ui) -> Result<ExitCode> {
    let measured = match args.name.as_deref() {
        None => {
            let mut all = counts(ui)?;
            all.push(pci::time(ui)?);
            all.extend(times::measure(ui)?);
            all.extend(cli::measure(ui)?);
            all
        }
        Some("core") => core(ui)?,
        Some("type1") => type1(ui)?,
        Some("spapr") => spapr(ui)?,
        Some("pci") => pci::measure(ui)?,
        Some("cli") => cli::measure(ui)?,
        Some(name) => {
            bail!("there is no measurement {name}; there are core, type1, spapr, pci and cli")
        }
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
fn core(ui: &Ui) -> Result<Vec<Measured>> {
    let mut measured = ioctls::of_devices(ui)?;
    measured.push(instructions::pair(ui)?);
    Ok(measured)
}

/// What guest memory costs, and many mappings.
fn type1(ui: &Ui) -> Result<Vec<Measured>> {
    let mut measured = ioctls::of_memory(ui)?;
    measured.extend(instructions::many(ui)?);
    measured.extend(times::measure(ui)?);
    Ok(measured)
}

/// What windows cost, and a guest's TCEs.
fn spapr(ui: &Ui) -> Result<Vec<Measured>> {
    let mut measured = ioctls::of_windows(ui)?;
    measured.push(instructions::tce(ui)?);
    Ok(measured)
}

/// All that is counted, and is the same on every run: what a test can ask for.
pub(crate) fn counts(ui: &Ui) -> Result<Vec<Measured>> {
    let mut measured = ioctls::measure(ui)?;
    measured.push(instructions::pair(ui)?);
    measured.extend(instructions::many(ui)?);
    measured.extend(spapr(ui)?);
    measured.extend(pci::counts(ui)?);
    Ok(measured)
}

/// For people.
fn table(measured: &[Measured]) -> String {
    let width = measured.iter().map(|one| one.name.len()).max().unwrap_or(0);
    let mut lines = vec![format!(
        "{:width$}  {:>7}  {:>7}  {:>5}  {:10}  {:22}  met  peer's name",
        "", "ours", "peer", "ratio", "spread", "goal"
    )];
    for one in measured {
        let spread = one.spread.map(|(low, high)| format!("{low:.2}..{high:.2}"));
        lines.push(format!(
            "{:width$}  {:7}  {:7}  {:5.2}  {:10}  {:22}  {:3}  {}",
            one.name,
            one.ours,
            one.peer,
            one.ratio,
            spread.unwrap_or_default(),
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
        assert!(met(5, Goal::AtMost(0.5)) && !met(6, Goal::AtMost(0.5)));
        assert!(met(12, Goal::MoreByAtMost(2)) && !met(13, Goal::MoreByAtMost(2)));
        assert!(met(1, Goal::MoreByAtMost(2)));
    }

    #[test]
    fn what_varies_has_a_median_and_a_spread() {
        let pairs = [(10, 10), (90, 10), (5, 10), (6, 20), (8, 10)];
        let measured = |goal| Measured::of_pairs("x", "y", &pairs, PEER, goal);
        let one = measured(Goal::AtMost(0.8));
        assert_eq!((one.ours, one.peer, one.spread), (8, 10, Some((0.3, 9.0))));
        assert!(one.met && !measured(Goal::AtMost(0.79)).met);
        assert!(measured(Goal::MoreByAtMost(0)).met);
        assert_eq!(Measured::new("x", "y", 5, 10, Goal::AsThePeer).spread, None);
    }
}
