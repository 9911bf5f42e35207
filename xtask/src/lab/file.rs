//! Files that the user puts into the machine.

use std::fs::{self, FileType};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::Usage;

/// A file of the host or a directory with all that is in it, and where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileSpec {
    pub(crate) path: PathBuf,
    /// In the machine; relative to the directory that COMMAND starts in.
    pub(crate) name: String,
}

/// A file for the machine, read.
pub(super) struct Content {
    /// From the machine's root, without `/` before it.
    pub(super) path: String,
    pub(super) kind: Kind,
}

pub(super) enum Kind {
    File {
        permissions: u32,
        bytes: Vec<u8>,
    },
    /// To there, as it is written in the link.
    Link(String),
    Directory,
}

impl FileSpec {
    /// `PATH` or `PATH:NAME`.
    pub(crate) fn parse(text: &str) -> Self {
        let whole = Path::new(text);
        let (path, name) = match text.rsplit_once(':') {
            Some((path, name)) if !name.is_empty() && !whole.exists() => {
                (Path::new(path), name.to_owned())
            }
            _ => {
                let name = whole.file_name().unwrap_or_default();
                (whole, name.to_string_lossy().into_owned())
            }
        };
        Self {
            path: path.to_owned(),
            name,
        }
    }

    pub(super) fn read(&self) -> Result<Vec<Content>> {
        let path = match self.name.strip_prefix('/') {
            Some(absolute) => absolute.to_owned(),
            None => format!("root/{}", self.name),
        };
        let mut found = Vec::new();
        // The name itself may be a link; within a directory, links are what they are.
        let kind = fs::metadata(&self.path).map(|it| it.file_type());
        kind.and_then(|kind| collect(&self.path, kind, path, &mut found))
            .with_context(|| Usage(format!("file '{}' for the machine", self.path.display())))?;
        Ok(found)
    }
}

/// Reads a file, or a directory with all that is in it.
fn collect(from: &Path, kind: FileType, path: String, found: &mut Vec<Content>) -> io::Result<()> {
    let kind = if kind.is_dir() {
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let below = match path.as_str() {
                "" => name,
                dir => format!("{dir}/{name}"),
            };
            collect(&entry.path(), entry.file_type()?, below, found)?;
        }
        Kind::Directory
    } else if kind.is_symlink() {
        Kind::Link(fs::read_link(from)?.to_string_lossy().into_owned())
    } else {
        Kind::File {
            permissions: fs::metadata(from)?.permissions().mode() & 0o777,
            bytes: fs::read(from)?,
        }
    };
    found.push(Content { path, kind });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (text, path, name) in [
            ("some/tool", "some/tool", "tool"),
            ("some/tool:other", "some/tool", "other"),
            ("some/tool:/etc/x", "some/tool", "/etc/x"),
            ("a:b:c", "a:b", "c"),
        ] {
            let expected = FileSpec {
                path: path.into(),
                name: name.to_owned(),
            };
            assert_eq!(FileSpec::parse(text), expected);
        }
    }

    #[test]
    fn a_directory_comes_with_its_files_and_links() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("bin")).unwrap();
        fs::write(dir.path().join("bin/tool"), "x").unwrap();
        std::os::unix::fs::symlink("/bin/tool", dir.path().join("link")).unwrap();
        for (name, before) in [("/", ""), ("/lib/x", "lib/x/"), ("here", "root/here/")] {
            let spec = format!("{}:{name}", dir.path().display());
            let mut found: Vec<_> = FileSpec::parse(&spec)
                .read()
                .unwrap()
                .into_iter()
                .map(|it| match it.kind {
                    Kind::Directory => format!("{} is a directory", it.path),
                    Kind::Link(target) => format!("{} leads to {target}", it.path),
                    Kind::File { bytes, .. } => format!("{} has {}", it.path, bytes.len()),
                })
                .filter(|it| !it.starts_with(&format!("{} ", before.trim_end_matches('/'))))
                .collect();
            found.sort();
            let all = [
                "bin is a directory",
                "bin/tool has 1",
                "link leads to /bin/tool",
            ];
            assert_eq!(found, all.map(|it| format!("{before}{it}")), "{name}");
        }
    }
}
