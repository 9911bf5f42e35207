//! `cargo xtask captures`: the broken hosts of the doctor's tests, made anew on real kernels.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use base64::prelude::{BASE64_STANDARD, Engine as _};

use super::doctor::PATIENTS;
use super::machines::boot;
use crate::ui::Ui;
use crate::workspace;

/// Where they are kept.
fn hosts() -> PathBuf {
    workspace::root().join("cli/tests/hosts")
}

/// Breaks every machine and keeps what `vfioctl capture` wrote of it. The first of a name is kept.
pub(crate) fn renew(ui: &Ui) -> Result<ExitCode> {
    let mut kept = BTreeSet::new();
    for patient in PATIENTS {
        let (status, output) = boot(&patient.request("CAPTURE=1")?, ui)?;
        if status != 0 {
            bail!("{}: status {status}:\n{output}", patient.part);
        }
        let captures = captures(&output)?;
        ensure!(
            !captures.is_empty(),
            "{} has captured nothing:\n{output}",
            patient.part
        );
        for (name, archive) in captures {
            if kept.insert(name.clone()) {
                let file = hosts().join(format!("{name}.tar.gz"));
                fs::write(&file, archive).with_context(|| format!("write {}", file.display()))?;
            }
        }
    }
    ui.last_line(format!("{} hosts in {}", kept.len(), hosts().display()));
    Ok(ExitCode::SUCCESS)
}

/// What is between `capture NAME` and `captured NAME`.
fn captures(output: &str) -> Result<Vec<(String, Vec<u8>)>> {
    let mut captures = Vec::new();
    let mut lines = output.lines().map(str::trim_end);
    while let Some(line) = lines.next() {
        let Some(name) = line.strip_prefix("capture ") else {
            continue;
        };
        let end = format!("captured {name}");
        let text: String = lines.by_ref().take_while(|line| *line != end).collect();
        let archive = BASE64_STANDARD
            .decode(text)
            .with_context(|| format!("read the capture {name}"))?;
        captures.push((name.to_owned(), archive));
    }
    Ok(captures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captures_are_between_their_lines() {
        let output = "test a ... ok\r\ncapture one\r\nAAEC\r\nAw==\r\ncaptured one\r\nbye\r\n";
        let expected = vec![("one".to_owned(), vec![0, 1, 2, 3])];
        assert_eq!(captures(output).unwrap(), expected);
        assert!(captures("capture one\n???\ncaptured one\n").is_err());
    }
}
