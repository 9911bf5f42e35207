//! `cargo xtask test`: everything that proves the project, in suites.

mod at_once;
mod bind;
mod broken;
mod captures;
mod conformance;
mod differential;
mod doctor;
mod formats;
mod fresh;
mod licences;
mod long;
mod machines;
mod numbers;
mod pci;
mod rule;
mod tally;
mod threads;
mod workspace;

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use cargo_metadata::{Metadata, MetadataCommand};
use clap::Args;

use crate::platform;
use crate::ui::Ui;
use at_once::at_once;
pub(crate) use captures::renew as renew_captures;
use tally::Tally;

/// How the tests are run.
#[derive(Args)]
pub(crate) struct TestArgs {
    /// Leave out what needs the lab
    #[arg(long, conflicts_with_all = ["suite", "long", "fresh"])]
    quick: bool,
    /// Add the runs that take long, and renew their reports in docs/reports
    #[arg(long, conflicts_with_all = ["suite", "fresh"])]
    long: bool,
    /// Run the demo in a bare Debian with an empty cache, and nothing else (as root)
    #[arg(long, conflicts_with = "suite")]
    fresh: bool,
    /// Run this suite alone, or these with commas between them; `list` names them
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    suite: Vec<String>,
}

/// A part of the tests that can be run alone.
struct Suite {
    name: &'static str,
    what: &'static str,
    needs: Needs,
    run: Run,
}

type Run = fn(&mut Tally) -> Result<()>;

/// What a suite asks of the machine that it runs on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    /// Any Linux with cargo, unprivileged.
    Nothing,
    /// The lab.
    Lab,
    /// The lab's machines and no more: two such suites run at once.
    Machines,
    /// Much time: these run when they are asked for.
    Time,
}

impl Needs {
    fn lab(self) -> bool {
        matches!(self, Self::Lab | Self::Machines)
    }
}

impl Suite {
    fn run(&self, tally: &mut Tally) -> Result<()> {
        tally.ui.note(format_args!("{}: {}", self.name, self.what));
        (self.run)(tally).with_context(|| format!("suite {}", self.name))
    }
}

const SUITES: &[Suite] = &[
    suite(
        Needs::Nothing,
        "format",
        "the code is formatted",
        workspace::format,
    ),
    suite(
        Needs::Nothing,
        "clippy",
        "no lint complains",
        workspace::clippy,
    ),
    suite(
        Needs::Nothing,
        "rule",
        "no crate uses a sibling that it must not",
        rule::check,
    ),
    suite(
        Needs::Nothing,
        "numbers",
        "quoted kernel behaviours are on their page",
        numbers::check,
    ),
    suite(
        Needs::Nothing,
        "licences",
        "every dependency may be used",
        licences::check,
    ),
    suite(
        Needs::Nothing,
        "unit",
        "unit, integration and documentation tests",
        workspace::unit,
    ),
    suite(
        Needs::Nothing,
        "demo-sim",
        "the demo on simulated machines",
        workspace::demo_sim,
    ),
    suite(
        Needs::Nothing,
        "threads",
        "threads that share something, under many orders of events",
        threads::run,
    ),
    suite(
        Needs::Lab,
        "uapi",
        "numbers and structs are those of each architecture",
        machines::uapi,
    ),
    suite(
        Needs::Machines,
        "lab",
        "the lab says what happened to a machine",
        machines::lab,
    ),
    suite(
        Needs::Machines,
        "probe",
        "what each machine's IOMMU can do",
        machines::probe,
    ),
    suite(
        Needs::Machines,
        "x86_64",
        "hardware suite: type1 over VT-d",
        machines::x86_64,
    ),
    suite(
        Needs::Machines,
        "type1",
        "hardware suite: type1 version 1, VT-d with 39 bits, virtio-iommu, AMD-Vi; every mapping",
        machines::type1,
    ),
    suite(
        Needs::Machines,
        "aarch64",
        "hardware suite: type1 over an SMMU",
        machines::aarch64,
    ),
    suite(
        Needs::Machines,
        "pseries",
        "hardware suite: sPAPR under a hypervisor",
        machines::pseries,
    ),
    suite(
        Needs::Machines,
        "powernv9",
        "hardware suite: sPAPR on bare metal",
        machines::powernv9,
    ),
    suite(
        Needs::Machines,
        "spapr",
        "hardware suite: sPAPR of both versions with 4 KiB pages; huge pages",
        machines::spapr,
    ),
    suite(
        Needs::Machines,
        "kvm",
        "KVM beside VFIO: groups of VMs everywhere, tables that guests fill on POWER",
        machines::kvm,
    ),
    suite(
        Needs::Machines,
        "pci",
        "devices in a guest: config space, BARs, ROM, sleep and resets of everything that QEMU has",
        pci::run,
    ),
    suite(
        Needs::Machines,
        "programs",
        "a driver in thirty lines; a process without rights and its broker; a live update",
        machines::programs,
    ),
    suite(
        Needs::Lab,
        "conformance",
        "what the page of kernel behaviours says is so, on real kernels and simulated ones",
        conformance::run,
    ),
    suite(
        Needs::Lab,
        "differential",
        "random calls: a real kernel and its simulation answer alike",
        differential::run,
    ),
    suite(
        Needs::Lab,
        "bench",
        "counts beside the peers",
        machines::bench,
    ),
    suite(
        Needs::Machines,
        "fallback",
        "a backend that is advertised and refused",
        machines::fallback,
    ),
    suite(
        Needs::Machines,
        "bad-input",
        "what is wrong on a host, and what vfioctl says",
        machines::bad_input,
    ),
    suite(
        Needs::Lab,
        "formats",
        "what other programs make of vfioctl's output",
        formats::run,
    ),
    suite(
        Needs::Machines,
        "bind",
        "devices go to VFIO and back, and again at the next boot",
        bind::run,
    ),
    suite(
        Needs::Machines,
        "doctor",
        "hosts that are broken in each way that can be, and what the doctor says",
        doctor::run,
    ),
    suite(
        Needs::Lab,
        "broken",
        "each break of the product turns a test red",
        broken::run,
    ),
    suite(
        Needs::Time,
        "mutation",
        "small changes of the product, each seen by a test",
        long::mutation,
    ),
    suite(
        Needs::Time,
        "sanitizer",
        "the tests under AddressSanitizer",
        long::sanitizer,
    ),
    suite(
        Needs::Time,
        "fuzz",
        "whatever reads foreign bytes, fed with any",
        long::fuzz,
    ),
    suite(
        Needs::Time,
        "reports",
        "the reports of the long runs are those of these sources",
        long::reports_are_fresh,
    ),
    suite(
        Needs::Time,
        "fresh",
        "the demo in a bare Debian with an empty cache",
        fresh::run,
    ),
];

const fn suite(needs: Needs, name: &'static str, what: &'static str, run: Run) -> Suite {
    Suite {
        name,
        what,
        needs,
        run,
    }
}

pub(crate) fn run(args: &TestArgs, ui: &Ui) -> Result<ExitCode> {
    if args.suite == ["list"] {
        ui.last_line(names());
        return Ok(ExitCode::SUCCESS);
    }
    let suites = select(args)?;
    if suites.iter().any(|suite| suite.needs.lab()) {
        platform::require_lab()?;
    }
    let mut tally = Tally::new(ui);
    let (machines, alone): (Vec<_>, _) = suites
        .into_iter()
        .partition(|suite| suite.needs == Needs::Machines);
    for suite in alone {
        suite.run(&mut tally)?;
    }
    for one in at_once(&machines, |suite| {
        let mut tally = Tally::new(ui);
        suite.run(&mut tally).map(|()| tally)
    }) {
        tally.add(one?);
    }
    let green = tally.is_green();
    ui.last_line(tally.close());
    Ok(if green {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn select(args: &TestArgs) -> Result<Vec<&'static Suite>> {
    if args.fresh {
        return Ok(vec![find("fresh")?]);
    }
    if !args.suite.is_empty() {
        return args.suite.iter().map(|name| find(name)).collect();
    }
    let wanted = |suite: &&Suite| match suite.needs {
        Needs::Nothing => true,
        Needs::Lab | Needs::Machines => !args.quick,
        Needs::Time => args.long && suite.name != "fresh",
    };
    Ok(SUITES.iter().filter(wanted).collect())
}

fn find(name: &str) -> Result<&'static Suite> {
    let Some(suite) = SUITES.iter().find(|suite| suite.name == name) else {
        bail!("there is no suite {name}; there are\n{}", names());
    };
    Ok(suite)
}

/// The suites, a line each.
fn names() -> String {
    let line = |suite: &Suite| format!("{:<10} {}", suite.name, suite.what);
    SUITES.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// What cargo knows of the workspace and everything that it is built from.
fn metadata() -> Result<Metadata> {
    MetadataCommand::new()
        .current_dir(crate::workspace::root())
        .other_options(["--locked".to_owned()])
        .exec()
        .context("run cargo metadata")
}
