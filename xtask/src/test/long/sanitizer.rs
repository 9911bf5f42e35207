//! The tests under AddressSanitizer and LeakSanitizer, which first must see what was planted for them.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::{Findings, Run, accept};
use crate::tools::follow;
use crate::ui::Ui;
use crate::workspace::{cargo, output};

pub(super) const RUN: Run = Run {
    name: "sanitizer",
    covers: &[
        "vfio-core",
        "vfio-sim",
        "iommu-type1",
        "iommu-spapr",
        "tests",
    ],
    run,
    judge: accept,
};

/// `vfio-tests` has the suites that run on simulated machines.
const PACKAGES: [&str; 5] = [
    "vfio-core",
    "vfio-sim",
    "iommu-type1",
    "iommu-spapr",
    "vfio-tests",
];

/// The target is named, so that build scripts and macros are built without the sanitizer.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The runtime comes with the compiler, but the option is not stable (`RUSTC_BOOTSTRAP`).
const FLAG: &str = "-Zsanitizer=address";

/// A test waits for the signal of a child's (F77): the sanitizer must not take it.
const OPTIONS: (&str, &str) = (
    "ASAN_OPTIONS",
    "detect_leaks=1:detect_stack_use_after_return=1:handle_sigbus=0",
);

fn run(ui: &Ui) -> Result<Findings> {
    ensure!(
        cfg!(all(
            target_os = "linux",
            target_arch = "x86_64",
            target_env = "gnu"
        )),
        "the sanitizers run on Linux on x86_64 only: leave `--suite {}` to such a machine",
        RUN.name
    );
    let dir = super::scratch("sanitizer")?;
    let mut text = String::from(
        "# Sanitizers\n\n\
         Unit and integration tests under AddressSanitizer and LeakSanitizer. The standard library is the\n\
         one that comes with the compiler, which is not instrumented.\n\n\
         | planted, to be found | found |\n|---|---|\n",
    );
    for fault in PLANTED {
        fault.must_be_found(&dir)?;
        writeln!(text, "| {} | yes |", fault.name)?;
    }
    text.push_str("\n| package | tests | ignored | findings |\n|---|---|---|---|\n");
    for package in PACKAGES {
        let (passed, ignored) = tests(package, &dir, ui)?;
        writeln!(text, "| {package} | {passed} | {ignored} | 0 |")?;
    }
    Ok(Findings {
        tool: format!("AddressSanitizer of {}", compiler()?),
        text,
    })
}

/// `rustc 1.95.0`
fn compiler() -> Result<String> {
    let (_, text) = output(rustc().arg("--version"))?;
    let words: Vec<_> = text.split_whitespace().take(2).collect();
    Ok(words.join(" "))
}

fn rustc() -> Command {
    Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
}

/// A fault that the sanitizer must report, or its silence means nothing.
struct Planted {
    name: &'static str,
    program: &'static str,
    report: &'static str,
}

const PLANTED: [Planted; 2] = [
    Planted {
        name: "a use after free",
        program: "fn main() {
            let boxed = Box::new(std::env::args().count());
            let freed = &raw const *boxed;
            drop(boxed);
            println!(\"{}\", unsafe { freed.read_volatile() });
        }",
        report: "ERROR: AddressSanitizer: heap-use-after-free",
    },
    Planted {
        name: "a leak",
        program: "fn main() {
            let leaked = Box::new([std::env::args().count(); 16]);
            println!(\"{}\", std::hint::black_box(Box::leak(leaked)).len());
        }",
        report: "ERROR: LeakSanitizer: detected memory leaks",
    },
];

impl Planted {
    fn must_be_found(&self, dir: &Path) -> Result<()> {
        let source = dir.join("planted.rs");
        let program = dir.join("planted");
        std::fs::write(&source, self.program)
            .with_context(|| format!("write {}", source.display()))?;
        let mut build = rustc();
        build
            .args(["--edition", "2024", "--target", TARGET, FLAG, "-o"])
            .args([&program, &source])
            .env("RUSTC_BOOTSTRAP", "1");
        let (built, said) = output(&mut build)?;
        ensure!(
            built,
            "build a program with {}:\n{}",
            self.name,
            said.trim_end()
        );
        let (survived, said) = output(Command::new(&program).env(OPTIONS.0, OPTIONS.1))?;
        ensure!(
            !survived && said.contains(self.report),
            "the sanitizer does not report {}, which was planted:\n{}",
            self.name,
            said.trim_end()
        );
        Ok(())
    }
}

/// Runs the tests of a package; answers how many passed and how many were ignored.
fn tests(package: &str, dir: &Path, ui: &Ui) -> Result<(usize, usize)> {
    let step = ui.step(format!("sanitizer: {package}"));
    let mut command = cargo();
    command
        .args([
            "test",
            "--locked",
            "--lib",
            "--tests",
            "--package",
            package,
            "--target",
            TARGET,
            "--target-dir",
        ])
        .arg(dir)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", FLAG)
        .env("CARGO_TERM_COLOR", "never")
        .env(OPTIONS.0, OPTIONS.1);
    let ended = follow(&mut command, |line| step.message(line.trim()))?;
    // A leak is found when a program ends: its tests have all passed then.
    if !ended.status.success() {
        bail!("{package} under the sanitizer:\n{}", ended.text.trim_end());
    }
    let (passed, ignored) = ended
        .text
        .lines()
        .filter_map(counts)
        .fold((0, 0), |sum, it| (sum.0 + it.0, sum.1 + it.1));
    ensure!(passed > 0, "{package}: no test was run");
    step.done(format_args!("{passed} tests, nothing found"));
    Ok((passed, ignored))
}

/// `test result: ok. 3 passed; 0 failed; 1 ignored; ...`: how many passed, how many were ignored.
fn counts(line: &str) -> Option<(usize, usize)> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let count = |what: &str| {
        let mut parts = counts.split("; ");
        let number = parts.find_map(|part| part.strip_suffix(what))?;
        number.trim().parse().ok()
    };
    Some((count("passed")?, count("ignored")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_test_programs() {
        let line = "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; \
                    finished in 0.02s";
        assert_eq!(counts(line), Some((12, 1)));
        assert_eq!(counts("test result of mine ... ok"), None);
    }
}
