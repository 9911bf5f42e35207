//! Files that the user puts into the machine.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::Usage;

/// A file of the host, and where it goes.
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
    pub(super) permissions: u32,
    pub(super) bytes: Vec<u8>,
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

    pub(super) fn read(&self) -> Result<Content> {
        let name = self.name.as_str();
        let open = || -> std::io::Result<Content> {
            Ok(Content {
                path: match name.strip_prefix('/') {
                    Some(absolute) => absolute.to_owned(),
                    None => format!("root/{name}"),
                },
                permissions: fs::metadata(&self.path)?.permissions().mode() & 0o777,
                bytes: fs::read(&self.path)?,
            })
        };
        open().with_context(|| Usage(format!("file '{}' for the machine", self.path.display())))
    }
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
}
