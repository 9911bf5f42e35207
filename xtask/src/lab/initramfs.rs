//! The machine's file system: a cpio archive in the format that the kernel unpacks.

use std::collections::HashSet;
use std::io::{self, Write};

use anyhow::{Context, Result, ensure};
use cpio::newc::{Builder, ModeFileType, trailer};

use super::Usage;

/// An archive under way. Directories come into being with what is in them.
pub(super) struct Initramfs<W> {
    out: W,
    entries: u32,
    directories: HashSet<String>,
}

impl<W: Write> Initramfs<W> {
    pub(super) fn new(out: W) -> Self {
        Self {
            out,
            entries: 0,
            directories: HashSet::new(),
        }
    }

    /// A file at `path` (from the root, without `/` before it).
    pub(super) fn file(&mut self, path: &str, permissions: u32, content: &[u8]) -> Result<()> {
        self.parents(path)?;
        self.add(path, ModeFileType::Regular, permissions, content)
    }

    fn parents(&mut self, path: &str) -> Result<()> {
        for (end, _) in path.match_indices('/') {
            self.directory(&path[..end])?;
        }
        Ok(())
    }

    /// A symbolic link.
    pub(super) fn link(&mut self, path: &str, target: &str) -> Result<()> {
        self.parents(path)?;
        self.add(path, ModeFileType::Symlink, 0o777, target.as_bytes())
    }

    /// An empty directory.
    pub(super) fn directory(&mut self, path: &str) -> Result<()> {
        if path.is_empty() || !self.directories.insert(path.to_owned()) {
            return Ok(());
        }
        self.add(path, ModeFileType::Directory, 0o755, &[])
    }

    /// Device 5:1, on which the kernel opens the first process's input and output.
    pub(super) fn console(&mut self) -> Result<()> {
        self.directory("dev")?;
        let entry = self
            .entry("dev/console", ModeFileType::Char, 0o600)
            .rdev_major(5)
            .rdev_minor(1);
        entry.write(&mut self.out, 0).finish()?;
        Ok(())
    }

    /// Completes the archive.
    pub(super) fn finish(self) -> io::Result<W> {
        trailer(self.out)
    }

    fn add(
        &mut self,
        path: &str,
        file_type: ModeFileType,
        permissions: u32,
        content: &[u8],
    ) -> Result<()> {
        ensure!(
            path.split('/').all(|part| !matches!(part, "" | "." | "..")),
            Usage(format!("'{path}' is not a path in the machine"))
        );
        let size = u32::try_from(content.len())
            .ok()
            .with_context(|| format!("{path} is 4 GiB or larger"))?;
        let entry = self.entry(path, file_type, permissions);
        let mut writer = entry.write(&mut self.out, size);
        writer.write_all(content)?;
        writer.finish()?;
        Ok(())
    }

    /// Each entry is a file of its own: the kernel takes equal inode numbers for hard links.
    fn entry(&mut self, path: &str, file_type: ModeFileType, permissions: u32) -> Builder {
        self.entries += 1;
        Builder::new(path)
            .ino(self.entries)
            .nlink(1)
            .mode(permissions)
            .set_mode_file_type(file_type)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cpio::newc::Reader;

    #[test]
    fn directories_come_before_their_content_and_once() {
        let mut archive = Initramfs::new(Vec::new());
        archive.file("a/b/one", 0o755, b"1").unwrap();
        archive.file("a/two", 0o644, b"22").unwrap();
        let bytes = archive.finish().unwrap();

        let mut names = Vec::new();
        let mut rest = &bytes[..];
        loop {
            let reader = Reader::new(rest).unwrap();
            if reader.entry().is_trailer() {
                break;
            }
            let entry = reader.entry();
            names.push((entry.name().to_owned(), entry.mode(), entry.file_size()));
            rest = reader.finish().unwrap();
        }
        assert_eq!(
            names,
            [
                ("a".to_owned(), 0o040_755, 0),
                ("a/b".to_owned(), 0o040_755, 0),
                ("a/b/one".to_owned(), 0o100_755, 1),
                ("a/two".to_owned(), 0o100_644, 2),
            ]
        );
    }

    #[test]
    fn paths_that_lead_out() {
        let mut archive = Initramfs::new(Vec::new());
        for path in ["../x", "a//b", "", "a/.."] {
            assert!(archive.file(path, 0o644, b"").is_err(), "{path}");
        }
    }
}
