//! `cargo xtask test`: everything that proves the project, in suites.

mod broken;
mod licences;
mod machines;
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
    run: Run,
}

const SUITES: &[Suite] = &[
    anywhere("format", "the code is formatted", workspace::format),
    anywhere("clippy", "no lint complains", workspace::clippy),
    anywhere(
        "rule",
        "no crate uses a sibling that it must not",
        rule::check,
    ),
    anywhere("licences", "every dependency may be used", licences::check),
    anywhere(
        "unit",
        "unit, integration and documentation tests",
        workspace::unit,
    ),
    in_lab(
        "uapi",
        "numbers and structs are those of each architecture",
        machines::uapi,
    ),
    in_lab(
        "lab",
        "the lab says what happened to a machine",
        machines::lab,
    ),
    in_lab(
        "x86_64",
        "hardware suite: type1 over VT-d",
        machines::x86_64,
    ),
    in_lab(
        "aarch64",
        "hardware suite: type1 over an SMMU",
        machines::aarch64,
    ),
    in_lab(
        "pseries",
        "hardware suite: sPAPR under a hypervisor",
        machines::pseries,
    ),
    in_lab(
        "powernv9",
        "hardware suite: sPAPR on bare metal",
        machines::powernv9,
    ),
    in_lab(
        "fallback",
        "a backend that is advertised and refused",
        machines::fallback,
    ),
    in_lab(
        "bad-input",
        "what is wrong on a host, and what vfioctl says",
        machines::bad_input,
    ),
    in_lab(
        "broken",
        "each break of the product turns a test red",
        broken::run,
    ),
];

type Run = fn(&mut Tally) -> Result<()>;

const fn anywhere(name: &'static str, what: &'static str, run: Run) -> Suite {
    Suite {
        name,
        what,
        needs_lab: false,
        run,
    }
}

const fn in_lab(name: &'static str, what: &'static str, run: Run) -> Suite {
    Suite {
        name,
        what,
        needs_lab: true,
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
