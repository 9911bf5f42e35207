//! Mutants: small changes of the product, each of which must turn a test red.

use std::fmt::Write;

use anyhow::{Result, bail, ensure};

use super::mutants::{Fate, Mutants, row, rows};
use super::report::{Report, place};
use super::{Findings, Run};
use crate::tools::{MUTANTS, follow};
use crate::ui::Ui;

pub(super) const RUN: Run = Run {
    name: "mutation",
    // Not vfio-sim, which their tests stand on: it has tests of its own that it answers as Linux does.
    covers: &[
        "vfio-core",
        "iommu-type1",
        "iommu-spapr",
        ".cargo/mutants.toml",
    ],
    run,
    judge,
};

/// The packages that are changed, and whose own tests must see it.
const PACKAGES: [&str; 3] = ["vfio-core", "iommu-type1", "iommu-spapr"];

fn run(ui: &Ui) -> Result<Findings> {
    let output = super::scratch("mutation")?;
    let mut command = MUTANTS.find(ui)?.command();
    for package in PACKAGES {
        command.args(["--package", package]);
    }
    command
        .args(["--jobs", "2", "--cargo-arg=--locked", "--no-times"])
        .args(["--caught", "--unviable"]) // a line for each: that is progress
        .args(["--colors", "never", "--annotations", "none"])
        .arg("--output")
        .arg(&output)
        .env("CARGO_PROFILE_DEV_DEBUG", "0") // nobody debugs them, and they link in half the time
        .env_remove("CARGO_TARGET_DIR") // each job has a copy of the tree, and its own in that
        .env_remove("RUSTFLAGS");
    let step = ui.step("mutants");
    let mut judged = 0;
    let ended = follow(&mut command, |line| {
        judged += usize::from(is_verdict(line));
        step.message(&format!("{judged} judged; {}", line.trim()));
    })?;
    // 2: some were missed; 3: some timed out.
    ensure!(
        matches!(ended.status.code(), Some(0 | 2 | 3)),
        "cargo-mutants failed ({}):\n{}",
        ended.status,
        ended.text.trim_end()
    );
    step.done(format_args!("{judged} judged"));

    let mutants = Mutants::read(&output.join("mutants.out"))?;
    let before = Report::read(RUN.name).map_or(String::new(), |report| report.text);
    Ok(Findings {
        tool: MUTANTS.name(),
        text: text(&mutants, &before)?,
    })
}

fn is_verdict(line: &str) -> bool {
    ["caught ", "MISSED ", "TIMEOUT ", "unviable "]
        .iter()
        .any(|verdict| line.starts_with(verdict))
}

/// The report, with the reasons that were given `before`.
fn text(mutants: &Mutants, before: &str) -> Result<String> {
    let reasons = rows(before);
    let [caught, missed, timeout, unviable] = Fate::ALL.map(|fate| mutants.count(fate));
    let viable = caught + missed + timeout;
    ensure!(viable > 0, "no mutant could be tested");
    let permille = missed * 1000 / viable;

    let mut text = format!(
        "# Mutants\n\n\
         Each mutant is one small change of {}, which a unit or integration test of the same package must\n\
         see. What is left out, and why: `.cargo/mutants.toml`. A mutant that makes the tests hang\n\
         (timeout) is seen; one that does not compile (unviable) proves nothing.\n\n\
         | caught | timeout | missed | unviable |\n|---|---|---|---|\n\
         | {caught} | {timeout} | {missed} | {unviable} |\n\n\
         Missed: {}.{} % of the {viable} that compile.\n",
        PACKAGES.join(", "),
        permille / 10,
        permille % 10
    );
    if missed > 0 {
        text.push_str(
            "\n## Survivors\n\n\
             Each needs a test, or a reason, written into this table: the next run keeps it.\n\n\
             | mutant | reason |\n|---|---|\n",
        );
    }
    for survivor in mutants.survivors() {
        let reason = reasons.get(survivor).map_or("", String::as_str);
        write!(text, "{}", row(survivor, reason))?;
    }
    Ok(text)
}

/// Every survivor has a reason.
fn judge(report: &Report) -> Result<()> {
    let open: Vec<_> = rows(&report.text)
        .into_iter()
        .filter(|(_, reason)| reason.is_empty())
        .map(|(mutant, _)| mutant)
        .collect();
    if open.is_empty() {
        return Ok(());
    }
    bail!(
        "no test sees {} of the mutants, and no reason is given: add tests, or write the reasons into {}:\n{}",
        open.len(),
        place(RUN.name),
        open.join("\n")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(text: String) -> Report {
        Report {
            tool: String::new(),
            covers: String::new(),
            digest: String::new(),
            text,
        }
    }

    #[test]
    fn a_survivor_needs_a_reason_and_the_next_run_keeps_it() {
        let lists = [
            (Fate::Caught, "a.rs:1:1: delete ! in f\n".to_owned()),
            (Fate::Missed, "a.rs:2:1: delete ! in g\n".to_owned()),
        ];
        let mutants = Mutants::parse(&lists).unwrap();
        let first = text(&mutants, "").unwrap();
        assert!(first.contains("Missed: 50.0 % of the 2 that compile."));
        let error = judge(&report(first.clone())).unwrap_err();
        assert!(error.to_string().contains("delete ! in g"), "{error}");

        let explained = first.replace("g` |  |", "g` | only the lab sees it |");
        assert!(judge(&report(explained.clone())).is_ok());
        assert_eq!(text(&mutants, &explained).unwrap(), explained);
    }
}
