//! The long runs: mutants, sanitizers, fuzzing. Each writes a report, which is committed, with the digest of the sources
//! that it is of; the suite `reports` says whether these are the sources as they are.

mod fuzz;
mod mutants;
mod mutation;
mod report;
mod sanitizer;
mod sources;

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use self::report::Report;
use super::tally::Tally;
use crate::ui::Ui;
use crate::workspace::{root, target};

/// A run that takes too long for every commit.
struct Run {
    /// The name of its suite and of its report.
    name: &'static str,
    /// What its result follows from: packages (their `src` and `tests`), other directories, files.
    covers: &'static [&'static str],
    /// Answers what it found. A run that finds something wrong fails, and leaves the last report.
    run: fn(&Ui) -> Result<Findings>,
    /// Whether a report may be left as it is.
    judge: fn(&Report) -> Result<()>,
}

/// What a run found.
struct Findings {
    /// The tool, with its version.
    tool: String,
    /// The report, in Markdown, from its title on.
    text: String,
}

const RUNS: [&Run; 3] = [&mutation::RUN, &sanitizer::RUN, &fuzz::RUN];

/// Each small change of the product is seen by a test, or has a reason why not.
pub(super) fn mutation(tally: &mut Tally) -> Result<()> {
    renew(tally, &mutation::RUN)
}

/// The tests use no memory that is not theirs, and give back what they took.
pub(super) fn sanitizer(tally: &mut Tally) -> Result<()> {
    renew(tally, &sanitizer::RUN)
}

/// Whatever reads foreign bytes survives any.
pub(super) fn fuzz(tally: &mut Tally) -> Result<()> {
    renew(tally, &fuzz::RUN)
}

/// The committed reports are those of the sources as they are, and nothing in them is left open.
pub(super) fn reports_are_fresh(tally: &mut Tally) -> Result<()> {
    for run in RUNS {
        tally.check(&format!("report of {}", run.name), |_| {
            let report = Report::read(run.name)?;
            let digest = sources::digest(root(), run.covers)?;
            ensure!(
                report.digest == digest && report.covers == run.covers.join(" "),
                "{} is of other sources: `cargo xtask test --suite {}` renews it, `cargo xtask test \
                 --long` all reports",
                report::place(run.name),
                run.name
            );
            (run.judge)(&report)
        });
    }
    Ok(())
}

fn renew(tally: &mut Tally, run: &Run) -> Result<()> {
    tally.check(run.name, |ui| {
        let digest = sources::digest(root(), run.covers)?;
        let findings = (run.run)(ui)?;
        ensure!(
            sources::digest(root(), run.covers)? == digest,
            "the sources changed meanwhile: `cargo xtask test --suite {}` again, and leave them alone",
            run.name
        );
        let report = Report {
            tool: findings.tool,
            covers: run.covers.join(" "),
            digest,
            text: findings.text,
        };
        report.write(run.name)?;
        ui.note(format_args!("  written  {}", report::place(run.name)));
        (run.judge)(&report)
    });
    Ok(())
}

/// Nothing that a run of this kind reports is left open.
fn accept(_: &Report) -> Result<()> {
    Ok(())
}

/// A directory for what a run builds, apart from that of other builds: their flags differ.
fn scratch(name: &str) -> Result<PathBuf> {
    let path = target()?.join("long").join(name);
    std::fs::create_dir_all(&path).with_context(|| format!("create {}", path.display()))?;
    Ok(path)
}
