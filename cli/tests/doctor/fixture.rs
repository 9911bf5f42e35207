//! A host that was captured, or one that was edited.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::read::GzDecoder;
use tempfile::TempDir;

/// A host that the program can be asked about.
pub(crate) struct Fixture {
    root: PathBuf,
    /// Goes with the fixture.
    _unpacked: Option<TempDir>,
}

/// What the program said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) status: i32,
    pub(crate) stdout: String,
}

impl Said {
    /// As it is kept: with the status, and without where the host is.
    pub(crate) fn shown(&self) -> String {
        format!("{}[{}]", self.stdout, self.status)
    }
}

fn hosts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hosts")
}

impl Fixture {
    /// The capture of that name, or the edits.
    pub(crate) fn open(name: &str) -> Self {
        let capture = hosts().join(format!("{name}.tar.gz"));
        if capture.exists() {
            return Self {
                root: capture,
                _unpacked: None,
            };
        }
        Self::edited(&fs::read_to_string(hosts().join(format!("{name}.edits"))).unwrap())
    }

    /// `base NAME`, a capture, and below that an edit a line.
    pub(crate) fn edited(edits: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let (base, edits) = edits.split_once('\n').unwrap();
        let base = base.strip_prefix("base ").unwrap();
        unpack(base, directory.path());
        for line in edits
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
        {
            edit(&directory.path().join("root"), line);
        }
        Self {
            root: directory.path().to_owned(),
            _unpacked: Some(directory),
        }
    }

    /// Asks the doctor, with the names that are built in.
    pub(crate) fn doctor(&self, arguments: &[&str], json: bool) -> Said {
        let output = Command::new(env!("CARGO_BIN_EXE_vfioctl"))
            .arg("--root")
            .arg(&self.root)
            .arg("doctor")
            .args(arguments)
            .args(json.then_some("--json"))
            .env("VFIOCTL_PCI_IDS", "")
            .output()
            .unwrap();
        let stdout = String::from_utf8(output.stdout).unwrap();
        let place = self.root.display().to_string();
        Said {
            status: output.status.code().unwrap(),
            stdout: stdout.replace(&place, "HOST"),
        }
    }
}

fn unpack(name: &str, directory: &Path) {
    let archive = File::open(hosts().join(format!("{name}.tar.gz"))).unwrap();
    tar::Archive::new(GzDecoder::new(archive))
        .unpack(directory)
        .unwrap();
}

/// `file PATH TEXT`, `bytes PATH HEXADECIMAL`, `link PATH TARGET`, `directory PATH` or `gone PATH`; `\n` in a text ends a
/// line.
fn edit(root: &Path, line: &str) {
    let mut words = line.splitn(3, ' ');
    let (what, path) = (words.next().unwrap(), words.next().unwrap());
    let place = root.join(path.trim_start_matches('/'));
    let rest = words.next().unwrap_or_default();
    if place.symlink_metadata().is_ok_and(|it| it.is_dir()) {
        fs::remove_dir_all(&place).unwrap();
    } else if place.symlink_metadata().is_ok() {
        fs::remove_file(&place).unwrap();
    } else {
        assert_ne!(what, "gone", "{path} is not there");
    }
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    match what {
        "file" => fs::write(place, rest.replace("\\n", "\n")).unwrap(),
        "bytes" => fs::write(place, bytes(rest)).unwrap(),
        "link" => symlink(rest, place).unwrap(),
        "directory" => fs::create_dir(place).unwrap(),
        "gone" => {}
        other => panic!("{other} is no edit"),
    }
}

fn bytes(hexadecimal: &str) -> Vec<u8> {
    let bytes = hexadecimal.split_whitespace();
    bytes
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect()
}
