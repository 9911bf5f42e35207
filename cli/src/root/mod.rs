//! A host that somebody has captured, as a kernel that answers as that one did.
//!
//! A capture is an archive (`.tar.gz`), or a directory that one was unpacked into: `host.json`, the
//! [`manifest`], and below `root` the files of sysfs and proc that were read. What was seen by its name alone can be
//! read by nobody there (`----------`), and answers `ENODATA`, as does a directory that nobody has listed (`(not listed)` is
//! in it), and everything else that the capture does not tell. A directory with `sys` and `proc` in it that was copied by hand will do, too; then there is no
//! manifest, and less is known.
#![allow(unsafe_code)] // `Kernel` is a promise about memory, and there is none.

mod archive;
mod directory;
pub(crate) mod manifest;
pub(crate) mod tree;
mod unlabelled;

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::ptr::NonNull;

use anyhow::{Context, anyhow};
use vfio_core::CONTAINER_NODE;
use vfio_core::address::HostRange;
use vfio_core::kernel::{
    Arg, Errno, Kernel, Linux, Node, Opcode, Protection, RegionMapping, Result,
};
use vfio_core::uapi;

use directory::HostDirectory;
use manifest::{ContainerAnswers, Manifest, Operation};
use tree::Tree;

/// The name of the manifest.
pub(crate) const MANIFEST: &str = "host.json";
/// The directory that the files of the host are in.
pub(crate) const ROOT: &str = "root";
/// The name in a directory that says that there may be others: nobody has listed it.
pub(crate) const NOT_LISTED: &str = "(not listed)";
/// No file of sysfs or proc that anybody asks for has so many bytes.
const LARGEST_FILE: u64 = 16 << 20;

/// Whether somebody has looked into a file with that mode.
fn is_read(mode: u32) -> bool {
    mode & 0o444 != 0
}

/// The kernel of a captured host. Nothing of the host that runs this program is asked.
#[derive(Debug)]
pub(crate) struct Captured {
    files: Source,
    /// The name of the machine, if a simulated one was captured.
    pub(crate) simulated: Option<String>,
    /// Whether it has no manifest.
    pub(crate) by_hand: bool,
    identity: (String, String),
    page_size: usize,
    memlock_limit: Option<u64>,
    container: Option<ContainerAnswers>,
    nodes: HashMap<PathBuf, Node>,
    refused: HashMap<(Operation, PathBuf), Errno>,
}

/// Where the files of the host are.
#[derive(Debug)]
enum Source {
    Directory(HostDirectory),
    Archive(Tree),
}

impl Source {
    fn read(&self, path: &Path) -> Result<Vec<u8>> {
        match self {
            Self::Directory(directory) => directory.read(path),
            Self::Archive(tree) => tree.read(path),
        }
    }

    fn list(&self, path: &Path) -> Result<Vec<OsString>> {
        match self {
            Self::Directory(directory) => directory.list(path),
            Self::Archive(tree) => tree.list(path),
        }
    }

    fn read_link(&self, path: &Path) -> Result<PathBuf> {
        match self {
            Self::Directory(directory) => directory.read_link(path),
            Self::Archive(tree) => tree.read_link(path),
        }
    }
}

impl Captured {
    /// The host that is in that archive or directory.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let opened = match path.is_dir() {
            true => Self::open_directory(path),
            false => Self::open_archive(path),
        };
        opened.map_err(|error| anyhow!("open the captured host {}: {error:#}", path.display()))
    }

    fn open_directory(path: &Path) -> anyhow::Result<Self> {
        let directory = HostDirectory::open(path)?;
        let manifest = match directory.read(Path::new(MANIFEST)) {
            Ok(bytes) => Manifest::parse(&bytes)?,
            Err(Errno::NOENT) => return Self::unlabelled(Source::Directory(directory)),
            Err(errno) => return Err(errno).context(MANIFEST),
        };
        let files = directory.enter(ROOT).context(ROOT)?;
        Ok(Self::labelled(Source::Directory(files), manifest))
    }

    fn open_archive(path: &Path) -> anyhow::Result<Self> {
        let mut tree = archive::read(path)?;
        let manifest = match tree.read(Path::new(MANIFEST)) {
            Ok(bytes) => Manifest::parse(&bytes)?,
            Err(Errno::NOENT) => return Self::unlabelled(Source::Archive(tree)),
            Err(errno) => return Err(errno).context(MANIFEST),
        };
        let files = tree.take(ROOT).context("root is not there")?;
        Ok(Self::labelled(Source::Archive(files), manifest))
    }

    fn labelled(files: Source, manifest: Manifest) -> Self {
        let refused = manifest.refused.into_iter();
        let nodes = manifest.nodes.into_iter();
        Self {
            files,
            simulated: manifest.simulated,
            by_hand: false,
            identity: (manifest.architecture, manifest.release),
            page_size: manifest.page_size,
            memlock_limit: manifest.memlock_limit,
            container: manifest.container,
            nodes: nodes.map(|(path, row)| (path, row.into())).collect(),
            refused: refused
                .map(|it| ((it.operation, it.path), it.errno.0))
                .collect(),
        }
    }

    fn unlabelled(files: Source) -> anyhow::Result<Self> {
        if files.list(Path::new("/sys")).is_err() {
            return Err(anyhow!(
                "it has neither {MANIFEST} nor sys: it is no captured host"
            ));
        }
        let identity = unlabelled::identity(&files);
        Ok(Self {
            page_size: unlabelled::page_size(&identity.0),
            files,
            simulated: None,
            by_hand: true,
            identity,
            memlock_limit: None,
            container: None,
            nodes: HashMap::new(),
            refused: HashMap::new(),
        })
    }

    /// What was not answered there is not answered here.
    fn check(&self, operation: Operation, path: &Path) -> Result<()> {
        match self.refused.get(&(operation, path.to_owned())) {
            Some(errno) => Err(*errno),
            None => Ok(()),
        }
    }
}

// SAFETY: no memory is mapped, so that nobody relies on any: every call that would map some fails. An ioctl reads and writes
// no byte of its caller's: the answers are numbers that were captured.
unsafe impl Kernel for Captured {
    /// The container alone can be opened: it is asked what the manifest has the answers to.
    fn open(&self, path: &Path) -> Result<OwnedFd> {
        self.check(Operation::Open, path)?;
        match self.container {
            Some(_) if path == Path::new(CONTAINER_NODE) => Linux.open(Path::new("/dev/null")),
            _ => Err(Errno::NODATA),
        }
    }

    unsafe fn ioctl(&self, _: BorrowedFd<'_>, opcode: Opcode, arg: Arg<'_>) -> Result<u32> {
        let container = self.container.as_ref().ok_or(Errno::NODATA)?;
        let answer = match (opcode, arg) {
            (uapi::GET_API_VERSION, _) => container.api_version,
            (uapi::CHECK_EXTENSION, Arg::Value(extension)) => u32::try_from(extension)
                .ok()
                .and_then(|extension| container.extensions.get(&extension).copied()),
            _ => None,
        };
        answer.ok_or(Errno::NODATA)?.result()
    }

    unsafe fn ioctl_fd(&self, _: BorrowedFd<'_>, _: Opcode, _: Arg<'_>) -> Result<OwnedFd> {
        Err(Errno::NODATA)
    }

    fn pread(&self, _: BorrowedFd<'_>, _: &mut [u8], _: u64) -> Result<usize> {
        Err(Errno::NOSYS)
    }

    fn pwrite(&self, _: BorrowedFd<'_>, _: &[u8], _: u64) -> Result<usize> {
        Err(Errno::NOSYS)
    }

    fn mmap(&self, _: usize) -> Result<NonNull<u8>> {
        Err(Errno::NOSYS)
    }

    fn map_region(
        &self,
        _: BorrowedFd<'_>,
        _: u64,
        _: usize,
        _: Protection,
        _: usize,
    ) -> Result<RegionMapping> {
        Err(Errno::NOSYS)
    }

    unsafe fn munmap(&self, _: NonNull<u8>, _: usize) -> Result<()> {
        Err(Errno::NOSYS)
    }

    unsafe fn keep_from_children(&self, _: NonNull<u8>, _: usize) -> Result<()> {
        Err(Errno::NOSYS)
    }

    fn populate(&self, _: HostRange, _: bool) -> Result<()> {
        Err(Errno::NOSYS)
    }

    fn resident(&self, _: HostRange, _: &mut [u8]) -> Result<()> {
        Err(Errno::NOSYS)
    }

    fn eventfd(&self) -> Result<OwnedFd> {
        Err(Errno::NOSYS)
    }

    fn memlock_limit(&self) -> Option<u64> {
        self.memlock_limit
    }

    fn page_size(&self) -> usize {
        self.page_size
    }

    fn identity(&self) -> (String, String) {
        self.identity.clone()
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>> {
        self.check(Operation::Read, path)?;
        self.files.read(path)
    }

    fn list(&self, path: &Path) -> Result<Vec<OsString>> {
        self.check(Operation::List, path)?;
        let names = self.files.list(path)?;
        match names.iter().any(|name| name == NOT_LISTED) {
            true => Err(Errno::NODATA),
            false => Ok(names),
        }
    }

    fn read_link(&self, path: &Path) -> Result<PathBuf> {
        self.check(Operation::ReadLink, path)?;
        self.files.read_link(path)
    }

    fn node(&self, path: &Path) -> Result<Node> {
        self.check(Operation::Node, path)?;
        self.nodes.get(path).copied().ok_or(Errno::NODATA)
    }

    fn write(&self, _: &Path, _: &[u8]) -> Result<()> {
        Err(Errno::ROFS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tree::Entry;

    const MANIFEST: &str = r#"{
        "schema_version": 1, "made_by": "a test", "architecture": "x86_64", "release": "6.12",
        "page_size": 4096, "memlock_limit": null,
        "container": { "api_version": { "returned": 0 }, "extensions": { "3": { "errno": 1 } } },
        "nodes": { "/dev/vfio/1": { "mode": "0660", "owner": 0, "group": 7, "refused": 13 } },
        "refused": [{ "path": "/sys/denied", "operation": "read", "errno": 13 }]
    }"#;

    fn host() -> Captured {
        let mut tree = Tree::default();
        for path in [
            "/sys/listed/file",
            "/sys/other/file",
            "/sys/other/(not listed)",
        ] {
            let path = Path::new(path);
            tree.insert(path, Entry::File(b"1".to_vec())).unwrap();
        }
        let manifest = Manifest::parse(MANIFEST.as_bytes()).unwrap();
        Captured::labelled(Source::Archive(tree), manifest)
    }

    #[test]
    fn what_was_not_asked_is_not_said_to_be_absent() {
        let host = host();
        assert_eq!(host.list("/sys/listed".as_ref()).unwrap(), ["file"]);
        assert_eq!(host.list("/sys/other".as_ref()), Err(Errno::NODATA));
        assert_eq!(host.read("/sys/other/file".as_ref()).unwrap(), b"1");
        assert_eq!(host.read("/sys/denied".as_ref()), Err(Errno::ACCESS));
        let node = host.node("/dev/vfio/1".as_ref()).unwrap();
        assert_eq!((node.mode, node.group), (0o660, 7));
        assert_eq!(node.access, Err(Errno::ACCESS));
        assert_eq!(host.node("/dev/vfio/2".as_ref()), Err(Errno::NODATA));
        let opened = host.open("/dev/vfio/1".as_ref());
        assert_eq!(opened.unwrap_err(), Errno::NODATA);
        assert_eq!(
            host.write("/sys/listed/file".as_ref(), b"2"),
            Err(Errno::ROFS)
        );
    }

    #[test]
    fn the_container_answers_what_was_captured() {
        let host = host();
        let fd = host.open(CONTAINER_NODE.as_ref()).unwrap();
        let ask = |opcode, arg| {
            use std::os::fd::AsFd;
            // SAFETY: these calls take a number or nothing.
            unsafe { host.ioctl(fd.as_fd(), opcode, arg) }
        };
        assert_eq!(ask(uapi::GET_API_VERSION, Arg::None), Ok(0));
        assert_eq!(ask(uapi::CHECK_EXTENSION, Arg::Value(3)), Err(Errno::PERM));
        assert_eq!(
            ask(uapi::CHECK_EXTENSION, Arg::Value(7)),
            Err(Errno::NODATA)
        );
        assert_eq!(ask(uapi::SET_IOMMU, Arg::Value(1)), Err(Errno::NODATA));
        assert_eq!(host.mmap(4096), Err(Errno::NOSYS));
    }

    #[test]
    fn a_manifest_that_makes_no_sense_is_refused() {
        for (right, wrong) in [
            ("\"schema_version\": 1", "\"schema_version\": 2"),
            ("4096", "0"),
            ("4096", "4097"),
            ("4096", "1073741824"),
            ("\"errno\": 13", "\"errno\": 0"),
            ("\"errno\": 13", "\"errno\": -5"),
            ("\"errno\": 13", "\"errno\": 4096"),
            ("0660", "10000"),
            ("0660", "rw"),
            ("{", "["),
        ] {
            let text = MANIFEST.replacen(right, wrong, 1);
            assert_ne!(text, MANIFEST);
            assert!(Manifest::parse(text.as_bytes()).is_err(), "{wrong}");
        }
    }
}
