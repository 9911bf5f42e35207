//! Hosts that are not as hosts are: links, names and files that lead a reader astray.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::hosts::{self, DEVICE, Host, capture, probe, text};

#[test]
fn links_are_followed_inside_the_root_alone() {
    let outside = Host::with_device();
    outside.file(&format!("{DEVICE}/vendor"), "0xbad0\n");
    let out = format!("{}/{DEVICE}", outside.path());
    let deep = format!("{}{out}", "../".repeat(40));
    for target in [&out, &deep] {
        let host = Host::with_device();
        host.link("sys/kernel/iommu_groups/1/devices/0000:00:02.0", "x");
        host.link("sys/bus/pci/devices/0000:00:02.0", target);
        // A file by a link is a file all the same, if it is inside.
        host.link(&format!("{DEVICE}/numa_node"), "/etc/hostname");
        fs::remove_file(host.place(&format!("{DEVICE}/vendor"))).unwrap();
        host.link(
            &format!("{DEVICE}/vendor"),
            "../../../../../../../../vendor",
        );
        host.file("vendor", "0x1234\n");
        for place in [host.path().into(), host.archive()] as [String; 2] {
            let output = probe(Path::new(&place));
            let stdout = text(&output.stdout);
            assert!(stdout.contains("1234:5678"), "{stdout}");
            assert!(!stdout.contains("bad0"), "{stdout}");
        }
    }
}

#[test]
fn circles_end() {
    let host = Host::with_device();
    host.link("sys/bus/pci/devices/0000:00:02.0", "0000:00:02.0");
    host.link("sys/kernel/iommu_groups/1/devices/0000:00:02.0", "x");
    for place in [host.path().into(), host.archive()] as [String; 2] {
        let output = probe(Path::new(&place));
        assert_eq!(output.status.code(), Some(4));
        let stderr = text(&output.stderr);
        assert!(stderr.contains("0000:00:02.0"), "{stderr}");
    }
    let host = Host::with_device();
    host.link("sys/bus/pci/devices/0000:00:01.0/circle", "..");
    for place in [host.path().into(), host.archive()] as [String; 2] {
        let output = probe(Path::new(&place));
        assert!(text(&output.stdout).contains("0000:00:01.0"));
        capture(&["--root", &place]);
    }
}

#[test]
fn a_huge_file_is_not_read() {
    let host = Host::with_device();
    let vendor = fs::File::create(host.place(&format!("{DEVICE}/vendor"))).unwrap();
    vendor.set_len(1 << 40).unwrap();
    let output = probe(Path::new(host.path()));
    assert_eq!(output.status.code(), Some(4));
    let stderr = text(&output.stderr);
    assert!(stderr.contains("File too large"), "{stderr}");

    vendor.set_len((16 << 20) + 1).unwrap();
    let output = probe(Path::new(&host.archive()));
    assert_eq!(output.status.code(), Some(4));
    let stderr = text(&output.stderr);
    assert!(stderr.contains("File too large"), "{stderr}");
}

#[test]
fn names_that_are_no_text_are_names() {
    let host = Host::with_device();
    let odd = hosts::os(b"\xff\xfe\n");
    let driver = host.place(&format!("{DEVICE}/driver"));
    symlink(Path::new("../../drivers").join(&odd), driver).unwrap();
    fs::create_dir(host.place("sys/bus/pci/devices").join(&odd)).unwrap();
    fs::create_dir_all(host.place("sys/bus/pci/drivers").join(&odd)).unwrap();
    let archive = tempfile::NamedTempFile::new().unwrap();
    fs::write(&archive, capture(&["--root", host.path()])).unwrap();
    for place in [Path::new(host.path()), archive.path()] {
        let output = probe(place);
        let stdout = text(&output.stdout);
        assert!(stdout.contains("\u{fffd}\u{fffd}\\n"), "{stdout}");
    }
}

#[test]
fn a_hundred_thousand_devices_are_a_host() {
    let archive = hosts::many(100_000);
    let output = probe(archive.path());
    let stdout = text(&output.stdout);
    assert_eq!(stdout.matches("1234:5678").count(), 100_000);
}
