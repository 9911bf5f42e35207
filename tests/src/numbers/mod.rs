//! Every number and every yes or no that `vfioctl probe` prints, compared with what the kernel says.
//!
//! The program runs as a child. The report that it should print is [made anew](Comparison::run) by raw calls and by
//! reading sysfs and proc, with no code that it shares with the program, and compared as a whole: what is printed and not
//! expected is a difference, so that a number which is added later cannot go uncompared. Words are not compared, but
//! nothing other than words may stand where they are.
//!
//! - `difference`: comparing.
//! - `host`: the IOMMU hardware, the ways in, and what may be locked.
//! - `groups`: the groups and their members.
//! - `backends`: a row for each, with a group `attached`; `type1` and `spapr` ask what only that can.

mod attached;
mod backends;
mod difference;
mod groups;
mod host;
mod spapr;
mod type1;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use vfio_core::kernel::{Errno, Kernel, Linux};
use vfio_sim::{Machine, SimKernel};

use crate::rights;
use difference::{WORDS, differences};

/// The guest that `probe` is asked about.
const GUEST: u64 = 16 << 30;

/// What it says that a program locks for such a guest: 64 MiB for itself.
const NEEDED: u64 = GUEST + (64 << 20);

/// A kernel that is asked by us, and by the program.
#[derive(Debug)]
pub struct Comparison {
    kernel: Arc<dyn Kernel>,
    program: PathBuf,
    /// The name of the machine, if it is a simulated one.
    simulated: Option<String>,
}

impl Comparison {
    /// Of the kernel that runs.
    pub fn real(program: impl Into<PathBuf>) -> Self {
        Self {
            kernel: Arc::new(Linux),
            program: program.into(),
            simulated: None,
        }
    }

    /// Of a simulated machine: the program has one of its own.
    pub fn simulated(program: impl Into<PathBuf>, machine: Machine) -> Self {
        Self {
            program: program.into(),
            simulated: Some(machine.name.clone()),
            kernel: Arc::new(SimKernel::new(machine)),
        }
    }

    /// Asks both. A group that can be had, which a real host must have, is attached by both.
    ///
    /// # Errors
    /// What the kernel or the program could not answer; every answer that differs.
    pub fn run(&self) -> Result<()> {
        let (groups, idle) = groups::groups(&*self.kernel)?;
        if self.simulated.is_none() && idle.is_none() {
            bail!("no group is bound to VFIO: nothing could be attached");
        }
        let printed = self.printed(idle)?;
        let mut expected = json!({
            "schema_version": 2,
            "architecture": self.kernel.identity().0,
            "kernel": self.kernel.identity().1,
            "iommu": host::iommu(&self.kernel, idle)?,
            "interfaces": host::interfaces(&*self.kernel)?,
            "memlock": host::memlock(|file| self.of_a_program(file))?,
            "container": host::container(&*self.kernel),
            "backends": backends::rows(&self.kernel, idle)?,
            "verified_with_group": idle,
            "groups": groups,
            "findings": WORDS,
        });
        if let Some(name) = &self.simulated {
            expected["simulated"] = json!(name);
        }
        let differences = differences(&expected, &printed);
        ensure!(
            differences.is_empty(),
            "the kernel says otherwise:\n{}",
            differences.join("\n")
        );
        Ok(())
    }

    /// What a file of proc says to a program that was just started, as `probe` is: what this process has locked can be more,
    /// since a window that was refused may stay accounted (H5).
    fn of_a_program(&self, file: &str) -> Result<String> {
        if self.simulated.is_some() {
            return text(&*self.kernel, file);
        }
        let output = Command::new("cat").arg(file).output().context("run cat")?;
        ensure!(output.status.success(), "cat {file}: {}", output.status);
        Ok(String::from_utf8(output.stdout)?)
    }

    /// What the program prints.
    fn printed(&self, group: Option<u32>) -> Result<Value> {
        let mut command = Command::new(&self.program);
        if let Some(name) = &self.simulated {
            command.args(["--sim", name]);
        }
        command.args(["probe", "--json", "--guest-memory", "16G"]);
        if let Some(group) = group {
            command.arg(format!("--verify={group}"));
        }
        let output = command
            .output()
            .with_context(|| format!("run {}", self.program.display()))?;
        serde_json::from_slice(&output.stdout).with_context(|| {
            let said = String::from_utf8_lossy(&output.stderr);
            format!("{} printed no report: {said}", self.program.display())
        })
    }
}

/// The comparison on this host, as cases: as it is; and where exactly as much may be locked as the guest needs, or a byte
/// less. What this process may lock is less for good then.
pub fn trials(program: &str) -> Vec<Trial> {
    let case = |name, limit: Option<u64>| {
        let program = program.to_owned();
        Trial::test(name, move || {
            let limited = limit.map_or(Ok(()), rights::limit_for_good);
            let compared = limited.and_then(|()| Comparison::real(program).run());
            compared.map_err(|error| format!("{error:#}").into())
        })
    };
    vec![
        case("probe_prints_what_the_kernel_says", None),
        case("probe_says_that_a_guest_just_fits", Some(NEEDED)),
        case(
            "probe_says_that_a_guest_just_does_not_fit",
            Some(NEEDED - 1),
        ),
    ]
}

/// The whole of a small file, as text without the space around it.
fn text(kernel: &dyn Kernel, path: &str) -> Result<String> {
    let bytes = kernel
        .read(path.as_ref())
        .with_context(|| format!("read {path}"))?;
    Ok(String::from_utf8(bytes)
        .with_context(|| format!("read {path}"))?
        .trim()
        .to_owned())
}

/// A number of a file, with `0x` before it or without.
fn hex(kernel: &dyn Kernel, path: &str) -> Result<u64> {
    let text = text(kernel, path)?;
    let digits = text.strip_prefix("0x").unwrap_or(&text);
    u64::from_str_radix(digits, 16).with_context(|| format!("{path}: {text}"))
}

/// The names in a directory; none if there is no such directory.
fn names(kernel: &dyn Kernel, path: &str) -> Result<Vec<String>> {
    match kernel.list(Path::new(path)) {
        Err(Errno::NOENT) => Ok(Vec::new()),
        names => Ok(names
            .with_context(|| format!("list {path}"))?
            .into_iter()
            .map(|name| name.to_string_lossy().into_owned())
            .collect()),
    }
}

/// A yes or a no; what is said why is words.
fn answer(is_so: bool) -> Value {
    match is_so {
        true => json!({ "answer": "yes" }),
        false => json!({ "answer": "no", "why": WORDS }),
    }
}

/// What cannot be known, and words why.
fn unknown() -> Value {
    json!({ "answer": "unknown", "why": WORDS })
}
