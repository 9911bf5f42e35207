//! Archives that are none of ours, or are no longer.

use std::fs;
use std::path::Path;

use crate::hosts::{self, Tar, capture, packed, probe, text, unpacked, vfioctl};

#[test]
fn what_is_no_capture_is_refused_in_words() {
    let empty = tempfile::tempdir().unwrap();
    let path = |name: &str| empty.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("junk"), hosts::junk(1, 4096)).unwrap();
    fs::write(path("zeros"), []).unwrap();
    fs::write(path("gzip"), hosts::gzip(&hosts::junk(2, 4096))).unwrap();
    let bomb = hosts::gzip(&vec![0; 1 << 20]);
    fs::write(path("nothing"), &bomb).unwrap();
    for (name, why) in [
        ("junk", "compressed by gzip"),
        ("zeros", "compressed by gzip"),
        ("gzip", "the archive is broken"),
        ("nothing", "the archive is empty"),
        ("absent", "No such file"),
        (".", "neither host.json nor sys"),
    ] {
        let output = probe(Path::new(&path(name)));
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(4), "{name}: {stderr}");
        assert!(stderr.contains(why), "{name}: {stderr}");
        assert_eq!(text(&output.stdout), "");
    }
}

/// Adds to an archive what is refused, and the words in which it is.
type Hostile = (&'static str, fn(&mut Tar));

#[test]
fn entries_that_no_capture_has_are_refused() {
    let hostile: &[Hostile] = &[
        ("leads out", |tar| tar.raw("/etc/passwd", b'0', "", 0)),
        ("leads out", |tar| tar.raw("root/../../x", b'0', "", 0)),
        ("Link", |tar| tar.raw("root/sys/x", b'1', "/etc/passwd", 0)),
        ("Char", |tar| tar.raw("root/sys/x", b'3', "", 0)),
        ("Block", |tar| tar.raw("root/sys/x", b'4', "", 0)),
        ("Fifo", |tar| tar.raw("root/sys/x", b'6', "", 0)),
        ("GNUSparse", |tar| tar.raw("root/sys/x", b'S', "", 0)),
        ("Not a directory", |tar| {
            tar.raw("root/sys/out", b'2', "/tmp", 0);
            tar.raw("root/sys/out/file", b'0', "", 0);
        }),
        ("unpacks to more", |tar| {
            tar.raw("root/sys/bomb", b'0', "", 1 << 40);
        }),
        ("unpacks to more", |tar| {
            tar.raw("././@LongLink", b'L', "", 1 << 30);
            tar.zeros(1 << 20);
        }),
        ("broken", |tar| tar.raw("root/sys/cut", b'0', "", 1 << 20)),
    ];
    for (why, add) in hostile {
        let mut tar = Tar::default();
        add(&mut tar);
        let archive = tar.file();
        let output = probe(archive.path());
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(4), "{why}: {stderr}");
        assert!(stderr.contains(why), "{why}: {stderr}");
    }
}

#[test]
fn a_capture_that_was_cut_or_changed_on_its_way_is_an_answer_or_an_error() {
    let whole = capture(&["--sim", "pseries"]);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("host.tgz");
    for cut in (0..whole.len()).step_by(whole.len() / 40) {
        fs::write(&path, &whole[..cut]).unwrap();
        let output = probe(&path);
        assert_eq!(output.status.code(), Some(4), "{cut}");
    }
    for seed in 0..40 {
        let mut changed = whole.clone();
        let at = hosts::number(seed) % changed.len() as u64;
        let at = usize::try_from(at).unwrap();
        changed[at] ^= 1 << (seed % 8);
        fs::write(&path, &changed).unwrap();
        let output = probe(&path);
        assert!(output.status.code().is_some(), "{at}: {output:?}");
    }
}

#[test]
fn junk_in_every_file_is_an_answer_or_an_error() {
    let whole = capture(&["--sim", "powernv9"]);
    let contents = packed(&whole);
    for (seed, path) in (0..).zip(contents.keys()) {
        let directory = tempfile::tempdir().unwrap();
        let archive = directory.path().join("host.tgz");
        fs::write(&archive, &whole).unwrap();
        let host = unpacked(&archive);
        let file = host.path().join(path);
        if !file.symlink_metadata().unwrap().is_file() {
            continue;
        }
        hosts::make_writable(&file);
        fs::write(&file, hosts::junk(seed, 300)).unwrap();
        for command in [&["probe"][..], &["probe", "--json"], &["capture", "-"]] {
            let place = host.path().to_str().unwrap();
            let output = vfioctl(&[&["--root", place], command].concat());
            let code = output.status.code();
            assert!(matches!(code, Some(0 | 1 | 4)), "{path}: {output:?}");
            if path == "host.json" {
                assert_eq!(code, Some(4));
                assert!(text(&output.stderr).contains("host.json"));
            }
        }
    }
}
