//! What can be tested on any Linux, unprivileged, with cargo alone.

use anyhow::{Context, Result, bail, ensure};

use super::tally::Tally;
use crate::workspace::{cargo, output, target};

/// `cargo fmt`
pub(super) fn format(tally: &mut Tally) -> Result<()> {
    tally.check("format", |_| run(&["fmt", "--all", "--check"]));
    Ok(())
}

/// `cargo clippy`
pub(super) fn clippy(tally: &mut Tally) -> Result<()> {
    tally.check("clippy", |_| {
        run(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--all-features",
            "--locked",
            "--quiet",
            "--",
            "-Dwarnings",
        ])
    });
    Ok(())
}

/// Unit, integration and documentation tests.
pub(super) fn unit(tally: &mut Tally) -> Result<()> {
    // Another workspace: each has a place of its own to build in.
    let outside = target()?.join("outside");
    for (prefix, args) in [
        (
            "unit",
            ["--workspace", "--all-targets", "--all-features"].as_slice(),
        ),
        // Without features, so that this is built too.
        ("doc", &["--workspace", "--doc"]),
        ("outside", &["--manifest-path=tests/outside/Cargo.toml"]),
    ] {
        let step = tally.ui.step(format!("{prefix} tests"));
        let mut command = cargo();
        command
            .args(["test", "--locked", "--no-fail-fast"])
            .args(args);
        if prefix == "outside" {
            command.arg("--target-dir").arg(&outside);
        }
        let (success, text) = output(&mut command)?;
        drop(step);
        tally.record_tests(prefix, &text, success);
    }
    tally.check("documentation", |_| {
        let mut command = cargo();
        command
            .args(["doc", "--workspace", "--no-deps", "--locked", "--quiet"])
            .arg("--all-features")
            .env("RUSTDOCFLAGS", "-Dwarnings");
        expect(&mut command)
    });
    Ok(())
}

/// The demo as a reader without the lab runs it.
pub(super) fn demo_sim(tally: &mut Tally) -> Result<()> {
    tally.check("demo on simulated machines", |_| {
        let (success, text) = output(cargo().args(["xtask", "demo", "--sim"]))?;
        let closing = text.lines().next_back();
        let all_passed = closing == Some("demo: 3 machines, 3 passed (simulated)");
        ensure!(success && all_passed, "\n{}", text.trim_end());
        Ok(())
    });
    Ok(())
}

fn run(args: &[&str]) -> Result<()> {
    expect(cargo().args(args))
}

fn expect(command: &mut std::process::Command) -> Result<()> {
    let (success, text) = output(command).context("run cargo")?;
    if !success {
        bail!("\n{}", text.trim_end());
    }
    Ok(())
}
