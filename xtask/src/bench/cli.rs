//! What `vfioctl` costs: its size, its start, and a probe of this host and of a large one, beside `lspci`.

mod large_host;

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use super::{Goal, Measured};
use crate::packages::{self, bundles, library_path};
use crate::ui::{Phase, Ui};
use crate::workspace::{cargo, output, root, target};

/// How often each is run.
const RUNS: usize = 15;
const DEVICES: usize = 4096;
const GROUPS: usize = 1024;

pub(super) fn measure(ui: &Ui) -> Result<Vec<Measured>> {
    let program = build(ui)?;
    let size = fs::metadata(&program).context("look at vfioctl")?.len();
    let host = tempfile::tempdir().context("make a directory for a host")?;
    large_host::write(host.path(), DEVICES, GROUPS).context("write a large host")?;
    let pciutils = packages::prefix(&bundles::PCIUTILS, ui)?;

    let ours = |args: &[&str]| {
        let mut command = Command::new(&program);
        command.args(args);
        command
    };
    let path = host.path().to_str().context("the directory has a name")?;
    let large = [("--root", path), ("probe", "--json")];
    let large: Vec<&str> = large
        .iter()
        .flat_map(|(one, other)| [*one, *other])
        .collect();
    check_large(&mut ours(&large))?;
    let mut pairs = Vec::new();
    let (mut starts, mut probes) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        starts.push(time(&mut ours(&["--version"]))?);
        probes.push(time(&mut ours(&["probe"]))?);
        pairs.push((
            time(&mut ours(&large))?,
            time(&mut lspci(&pciutils, host.path()))?,
        ));
    }
    // Beside its limit.
    let alone = |name: &str, unit, ours: &[u64], limit: u64| {
        let pairs: Vec<_> = ours.iter().map(|ours| (*ours, limit)).collect();
        Measured::of_pairs(name, unit, &pairs, "the limit", Goal::Below(limit))
    };
    let whole: Vec<_> = pairs.iter().map(|(ours, _)| *ours).collect();
    Ok(vec![
        alone("vfioctl, stripped", "bytes", &[size], 6_000_000),
        alone("vfioctl --version", "us", &starts, 3_000),
        alone("vfioctl probe, this host", "us", &probes, 10_000),
        alone("vfioctl probe, 4096 devices", "us", &whole, 150_000),
        Measured::of_pairs(
            "vfioctl probe, 4096 devices",
            "us",
            &pairs,
            "lspci -vmm",
            Goal::AsThePeer,
        ),
    ])
}

/// As a distribution would build it.
fn build(ui: &Ui) -> Result<std::path::PathBuf> {
    let _timing = ui.time(Phase::Build);
    let step = ui.step("build vfioctl");
    let directory = target()?.join("bench");
    let mut command = cargo();
    command
        .args([
            "build",
            "--locked",
            "--release",
            "--quiet",
            "-p",
            "vfioctl",
            "--target-dir",
        ])
        .arg(&directory)
        .current_dir(root())
        .env("CARGO_ENCODED_RUSTFLAGS", "");
    let (success, text) = output(&mut command)?;
    drop(step);
    if !success {
        bail!("build vfioctl:\n{}", text.trim_end());
    }
    Ok(directory.join("release/vfioctl"))
}

fn lspci(pciutils: &Path, host: &Path) -> Command {
    let mut sysfs = OsString::from("sysfs.path=");
    sysfs.push(host.join("sys/bus/pci"));
    let mut command = Command::new(pciutils.join("usr/bin/lspci"));
    command
        .env("LD_LIBRARY_PATH", library_path(pciutils))
        .args(["-A", "linux-sysfs", "-O"])
        .arg(sysfs)
        .arg("-i")
        .arg(pciutils.join("usr/share/misc/pci.ids"))
        .arg("-vmm");
    command
}

/// It sees the whole host.
fn check_large(command: &mut Command) -> Result<()> {
    let said = command
        .stderr(Stdio::null())
        .output()
        .context("run vfioctl")?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let seen = said.matches("\"bdf\":").count();
    ensure!(seen == DEVICES, "it sees {seen} devices of {DEVICES}");
    Ok(())
}

/// In microseconds, until it has ended.
fn time(command: &mut Command) -> Result<u64> {
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let start = Instant::now();
    command
        .status()
        .with_context(|| format!("run {command:?}"))?;
    u64::try_from(start.elapsed().as_micros()).context("it took an age")
}
