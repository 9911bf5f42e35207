//! How many instructions of this program a map and an unmap take, over a kernel that does nothing.
//!
//! Callgrind counts two runs of different lengths: what one has more than the other is the price of the pairs that
//! it makes more. The program first shows that what must be refused is refused.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::{Goal, MANIFEST, Measured};
use crate::packages::{self, bundles};
use crate::ui::{Phase, Ui};
use crate::workspace::{cargo, output, root, target};

/// What a pair of ours must stay below, with fewer than eight live mappings and all checks on.
const LIMIT: u64 = 600;

/// The pairs of the shorter run; the other has twice as many.
const PAIRS: u64 = 10_000;

pub(super) fn measure(ui: &Ui) -> Result<Measured> {
    let valgrind = packages::prefix(&bundles::VALGRIND, ui)?;
    let program = build(ui)?;
    let step = ui.step("count instructions");
    let ours = a_pair(&valgrind, &program, "ours")?;
    let peer = a_pair(&valgrind, &program, "peer")?;
    drop(step);
    let name = "user-space instructions of a map and unmap pair";
    let goal = Goal::Below(LIMIT);
    Ok(Measured::new(name, "instructions", ours, peer, goal))
}

/// For this machine, as a user's own program would be built.
fn build(ui: &Ui) -> Result<PathBuf> {
    let _timing = ui.time(Phase::Build);
    let step = ui.step("build instructions");
    let directory = target()?.join("bench");
    let mut command = cargo();
    command
        .args(["build", "--locked", "--release", "--quiet"])
        .args(["--bin", "instructions", "--manifest-path"])
        .arg(root().join(MANIFEST))
        .arg("--target-dir")
        .arg(&directory)
        .env("CARGO_ENCODED_RUSTFLAGS", "");
    let (success, text) = output(&mut command)?;
    drop(step);
    if !success {
        bail!("build instructions:\n{}", text.trim_end());
    }
    Ok(directory.join("release/instructions"))
}

fn a_pair(valgrind: &Path, program: &Path, side: &str) -> Result<u64> {
    let short = run(valgrind, program, side, PAIRS)?;
    let long = run(valgrind, program, side, 2 * PAIRS)?;
    let difference = long.checked_sub(short);
    let difference = difference.with_context(|| format!("{long} is less than {short}"))?;
    Ok(difference.div_ceil(PAIRS))
}

/// The instructions of one run.
fn run(valgrind: &Path, program: &Path, side: &str, pairs: u64) -> Result<u64> {
    let mut command = packages::valgrind(valgrind);
    command
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args([side, &pairs.to_string()]);
    let (success, text) = output(&mut command)?;
    match collected(&text) {
        Some(count) if success => Ok(count),
        _ => bail!("count the instructions of {side}:\n{}", text.trim_end()),
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
