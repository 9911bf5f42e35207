//! What a guest's accesses to its device cost: calls, allocations and slot operations on a real kernel, our own instructions
//! over one that does nothing, and the time of a mapped access beside a raw one.

use anyhow::{Context, Result, ensure};

use super::{Goal, Measured, programs};
use crate::lab::{Machine, Request};
use crate::ui::Ui;

/// What is counted has limits, and no peer.
const LIMIT: &str = "the limit";
/// Who reads a mapped register with nothing around it.
const RAW: &str = "a raw volatile read";
/// How the program calls what is timed.
const MAPPED: &str = "mapped";

/// All of it.
pub(super) fn measure(ui: &Ui) -> Result<Vec<Measured>> {
    let output = run(ui)?;
    let mut measured = counted(&output)?;
    measured.push(timed(&output)?);
    measured.extend(super::instructions::bar(ui)?);
    Ok(measured)
}

/// What is the same on every run.
pub(super) fn counts(ui: &Ui) -> Result<Vec<Measured>> {
    let mut measured = counted(&run(ui)?)?;
    measured.extend(super::instructions::bar(ui)?);
    Ok(measured)
}

/// What is not.
pub(super) fn time(ui: &Ui) -> Result<Measured> {
    timed(&run(ui)?)
}

/// What the program prints on a real kernel.
fn run(ui: &Ui) -> Result<String> {
    let machine = Machine::find("x86_64").context("there is no machine x86_64")?;
    let request = Request {
        devices: ["nvme", "edu"].map(str::to_owned).to_vec(),
        ..Request::new(machine, ["sh", "-c", "/bin/pci $BDF $BDF2"])
    };
    programs::in_machine("pci", request, ui)
}

fn counted(output: &str) -> Result<Vec<Measured>> {
    let lines = output.lines().filter_map(programs::line);
    let counts = lines.filter(|(name, ..)| *name != MAPPED);
    let of = |(name, ours, limit): (&str, u64, u64)| {
        let pairs = [(ours, limit)];
        Measured::of_pairs(name, "times", &pairs, LIMIT, Goal::Below(limit + 1))
    };
    let measured: Vec<_> = counts.map(of).collect();
    ensure!(measured.len() == 5, "not all was measured:\n{output}");
    Ok(measured)
}

fn timed(output: &str) -> Result<Measured> {
    let lines = output.lines().filter_map(programs::line);
    let times = lines.filter(|(name, ..)| *name == MAPPED);
    let pairs: Vec<_> = times.map(|(_, ours, raw)| (ours, raw)).collect();
    ensure!(!pairs.is_empty(), "nothing was timed:\n{output}");
    let name = "nanoseconds of 2,000 mapped reads of a register";
    let goal = Goal::AtMost(1.05);
    Ok(Measured::of_pairs(name, "nanoseconds", &pairs, RAW, goal))
}
