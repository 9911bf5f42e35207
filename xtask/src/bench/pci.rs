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

pub(super) fn measure(ui: &Ui) -> Result<Vec<Measured>> {
    let machine = Machine::find("x86_64").context("there is no machine x86_64")?;
    let request = Request {
        devices: ["nvme", "edu"].map(str::to_owned).to_vec(),
        ..Request::new(machine, ["sh", "-c", "/bin/pci $BDF $BDF2"])
    };
    let output = programs::in_machine("pci", request, ui)?;
    let (times, counts): (Vec<_>, Vec<_>) = output
        .lines()
        .filter_map(programs::line)
        .partition(|(name, ..)| *name == MAPPED);
    ensure!(
        !times.is_empty() && counts.len() == 5,
        "not all was measured:\n{output}"
    );
    let counted = counts.into_iter().map(|(name, ours, limit)| {
        let pairs = [(ours, limit)];
        Measured::of_pairs(name, "times", &pairs, LIMIT, Goal::Below(limit + 1))
    });
    let mut measured: Vec<_> = counted.collect();
    let pairs: Vec<_> = times
        .into_iter()
        .map(|(_, ours, raw)| (ours, raw))
        .collect();
    let name = "nanoseconds of 2,000 mapped reads of a register";
    measured.push(Measured::of_pairs(
        name,
        "nanoseconds",
        &pairs,
        RAW,
        Goal::AtMost(1.05),
    ));
    measured.extend(super::instructions::bar(ui)?);
    Ok(measured)
}
