//! A capture as an archive. The same host gives the same bytes: names are sorted, and nothing says when and by whom it was
//! written.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{Builder, EntryType, Header};

use crate::root::tree::{Directory, Entry};
use crate::root::{MANIFEST, ROOT};

use super::assemble::Capture;

/// The archive, and how many files of the host are in it.
pub(super) fn archive(capture: &Capture) -> anyhow::Result<(Vec<u8>, usize)> {
    let mut writer = Writer {
        tar: Builder::new(GzEncoder::new(Vec::new(), Compression::default())),
        files: 0,
    };
    let manifest = serde_json::to_string_pretty(&capture.manifest)? + "\n";
    writer.file(Path::new(MANIFEST), manifest.as_bytes(), 0o644)?;
    let root = PathBuf::from(ROOT);
    writer.directory(&root)?;
    for (name, entry) in capture.files.entries() {
        writer.entry(&root.join(name), entry)?;
    }
    let bytes = writer.tar.into_inner()?.finish()?;
    Ok((bytes, writer.files))
}

struct Writer<W: Write> {
    tar: Builder<W>,
    /// Of the host.
    files: usize,
}

impl<W: Write> Writer<W> {
    fn entry(&mut self, path: &Path, entry: &Entry) -> io::Result<()> {
        match entry {
            Entry::Directory(directory) => self.tree(path, directory),
            Entry::File(bytes) => {
                self.files += 1;
                self.file(path, bytes, 0o644)
            }
            // The kernel's files are never too large.
            Entry::Unread | Entry::TooLarge => self.file(path, &[], 0),
            Entry::Link(target) => {
                let mut header = header(EntryType::Symlink, 0o777);
                self.tar.append_link(&mut header, path, target)
            }
        }
    }

    fn tree(&mut self, path: &Path, directory: &Directory) -> io::Result<()> {
        self.directory(path)?;
        for (name, entry) in directory.entries() {
            self.entry(&path.join(name), entry)?;
        }
        Ok(())
    }

    fn directory(&mut self, path: &Path) -> io::Result<()> {
        let mut header = header(EntryType::Directory, 0o755);
        self.tar.append_data(&mut header, path, io::empty())
    }

    fn file(&mut self, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
        let mut header = header(EntryType::Regular, mode);
        header.set_size(bytes.len() as u64);
        self.tar.append_data(&mut header, path, bytes)
    }
}

fn header(kind: EntryType, mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    header
}
