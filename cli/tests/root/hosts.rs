//! Hosts to ask: in directories, in archives, and in what only looks like one.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use tempfile::{NamedTempFile, TempDir};

/// The device of [`Host::with_device`].
pub(crate) const DEVICE: &str = "sys/bus/pci/devices/0000:00:01.0";

pub(crate) fn vfioctl(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vfioctl"))
        .args(args)
        .output()
        .unwrap()
}

pub(crate) fn probe(root: &Path) -> Output {
    vfioctl(&["--root", root.to_str().unwrap(), "probe"])
}

pub(crate) fn json(args: &[&str]) -> serde_json::Value {
    serde_json::from_slice(&vfioctl(args).stdout).unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The archive that is made with those options.
pub(crate) fn capture(args: &[&str]) -> Vec<u8> {
    let output = vfioctl(&[args, &["capture", "-"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    output.stdout
}

/// What is in an archive, by name: the bytes of a file, `-> target` of a link, `/` of a directory.
pub(crate) fn packed(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut contents = BTreeMap::new();
    let mut archive = tar::Archive::new(GzDecoder::new(archive));
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = text(&entry.path_bytes());
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        if let Some(target) = entry.link_name_bytes() {
            bytes = [b"-> ", &target[..]].concat();
        }
        if entry.header().entry_type().is_dir() {
            bytes = b"/".to_vec();
        }
        contents.insert(name, bytes);
    }
    contents
}

/// A directory that an archive is unpacked into.
pub(crate) fn unpacked(archive: &Path) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let bytes = GzDecoder::new(fs::File::open(archive).unwrap());
    tar::Archive::new(bytes).unpack(&directory).unwrap();
    directory
}

/// What was not read in a capture cannot be written either.
pub(crate) fn make_writable(file: &Path) {
    fs::set_permissions(file, fs::Permissions::from_mode(0o644)).unwrap();
}

/// A host whose files somebody has copied by hand.
pub(crate) struct Host(TempDir);

impl Host {
    /// With one device in one group.
    pub(crate) fn with_device() -> Self {
        let host = Self(tempfile::tempdir().unwrap());
        for (name, text) in [
            ("vendor", "0x1234\n"),
            ("device", "0x5678\n"),
            ("class", "0x020000\n"),
        ] {
            host.file(&format!("{DEVICE}/{name}"), text);
        }
        let group = "sys/kernel/iommu_groups/1";
        host.link(&format!("{DEVICE}/iommu_group"), &format!("/{group}"));
        host.link(
            &format!("{group}/devices/0000:00:01.0"),
            &format!("/{DEVICE}"),
        );
        host
    }

    pub(crate) fn path(&self) -> &str {
        self.0.path().to_str().unwrap()
    }

    pub(crate) fn place(&self, path: &str) -> PathBuf {
        let place = self.0.path().join(path);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        place
    }

    pub(crate) fn file(&self, path: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.place(path), bytes).unwrap();
    }

    pub(crate) fn link(&self, path: &str, target: &str) {
        symlink(target, self.place(path)).unwrap();
    }

    /// The same in an archive beside it.
    pub(crate) fn archive(&self) -> String {
        let file = format!("{}.tgz", self.path());
        let bytes = GzEncoder::new(fs::File::create(&file).unwrap(), Compression::fast());
        let mut tar = tar::Builder::new(bytes);
        tar.follow_symlinks(false);
        tar.sparse(false);
        tar.append_dir_all(".", self.0.path()).unwrap();
        tar.into_inner().unwrap().finish().unwrap();
        file
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = fs::remove_file(format!("{}.tgz", self.path()));
    }
}

/// An archive that no careful program would write.
#[derive(Default)]
pub(crate) struct Tar(Vec<u8>);

impl Tar {
    /// A header alone, as it is said.
    pub(crate) fn raw(&mut self, name: &str, kind: u8, target: &str, size: u64) {
        let mut header = tar::Header::new_gnu();
        let bytes = header.as_gnu_mut().unwrap();
        bytes.name[..name.len()].copy_from_slice(name.as_bytes());
        bytes.linkname[..target.len()].copy_from_slice(target.as_bytes());
        bytes.typeflag = [kind];
        header.set_mode(0o644);
        header.set_size(size);
        header.as_gnu_mut().unwrap().set_real_size(size);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
    }

    pub(crate) fn zeros(&mut self, count: usize) {
        self.0.resize(self.0.len() + count, 0);
    }

    /// Compressed, in a file.
    pub(crate) fn file(&self) -> NamedTempFile {
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(&gzip(&self.0)).unwrap();
        file
    }
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

/// A host with so many devices in one group.
pub(crate) fn many(count: u32) -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    let gzip = GzEncoder::new(&file, Compression::fast());
    let mut tar = tar::Builder::new(gzip);
    let listed = ["sys/bus/pci/devices", "sys/kernel/iommu_groups/1/devices"];
    for directory in listed.iter().flat_map(|it| Path::new(it).ancestors()) {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(0o755);
        header.set_size(0);
        tar.append_data(&mut header, Path::new(".").join(directory), &[][..])
            .unwrap();
    }
    let mut add = |path: String, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, path, bytes).unwrap();
    };
    for number in 0..count {
        let (domain, bus) = (number >> 13, number >> 5 & 0xff);
        let name = format!("{domain:04x}:{bus:02x}:{:02x}.0", number & 0x1f);
        let device = format!("sys/bus/pci/devices/{name}");
        add(format!("{device}/vendor"), b"0x1234\n");
        add(format!("{device}/device"), b"0x5678\n");
        add(format!("{device}/class"), b"0x020000\n");
        add(format!("sys/kernel/iommu_groups/1/devices/{name}"), b"");
    }
    tar.into_inner().unwrap().finish().unwrap();
    file
}

/// A number that follows from the seed alone.
pub(crate) fn number(seed: u64) -> u64 {
    let mut number = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    number ^= number >> 29;
    number.wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 8
}

/// Bytes that mean nothing.
pub(crate) fn junk(seed: u64, len: u64) -> Vec<u8> {
    (0..len)
        .map(|place| number(seed << 32 | place).to_le_bytes()[0])
        .collect()
}

/// A name that need be no text.
pub(crate) fn os(bytes: &[u8]) -> OsString {
    OsString::from_vec(bytes.to_vec())
}
