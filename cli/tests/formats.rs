//! Inventories, held to the rules of those who read them, as far as no program of theirs does it: those are asked by
//! `cargo xtask test --suite formats`.
//!
//! The rules for `--format nfd` are those of Node Feature Discovery's "Customization guide", section "Local feature source", and
//! of Kubernetes' "Labels and Selectors", section "Syntax and character set". Debian has no program for them.
#![allow(clippy::unwrap_used, clippy::panic)] // A test that cannot go on has failed.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::prelude::*;
use vfio_sim::Machine;

/// How the program is told which host is meant, and which.
type Host = (&'static str, PathBuf);

/// Every simulated machine, and the captured hosts that the doctor is tested with.
fn hosts() -> Vec<Host> {
    let machines = Machine::all().map(|machine| ("--sim", machine.name.into()));
    let captures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hosts");
    let captures = fs::read_dir(captures).unwrap();
    let captures = captures.map(|entry| ("--root", entry.unwrap().path()));
    let captures = captures.filter(|(_, path)| path.extension().is_some_and(|it| it == "gz"));
    machines.into_iter().chain(captures).collect()
}

/// What a query of that host answers in that form.
fn ask((about, host): &Host, query: &str, form: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_vfioctl"))
        .arg(about)
        .arg(host)
        .args([query, "--format", form])
        .env("VFIOCTL_PCI_IDS", "/dev/null") // no inventory has a device's name
        .output()
        .unwrap();
    assert!(matches!(output.status.code(), Some(0 | 1)), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Whether it is a file of features that is read, and each line of it one that becomes a label.
fn check_features(file: &str) {
    assert!(file.len() <= 64 << 10, "a file of {} bytes", file.len());
    let mut names = BTreeSet::new();
    for line in file.lines() {
        if line.starts_with('#') {
            // Behind this a comment is an order.
            assert!(!line.starts_with("# +"), "{line:?}");
            continue;
        }
        let (key, value) = line.split_once('=').unwrap();
        let (namespace, name) = key.split_once('/').unwrap();
        assert_eq!(namespace, "feature.node.kubernetes.io");
        assert!(is_label(name), "{line:?}");
        assert!(value.is_empty() || is_label(value), "{line:?}");
        assert!(names.insert(key), "{key} twice, of which the last counts");
    }
    assert!(!names.is_empty(), "nothing is said");
}

/// The rule for a name, and for a value that is not empty.
fn is_label(text: &str) -> bool {
    let inside = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    (1..=63).contains(&text.len())
        && text.chars().all(inside)
        && text.starts_with(|letter: char| letter.is_ascii_alphanumeric())
        && text.ends_with(|letter: char| letter.is_ascii_alphanumeric())
}

#[test]
fn the_features_of_every_host_become_labels() {
    for host in hosts() {
        for query in ["probe", "groups"] {
            check_features(&ask(&host, query, "nfd"));
        }
    }
}

/// It would refuse the whole file.
#[test]
fn a_collector_of_both_inventories_takes_no_sample_twice() {
    for host in hosts() {
        let both = ["probe", "groups"].map(|query| ask(&host, query, "prometheus"));
        let mut seen = BTreeSet::new();
        for line in both.iter().flat_map(|text| text.lines()) {
            // Of a metric, its description; of a sample, what is before its value.
            let what = match line.starts_with('#') {
                true => line.split(' ').take(3).collect::<Vec<_>>().join(" "),
                false => line.rsplit_once(' ').unwrap().0.to_owned(),
            };
            assert!(seen.insert(what), "{host:?}: {line}");
        }
        assert!(!seen.is_empty());
    }
}

/// What a directory or a link can be called.
fn file_name() -> impl Strategy<Value = String> {
    let letter = any::<char>().prop_filter("no name has it", |it| !"/\0".contains(*it));
    let name = prop::collection::vec(letter, 1..60).prop_map(String::from_iter);
    name.prop_filter("it is a place", |name| name != "." && name != "..")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn whatever_a_host_is_called_its_features_become_labels(
        driver in file_name(),
        iommu in file_name(),
        release in any::<String>(),
        parameter in any::<String>(),
    ) {
        let host = tempfile::tempdir().unwrap();
        let device = host.path().join("sys/bus/pci/devices/0000:00:01.0");
        let group = host.path().join("sys/kernel/iommu_groups/1/devices");
        let kernel = host.path().join("proc/sys/kernel");
        let vfio = host.path().join("sys/module/vfio/parameters");
        let iommu = host.path().join("sys/class/iommu").join(iommu);
        for directory in [&device, &group, &kernel, &vfio, &iommu] {
            fs::create_dir_all(directory).unwrap();
        }
        for (file, text) in [
            (device.join("vendor"), "0x1234\n"),
            (device.join("device"), "0x5678\n"),
            (device.join("class"), "0x020000\n"),
            (kernel.join("osrelease"), &*release),
            (vfio.join("enable_unsafe_noiommu_mode"), &*parameter),
        ] {
            fs::write(file, text).unwrap();
        }
        symlink(Path::new("../../drivers").join(driver), device.join("driver")).unwrap();
        symlink("/sys/kernel/iommu_groups/1", device.join("iommu_group")).unwrap();
        symlink("/sys/bus/pci/devices/0000:00:01.0", group.join("0000:00:01.0")).unwrap();
        let host = ("--root", host.path().to_owned());
        for query in ["probe", "groups"] {
            check_features(&ask(&host, query, "nfd"));
        }
    }
}
