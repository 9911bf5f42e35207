//! How many instructions of this program a map and an unmap take, over a kernel that does nothing.
//!
//! Callgrind counts two runs of different lengths: what one has more than the other is the price of the pairs that
//! it makes more. The program first shows that what must be refused is refused.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::{Goal, Measured, programs};
use crate::packages::{self, bundles};
use crate::ui::Ui;
use crate::workspace::output;

/// What a pair of ours must stay below, with fewer than eight live mappings and all checks on.
const LIMIT: u64 = 600;

/// The pairs of the shorter run; the other has twice as many.
const PAIRS: u64 = 10_000;

/// What the smallest commit must stay below; about 5 microseconds.
const COMMIT_LIMIT: u64 = 15_000;

/// What a pair of a guest's own IOMMU must stay below.
const AMONG_LIMIT: u64 = 1_700;

/// What one TCE must stay below, with all checks on.
const TCE_LIMIT: u64 = 1_700;

/// What a read of a trapped register must stay below.
const BAR_LIMIT: u64 = 150;

/// From a hundred sections to ten thousand, what a commit costs may grow as a logarithm does: twofold, in percent.
const GROWTH_LIMIT: u64 = 200;

/// A map and an unmap, when nearly nothing else is mapped.
pub(super) fn pair(ui: &Ui) -> Result<Measured> {
    let counter = Counter::new(ui)?;
    let _step = ui.step("count instructions");
    let name = "user-space instructions of a map and unmap pair";
    let goal = Goal::Below(LIMIT);
    let (ours, peer) = (counter.of("ours", 7)?, counter.of("peer", 7)?);
    Ok(Measured::new(name, "instructions", ours, peer, goal))
}

/// What many mappings and sections cost.
pub(super) fn many(ui: &Ui) -> Result<Vec<Measured>> {
    const MANY: u64 = 10_000;
    let counter = Counter::new(ui)?;
    let _step = ui.step("count instructions");
    let of = |name, ours, peer, goal| Measured::new(name, "instructions", ours, peer, goal);
    let peer = counter.of("peer", MANY)?;
    let commits = counter.of("commit", MANY)?;
    let few = counter.of("commit", 100)?;
    Ok(vec![
        of(
            "user-space instructions to unmap and map 4 KiB in a guest's IOMMU, among 10,000",
            counter.of("among", MANY)?,
            peer,
            Goal::Below(AMONG_LIMIT),
        ),
        of(
            "user-space instructions of two commits that change 1 of 10,000 sections",
            commits,
            peer,
            Goal::Below(2 * COMMIT_LIMIT),
        ),
        Measured::new(
            "the same, in percent of two among 100 sections",
            "percent",
            commits * 100 / few.max(1),
            100,
            Goal::Below(GROWTH_LIMIT),
        ),
    ])
}

/// What a guest on POWER costs that writes one TCE of ten thousand.
pub(super) fn tce(ui: &Ui) -> Result<Measured> {
    const MANY: u64 = 10_000;
    let counter = Counter::new(ui)?;
    let _step = ui.step("count instructions");
    let name = "user-space instructions to put one TCE, among 10,000";
    let (ours, peer) = (counter.of("tce", MANY)?, counter.of("peer", MANY)? / 2);
    Ok(Measured::new(
        name,
        "instructions",
        ours,
        peer,
        Goal::Below(TCE_LIMIT),
    ))
}

/// What a guest costs that reads a register of its device which is trapped.
pub(super) fn bar(ui: &Ui) -> Result<Vec<Measured>> {
    let counter = Counter::new(ui)?;
    let _step = ui.step("count instructions");
    let of = |len| {
        let name = format!("user-space instructions of a trapped read of {len} bytes");
        let pairs = [(counter.of("bar", len)?, BAR_LIMIT)];
        let goal = Goal::Below(BAR_LIMIT);
        Ok(Measured::of_pairs(
            &name,
            "instructions",
            &pairs,
            "the limit",
            goal,
        ))
    };
    [4, 8].into_iter().map(of).collect()
}

/// The program, and what counts its instructions.
struct Counter {
    valgrind: PathBuf,
    program: PathBuf,
}

impl Counter {
    fn new(ui: &Ui) -> Result<Self> {
        Ok(Self {
            valgrind: packages::prefix(&bundles::VALGRIND, ui)?,
            program: programs::native("instructions", ui)?,
        })
    }

    /// What a pair of such calls costs, among so many of what it is about.
    fn of(&self, what: &str, live: u64) -> Result<u64> {
        let run = |pairs: u64| {
            run(
                &self.valgrind,
                &self.program,
                [what, &pairs.to_string(), &live.to_string()],
            )
        };
        let (short, long) = (run(PAIRS)?, run(2 * PAIRS)?);
        let difference = long.checked_sub(short);
        let difference = difference.with_context(|| format!("{long} is less than {short}"))?;
        Ok(difference.div_ceil(PAIRS))
    }
}

/// The instructions of one run.
fn run(valgrind: &Path, program: &Path, args: [&str; 3]) -> Result<u64> {
    let mut command = packages::valgrind(valgrind);
    command
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args(args);
    let (success, text) = output(&mut command)?;
    match collected(&text) {
        Some(count) if success => Ok(count),
        _ => bail!(
            "count the instructions of {}:\n{}",
            args.join(" "),
            text.trim_end()
        ),
    }
}

/// `==123== Collected : 456`
fn collected(text: &str) -> Option<u64> {
    let mut lines = text.lines();
    let (_, count) = lines.find_map(|line| line.split_once(" Collected : "))?;
    count.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_callgrind_says() {
        let text = "==7== Events    : Ir\n==7== Collected : 15620161\n==7== \n";
        assert_eq!(collected(text), Some(15_620_161));
        assert_eq!(collected("==7== Events    : Ir\n"), None);
    }
}
