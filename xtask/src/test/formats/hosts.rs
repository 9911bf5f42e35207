//! The hosts that are asked: simulated ones, captured ones, and one whose names are chosen to do harm.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::Vfioctl;
use crate::workspace;

/// How the program is told which host is meant.
pub(super) type Host = [String; 2];

/// A name that breaks whatever writes it without care.
const HOSTILE: &str = "a\"b\\c\\N{d}\u{1b}[2J\n# TYPE \u{202e}e";

/// The simulated machines, of which the program's help has a list.
pub(super) fn simulated(vfioctl: &Vfioctl) -> Result<Vec<Host>> {
    let help = vfioctl.ask(&["--help"])?;
    let option = help.split_once("--sim ");
    let list = option.and_then(|(_, rest)| rest.split_once("[possible values: "));
    let names = list.and_then(|(_, rest)| rest.split_once(']'));
    let (names, _) = names.context("the help lists no machines")?;
    let host = |name: &str| ["--sim".to_owned(), name.to_owned()];
    Ok(names.split(", ").map(host).collect())
}

/// Those that the doctor is tested with.
pub(super) fn captured() -> Result<Vec<Host>> {
    let directory = workspace::root().join("cli/tests/hosts");
    let mut captures = Vec::new();
    for entry in
        fs::read_dir(&directory).with_context(|| format!("read {}", directory.display()))?
    {
        let path = entry.context("read a directory")?.path();
        if path.extension().is_some_and(|it| it == "gz") {
            captures.push(root(&path));
        }
    }
    ensure!(
        !captures.is_empty(),
        "{} has no captures",
        directory.display()
    );
    Ok(captures)
}

/// One with a device, written into that directory.
pub(super) fn hostile(directory: &Path) -> Result<Host> {
    write(directory).context("write a hostile host")?;
    Ok(root(directory))
}

fn root(path: &Path) -> Host {
    ["--root".to_owned(), path.display().to_string()]
}

fn write(root: &Path) -> io::Result<()> {
    let device = root.join("sys/bus/pci/devices/0000:00:01.0");
    let members = root.join("sys/kernel/iommu_groups/1/devices");
    let kernel = root.join("proc/sys/kernel");
    for directory in [&device, &members, &kernel] {
        fs::create_dir_all(directory)?;
    }
    for (file, text) in [
        (device.join("vendor"), "0x1234\n"),
        (device.join("device"), "0x5678\n"),
        (device.join("class"), "0x020000\n"),
        (kernel.join("osrelease"), HOSTILE),
    ] {
        fs::write(file, text)?;
    }
    for (link, target) in [
        (device.join("driver"), &*format!("../../drivers/{HOSTILE}")),
        (device.join("iommu_group"), "/sys/kernel/iommu_groups/1"),
        (
            members.join("0000:00:01.0"),
            "/sys/bus/pci/devices/0000:00:01.0",
        ),
    ] {
        symlink(target, link)?;
    }
    Ok(())
}
