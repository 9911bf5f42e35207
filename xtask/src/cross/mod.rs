//! Static programs for the lab's machines, built with this workspace's own lock file.
//!
//! For x86_64 with the machine's own compiler, for the others with Debian's (see [`toolchain`]).

mod toolchain;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use cargo_metadata::Message;

use crate::packages::Arch;
use crate::ui::{Phase, Ui};
use crate::workspace;

/// What runs in a machine.
#[derive(Debug)]
pub(crate) struct Binaries {
    pub(crate) vfioctl: PathBuf,
    pub(crate) hardware_tests: PathBuf,
}

/// The programs that every machine has.
const PROGRAMS: [&str; 8] = [
    "--package",
    "vfioctl",
    "--bin",
    "vfioctl",
    "--package",
    "vfio-tests",
    "--bin",
    "hardware-tests",
];

/// Builds them for the host that runs us, with what it has, and answers the directory that they are in.
pub(crate) fn native(ui: &Ui) -> Result<PathBuf> {
    let target = workspace::target()?;
    let mut command = workspace::cargo();
    command
        .args(["build", "--locked", "--target-dir"])
        .arg(&target)
        .args(PROGRAMS)
        .env_remove("CARGO_BUILD_TARGET"); // it would have a directory of its own
    let label = "build for this host";
    run(&mut command, label, ui).context(label)?;
    Ok(target.join("debug"))
}

/// Builds the programs that every machine has, if they are not up to date.
pub(crate) fn binaries(arch: Arch, ui: &Ui) -> Result<Binaries> {
    let mut command = cargo(arch, "build", ui)?;
    command.args(PROGRAMS);
    let label = format!("build for {}", arch.debian());
    run(&mut command, &label, ui).with_context(|| label.clone())?;

    let dir = target_directory(arch)?.join(triple(arch)).join(PROFILE);
    Ok(Binaries {
        vfioctl: dir.join("vfioctl"),
        hardware_tests: dir.join("hardware-tests"),
    })
}

/// Builds one more program of a package for `arch`, and answers where it is.
pub(crate) fn program(arch: Arch, package: &str, name: &str, ui: &Ui) -> Result<PathBuf> {
    let mut command = cargo(arch, "build", ui)?;
    command.args(["--package", package, "--bin", name]);
    let label = format!("build {name} for {}", arch.debian());
    run(&mut command, &label, ui).with_context(|| label.clone())?;
    let dir = target_directory(arch)?.join(triple(arch)).join(PROFILE);
    Ok(dir.join(name))
}

/// Builds a program of a package that is outside of the workspace, and answers where it is.
pub(crate) fn outside(arch: Arch, manifest: &Path, name: &str, ui: &Ui) -> Result<PathBuf> {
    let mut command = cargo(arch, "build", ui)?;
    command.arg("--manifest-path").arg(manifest);
    command.args(["--bin", name]);
    let label = format!("build {name} for {}", arch.debian());
    run(&mut command, &label, ui).with_context(|| label.clone())?;
    Ok(target_directory(arch)?
        .join(triple(arch))
        .join(PROFILE)
        .join(name))
}

/// Builds one integration test of a package for `arch`, and answers where its program is.
pub(crate) fn test_binary(arch: Arch, package: &str, test: &str, ui: &Ui) -> Result<PathBuf> {
    let _timing = ui.time(Phase::Build);
    let step = ui.step(format!(
        "build {package}'s test {test} for {}",
        arch.debian()
    ));
    let output = cargo(arch, "test", ui)?
        .args(["--package", package, "--test", test, "--no-run", "--quiet"])
        .arg("--message-format=json-render-diagnostics")
        .stdin(Stdio::null())
        .output()
        .context("run cargo")?;
    drop(step);
    if !output.status.success() {
        bail!(
            "build the test {test} of {package} for {}:\n{}",
            arch.debian(),
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
    }
    Message::parse_stream(output.stdout.as_slice())
        .filter_map(Result::ok)
        .find_map(|message| match message {
            Message::CompilerArtifact(artifact) => artifact.executable,
            _ => None,
        })
        .map(PathBuf::from)
        .with_context(|| format!("cargo names no program for the test {test} of {package}"))
}

/// A C compiler for `arch`, with its kernel headers.
pub(crate) fn c_compiler(arch: Arch, ui: &Ui) -> Result<PathBuf> {
    Ok(toolchain::of(arch, ui)?.map_or("cc".into(), |toolchain| toolchain.linker))
}

/// The profile of the workspace for what runs on an emulated processor.
const PROFILE: &str = "lab";

/// `cargo SUBCOMMAND` for `arch`: static, with the lab's profile, in a target directory of its
/// own. Fetches the cross compiler at first use. Packages and targets are for the caller to add.
pub(crate) fn cargo(arch: Arch, subcommand: &str, ui: &Ui) -> Result<Command> {
    let triple = triple(arch);
    let mut command = workspace::cargo();
    command
        .arg(subcommand)
        .args(["--locked", "--profile", PROFILE, "--target", triple])
        .arg("--target-dir")
        .arg(target_directory(arch)?)
        // Wins over whatever the environment says, and leaves build scripts alone.
        .env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static")
        .env_remove("RUSTC_WRAPPER")
        .env_remove("RUSTC_WORKSPACE_WRAPPER");
    if let Some(toolchain) = toolchain::of(arch, ui)? {
        let variable = triple.to_uppercase().replace('-', "_");
        command
            .env("RUSTC", &toolchain.rustc)
            .env(format!("CARGO_TARGET_{variable}_LINKER"), &toolchain.linker);
    }
    Ok(command)
}

/// Rust's name for a machine's target.
pub(crate) fn triple(arch: Arch) -> &'static str {
    match arch {
        Arch::Amd64 => "x86_64-unknown-linux-gnu",
        Arch::Ppc64el => "powerpc64le-unknown-linux-gnu",
        Arch::Arm64 => "aarch64-unknown-linux-gnu",
    }
}

/// The architecture's name in Rust's `target_arch`.
pub(crate) fn rust_arch(arch: Arch) -> &'static str {
    match arch {
        Arch::Amd64 => "x86_64",
        Arch::Ppc64el => "powerpc64",
        Arch::Arm64 => "aarch64",
    }
}

/// Compilers of different versions must not share a directory, and builds may run side by side.
fn target_directory(arch: Arch) -> Result<PathBuf> {
    Ok(workspace::target()?.join("lab").join(arch.debian()))
}

/// Runs cargo, silently where there is nothing to do. Its messages count where it fails.
fn run(command: &mut Command, label: &str, ui: &Ui) -> Result<()> {
    let _timing = ui.time(Phase::Build);
    let mut child = command
        .env("CARGO_TERM_COLOR", "never")
        .env("CARGO_TERM_PROGRESS_WHEN", "never")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("run cargo")?;
    let stderr = child.stderr.take().context("cargo has no error output")?;
    let mut step = None;
    let mut messages = Vec::new();
    for line in BufReader::new(stderr).lines() {
        let line = line.context("read the output of cargo")?;
        match status(&line) {
            Some(("Finished", _)) => {}
            Some((verb, what)) => step
                .get_or_insert_with(|| ui.step(label))
                .message(&format!("{verb} {what}")),
            None => messages.push(line),
        }
    }
    let status = child.wait().context("wait for cargo")?;
    if !status.success() {
        ui.note(messages.join("\n"));
        bail!("cargo failed ({status}): see above");
    }
    if let Some(step) = step {
        step.done("ready");
    }
    Ok(())
}

/// Cargo's progress lines have a verb that ends in column 12.
fn status(line: &str) -> Option<(&str, &str)> {
    let (verb, what) = line.trim_start().split_once(' ')?;
    let aligned = line.len() - what.len() == 13 && verb.starts_with(char::is_uppercase);
    aligned.then_some((verb, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_of_cargo() {
        assert_eq!(
            status("   Compiling libc v0.2.1"),
            Some(("Compiling", "libc v0.2.1"))
        );
        assert_eq!(
            status(" Downloading crates ..."),
            Some(("Downloading", "crates ..."))
        );
        assert_eq!(status("error: could not compile `x`"), None);
        assert_eq!(status("   --> src/main.rs:1:1"), None);
        assert_eq!(status("warning: unused"), None);
    }
}
