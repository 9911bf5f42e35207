//! What other programs make of `vfioctl`'s output: Prometheus, graphviz, and a formatter of manual pages.

mod hosts;
mod manual;

use std::io::{Seek, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::tally::Tally;
use crate::packages::{self, bundles, library_path};
use crate::workspace::{self, cargo, target};

const PROMTOOL: Reader = Reader("promtool", &["check", "metrics"]);
/// It reads the language as `dot` does, and draws nothing.
const NOP: Reader = Reader("nop", &[]);

pub(super) fn run(tally: &mut Tally) -> Result<()> {
    let vfioctl = Vfioctl::build(tally)?;
    let readers = packages::prefix(&bundles::READERS, tally.ui)?;
    let directory = tempfile::tempdir().context("make a directory for a host")?;
    let mut hosts = hosts::simulated(&vfioctl)?;
    hosts.extend(hosts::captured()?);
    hosts.push(hosts::hostile(directory.path())?);
    for (reader, query) in [
        (PROMTOOL, &["probe", "--format=prometheus"][..]),
        (PROMTOOL, &["groups", "--format=prometheus"]),
        (NOP, &["groups", "--dot"]),
    ] {
        let (query_name, count) = (query.join(" "), hosts.len());
        let name = format!("{} reads {query_name} of {count} hosts", reader.0);
        tally.check(&name, |_| {
            for [about, host] in &hosts {
                let text = vfioctl.ask(&[&[about.as_str(), host], query].concat())?;
                let (accepted, said) = reader.read(&readers, &text)?;
                ensure!(accepted, "{host}: {said}\n{text}");
            }
            Ok(())
        });
    }
    tally.check("what is broken is refused", |_| {
        for (reader, broken) in [
            (PROMTOOL, "# TYPE a gauge\na{b=\"c\"d\"} 1\n"),
            (PROMTOOL, "# TYPE a gauge\na{b=\"\\u{202e}\"} 1\n"),
            (NOP, "digraph { \"a\" [label=\"b\"c\"]; }\n"),
        ] {
            let (accepted, _) = reader.read(&readers, broken)?;
            ensure!(!accepted, "{} takes {broken}", reader.0);
        }
        Ok(())
    });
    tally.check("the manual can be read", |_| {
        manual::check(&vfioctl, &readers)
    });
    Ok(())
}

/// A program of [`bundles::READERS`] that reads its input, and its arguments.
#[derive(Clone, Copy)]
struct Reader(&'static str, &'static [&'static str]);

impl Reader {
    /// Whether it takes that text, and what it says on both outputs.
    fn read(self, readers: &Path, text: &str) -> Result<(bool, String)> {
        // A file, so that nobody waits for the other's pipe.
        let mut input = tempfile::tempfile().context("make a file")?;
        input.write_all(text.as_bytes()).context("write a file")?;
        input.rewind().context("rewind a file")?;
        let mut command = Command::new(readers.join("usr/bin").join(self.0));
        let output = command
            .args(self.1)
            .env("LD_LIBRARY_PATH", library_path(readers))
            .stdin(input)
            .output()
            .with_context(|| format!("run {}", self.0))?;
        let said = [output.stderr, output.stdout].concat();
        Ok((
            output.status.success(),
            String::from_utf8_lossy(&said).into_owned(),
        ))
    }
}

/// The program whose output is read.
struct Vfioctl(PathBuf);

impl Vfioctl {
    fn build(tally: &Tally) -> Result<Self> {
        let step = tally.ui.step("build vfioctl");
        let mut command = cargo();
        command.args(["build", "--locked", "--package", "vfioctl"]);
        let (success, text) = workspace::output(&mut command)?;
        drop(step);
        ensure!(success, "build vfioctl:\n{}", text.trim_end());
        Ok(Self(target()?.join("debug/vfioctl")))
    }

    /// What it answers, whether it has findings or not.
    fn ask(&self, args: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.0);
        let output = command.args(args).output().context("run vfioctl")?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        let answered = matches!(output.status.code(), Some(0 | 1));
        ensure!(answered, "vfioctl {}: {complaint}", args.join(" "));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}
