//! `cargo xtask test`: everything that proves the project, in suites.

mod licences;
mod rule;
mod tally;
mod workspace;

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use cargo_metadata::{Metadata, MetadataCommand};
use clap::Args;

use crate::platform;
use crate::ui::Ui;
use tally::Tally;

/// How the tests are run.
#[derive(Args)]
pub(crate) struct TestArgs {
    /// Leave out what needs the lab
    #[arg(long, conflicts_with_all = ["suite", "long", "fresh"])]
    quick: bool,
    /// Run this suite alone; `list` names them
    #[arg(long, value_name = "NAME")]
    suite: Option<String>,
}

/// A part of the tests that can be run alone.
struct Suite {
    name: &'static str,
    what: &'static str,
    needs_lab: bool,
    run: fn(&mut Tally) -> Result<()>,
}

const SUITES: &[Suite] = &[
    suite("format", "the code is formatted", workspace::format),
    suite("clippy", "no lint complains", workspace::clippy),
    suite(
        "rule",
        "no crate uses a sibling that it must not",
        rule::check,
    ),
    suite("licences", "every dependency may be used", licences::check),
    suite(
        "unit",
        "unit, integration and documentation tests",
        workspace::unit,
    ),
];

const fn suite(name: &'static str, what: &'static str, run: fn(&mut Tally) -> Result<()>) -> Suite {
    Suite {
        name,
        what,
        needs_lab: false,
        run,
    }
}

pub(crate) fn run(args: &TestArgs, ui: &Ui) -> Result<ExitCode> {
    let suites = match args.suite.as_deref() {
        None => SUITES
            .iter()
            .filter(|suite| !(args.quick && suite.needs_lab))
            .collect(),
        Some(name) => vec![find(name)?],
    };
    if suites.iter().any(|suite| suite.needs_lab) {
        platform::require_lab()?;
    }
    let mut tally = Tally::new(ui);
    for suite in suites {
        ui.note(format_args!("{}: {}", suite.name, suite.what));
        (suite.run)(&mut tally).with_context(|| format!("suite {}", suite.name))?;
    }
    let green = tally.is_green();
    ui.last_line(tally.close());
    Ok(if green {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn find(name: &str) -> Result<&'static Suite> {
    if let Some(suite) = SUITES.iter().find(|suite| suite.name == name) {
        return Ok(suite);
    }
    let known: Vec<_> = SUITES
        .iter()
        .map(|suite| format!("{:<10} {}", suite.name, suite.what))
        .collect();
    bail!("there is no suite {name}; there are\n{}", known.join("\n"))
}

/// What cargo knows of the workspace and everything that it is built from.
fn metadata() -> Result<Metadata> {
    MetadataCommand::new()
        .current_dir(crate::workspace::root())
        .other_options(["--locked".to_owned()])
        .exec()
        .context("run cargo metadata")
}
