//! The measured programs: built for this machine, or for one of the lab and run there.

use std::path::PathBuf;

use anyhow::{Result, bail, ensure};

use crate::cross;
use crate::lab::{self, FileSpec, Request};
use crate::ui::{Phase, Ui};
use crate::workspace::{cargo, output, root, target};

/// Where they are.
const MANIFEST: &str = "bench/Cargo.toml";

/// Builds one for this machine, as a user's own program would be.
pub(super) fn native(name: &str, ui: &Ui) -> Result<PathBuf> {
    let _timing = ui.time(Phase::Build);
    let step = ui.step(format!("build {name}"));
    let directory = target()?.join("bench");
    let mut command = cargo();
    command
        .args(["build", "--locked", "--release", "--quiet"])
        .args(["--bin", name, "--manifest-path"])
        .arg(root().join(MANIFEST))
        .arg("--target-dir")
        .arg(&directory)
        .env("CARGO_ENCODED_RUSTFLAGS", "");
    let (success, text) = output(&mut command)?;
    drop(step);
    if !success {
        bail!("build {name}:\n{}", text.trim_end());
    }
    Ok(directory.join("release").join(name))
}

/// Answers what a request's command has printed, which finds the program `name` in `/bin`.
pub(super) fn in_machine(name: &str, mut request: Request, ui: &Ui) -> Result<String> {
    let manifest = root().join(MANIFEST);
    let program = cross::outside(request.machine.arch, &manifest, name, ui)?;
    let file = format!("{}:/bin/{name}", program.display());
    request.files.push(FileSpec::parse(&file));
    let mut output = Vec::new();
    let status = lab::boot(&request, ui, &mut |bytes| output.extend_from_slice(bytes))?;
    let output = String::from_utf8_lossy(&output).into_owned();
    ensure!(status == 0, "status {status}:\n{output}");
    Ok(output)
}

/// The line `name, ours, the peer's`, with tabs between them.
pub(super) fn line(line: &str) -> Option<(&str, u64, u64)> {
    let mut parts = line.trim_end().split('\t');
    let name = parts.next()?;
    Some((
        name,
        parts.next()?.parse().ok()?,
        parts.next()?.parse().ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_name_and_two_numbers() {
        assert_eq!(line("ioctls to x\t5\t10\r"), Some(("ioctls to x", 5, 10)));
        assert_eq!(line("boot: 3 s"), None);
        assert_eq!(line("a\tb\tc"), None);
    }
}
