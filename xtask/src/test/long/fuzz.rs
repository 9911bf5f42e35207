//! Fuzzing: every parser of foreign bytes is given as many inputs as fit into a fixed number of runs.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::{Findings, Run, accept};
use crate::tools::{FUZZ, Program, follow};
use crate::ui::Ui;
use crate::workspace::{cargo, output, root};

pub(super) const RUN: Run = Run {
    name: "fuzz",
    covers: &[
        "vfio-core",
        "iommu-type1",
        "iommu-spapr",
        "pci-device",
        "vfio-sim",
        "fuzz",
        "fuzz/fuzz_targets",
        "fuzz/Cargo.lock",
    ],
    run,
    judge: accept,
};

const RUNS: u32 = 200_000;

fn run(ui: &Ui) -> Result<Findings> {
    let cargo_fuzz = FUZZ.find(ui)?;
    let manifest = "fuzz/Cargo.toml";
    let (locked, said) = output(cargo().args([
        "metadata",
        "--locked",
        "--format-version",
        "1",
        "--manifest-path",
        manifest,
    ]))?;
    ensure!(
        locked,
        "read {manifest} with its lock file; if that is behind, `cargo update --workspace \
         --manifest-path {manifest}` renews it:\n{}",
        said.trim_end()
    );
    let dir = super::scratch("fuzz")?;
    let mut text = format!(
        "# Fuzzing\n\n\
         Each target gets {RUNS} inputs, from an empty corpus and a fixed seed, under AddressSanitizer and\n\
         with overflow checks. What each one holds against what it reads is said in `fuzz/fuzz_targets/`. The\n\
         coverage differs by a few edges from run to run.\n\n\
         | target | runs | coverage (edges) | crashes |\n|---|---|---|---|\n"
    );
    for target in targets()? {
        let edges = fuzz(&cargo_fuzz, &target, &dir, ui)?;
        writeln!(text, "| {target} | {RUNS} | {edges} | 0 |")?;
    }
    Ok(Findings {
        tool: FUZZ.name(),
        text,
    })
}

/// A target for each file: none can be forgotten.
fn targets() -> Result<Vec<String>> {
    let dir = root().join("fuzz/fuzz_targets");
    let mut targets = Vec::new();
    for entry in fs::read_dir(&dir).with_context(|| format!("list {}", dir.display()))? {
        let path = entry
            .with_context(|| format!("list {}", dir.display()))?
            .path();
        if let (Some("rs"), Some(name)) = (
            path.extension().and_then(|it| it.to_str()),
            path.file_stem().and_then(|it| it.to_str()),
        ) {
            targets.push(name.to_owned());
        }
    }
    targets.sort();
    ensure!(!targets.is_empty(), "{} has no target", dir.display());
    Ok(targets)
}

/// Answers how many edges of the program were reached.
fn fuzz(cargo_fuzz: &Program, target: &str, dir: &Path, ui: &Ui) -> Result<u32> {
    let corpus = dir.join("corpus").join(target);
    if corpus.is_dir() {
        fs::remove_dir_all(&corpus).with_context(|| format!("empty {}", corpus.display()))?;
    }
    fs::create_dir_all(&corpus).with_context(|| format!("create {}", corpus.display()))?;

    let mut command = cargo_fuzz.command();
    command
        .args(["run", "--fuzz-dir", "fuzz", "--target-dir"])
        .arg(dir)
        .arg(target)
        .arg(&corpus)
        .arg("--")
        .arg(format!("-runs={RUNS}"))
        .args(["-seed=1", "-max_len=512", "-timeout=10"])
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TERM_COLOR", "never")
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTFLAGS");
    let step = ui.step(format!("fuzz: {target}"));
    let ended = follow(&mut command, |line| step.message(line.trim()))?;
    let edges = ended.text.lines().find_map(edges);
    match edges {
        Some(edges) if ended.status.success() => {
            step.done(format_args!("{RUNS} runs, {edges} edges"));
            Ok(edges)
        }
        _ => bail!(
            "{target}: {}; what broke it is kept in fuzz/artifacts/{target}:\n{}",
            ended.status,
            ended.text.trim_end()
        ),
    }
}

/// Of libFuzzer's last line: `#200000 DONE   cov: 312 ft: 450 corp: ...`
fn edges(line: &str) -> Option<u32> {
    let (count, rest) = line.strip_prefix('#')?.split_once(char::is_whitespace)?;
    count.parse::<u32>().ok().filter(|&count| count >= RUNS)?;
    let rest = rest.trim_start().strip_prefix("DONE")?;
    rest.trim_start()
        .strip_prefix("cov: ")?
        .split(' ')
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_of_libfuzzer() {
        let line = "#200000\tDONE   cov: 312 ft: 450 corp: 50/2Kb lim: 512 exec/s: 66666 rss: 90Mb";
        assert_eq!(edges(line), Some(312));
        assert_eq!(edges(&line.replace("DONE", "NEW ")), None);
        assert_eq!(edges(&line.replace("#2", "#1")), None);
    }
}
