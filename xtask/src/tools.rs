//! Cargo's tools that the project needs: of one version each, installed into the cache.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Sender, channel};

use anyhow::{Context, Result, bail};

use crate::cache::Cache;
use crate::ui::Ui;
use crate::workspace;

/// A subcommand of cargo that is a program of its own.
pub(crate) struct Tool {
    /// Its package, and its program.
    package: &'static str,
    version: &'static str,
    /// How cargo calls it: `cargo SUBCOMMAND`.
    subcommand: &'static str,
}

/// Finds what no test sees.
pub(crate) const MUTANTS: Tool = Tool {
    package: "cargo-mutants",
    version: "26.0.0", // 27 needs a newer Rust than the workspace
    subcommand: "mutants",
};

/// Builds and runs fuzz targets.
pub(crate) const FUZZ: Tool = Tool {
    package: "cargo-fuzz",
    version: "0.13.2",
    subcommand: "fuzz",
};

impl Tool {
    /// `cargo-mutants 26.0.0`
    pub(crate) fn name(&self) -> String {
        format!("{} {}", self.package, self.version)
    }

    /// The tool on `PATH` if that has the very version, otherwise the cache's, into which it is installed
    /// first if need be.
    pub(crate) fn find(&self, ui: &Ui) -> Result<Program> {
        let path = if self.is_installed() {
            ui.note(format_args!("{} is the one on PATH", self.name()));
            PathBuf::from(self.package)
        } else {
            self.install(ui)?
        };
        Ok(Program {
            path,
            subcommand: self.subcommand,
        })
    }

    fn is_installed(&self) -> bool {
        let output = Command::new(self.package)
            .args([self.subcommand, "--version"])
            .stdin(Stdio::null())
            .output();
        output.is_ok_and(|output| {
            output.status.success() && String::from_utf8_lossy(&output.stdout).trim() == self.name()
        })
    }

    /// Answers the program.
    fn install(&self, ui: &Ui) -> Result<PathBuf> {
        let name = self.name();
        let definition = (self.package, self.version);
        let entry = Cache::open()?.entry(self.package, definition, ui, |draft| {
            let step = ui.step(format!("install {name}"));
            let mut command = workspace::cargo();
            command
                .args(["install", "--locked", "--no-track", "--root"])
                .arg(&draft.tree)
                .arg("--target-dir")
                .arg(draft.downloads.join("target"))
                .arg(format!("{}@{}", self.package, self.version))
                .env("CARGO_TERM_COLOR", "never");
            let ended = follow(&mut command, |line| step.message(line.trim()))?;
            if !ended.status.success() {
                bail!(
                    "install {name}:\n{}\nIt comes from crates.io: connect this machine, or install \
                     that version yourself and put it on PATH.",
                    complaint(&ended.text)
                );
            }
            step.done("installed");
            Ok(())
        })?;
        Ok(entry.join("bin").join(self.package))
    }
}

/// A tool that can be run.
pub(crate) struct Program {
    path: PathBuf,
    subcommand: &'static str,
}

impl Program {
    /// To be given its arguments; in the root of the workspace.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.arg(self.subcommand).current_dir(workspace::root());
        command
    }
}

/// What cargo says from its first error on.
fn complaint(text: &str) -> &str {
    let start = text.find("error").unwrap_or(0);
    text.get(start..).unwrap_or(text).trim_end()
}

/// A command that has ended.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    /// What it said, on both outputs.
    pub(crate) text: String,
}

/// Runs a command to its end; `see` is given each line that it says, on either output, as it comes.
pub(crate) fn follow(command: &mut Command, mut see: impl FnMut(&str)) -> Result<Ended> {
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("run {program}"))?;
    let outputs = (child.stdout.take(), child.stderr.take());
    let mut text = String::new();
    std::thread::scope(|scope| {
        let (sender, lines) = channel();
        let other = sender.clone();
        scope.spawn(move || pass_on(outputs.0, &sender));
        scope.spawn(move || pass_on(outputs.1, &other));
        for line in lines {
            see(&line);
            text.push_str(&line);
            text.push('\n');
        }
    });
    let status = child
        .wait()
        .with_context(|| format!("wait for {program}"))?;
    Ok(Ended { status, text })
}

/// Sends each line, until the output is closed.
fn pass_on(output: Option<impl Read>, lines: &Sender<String>) {
    let Some(output) = output else { return };
    for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        if lines.send(line).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_outputs_are_seen_and_kept() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo one; echo two >&2; exit 3"]);
        let mut seen = Vec::new();
        let ended = follow(&mut command, |line| seen.push(line.to_owned())).unwrap();
        seen.sort();
        assert_eq!(seen, ["one", "two"]);
        assert_eq!(ended.status.code(), Some(3));
        assert_eq!(ended.text.lines().count(), 2);
    }

    #[test]
    fn what_cargo_complains_about() {
        let text = "    Updating crates.io index\nerror: no network\n\nCaused by:\n  why\n";
        assert_eq!(complaint(text), "error: no network\n\nCaused by:\n  why");
    }
}
