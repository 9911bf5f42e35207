//! The cache directory: finished entries only, shared by any number of labs at a time.
//!
//! An entry is a directory. It is built beside its final place, under a lock, and takes its name
//! when it is complete, so a name that exists can be used. What a stopped build leaves behind
//! stays in `NAME.partial`, where the next build finds its downloads.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use fs4::FileExt;

use crate::ui::Ui;

/// The next step for whoever ran out of disk.
pub(crate) const DISK_FULL: &str =
    "free some space, or set XDG_CACHE_HOME to a directory on a larger disk";

/// The directory that everything fetched or generated lives in.
pub(crate) struct Cache {
    root: PathBuf,
}

impl Cache {
    /// `$XDG_CACHE_HOME/vfio-lab`, or `~/.cache/vfio-lab`.
    pub(crate) fn open() -> Result<Self> {
        let base = match std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from) {
            // The base directory specification: a relative path is invalid and is ignored.
            Some(path) if path.is_absolute() => path,
            _ => PathBuf::from(
                std::env::var_os("HOME")
                    .context("find the cache: neither XDG_CACHE_HOME nor HOME is set: set one")?,
            )
            .join(".cache"),
        };
        let root = base.join("vfio-lab");
        create_dir(&root)?;
        Ok(Self { root })
    }

    /// A directory of the cache that is not an entry: its owner takes care of what is in it.
    pub(crate) fn directory(&self, name: &str) -> Result<PathBuf> {
        let path = self.root.join(name);
        create_dir(&path)?;
        Ok(path)
    }

    /// The entry `name`, which `build` fills if it is not there yet.
    ///
    /// `definition` is whatever the content follows from: another definition is another entry.
    pub(crate) fn entry(
        &self,
        name: &str,
        definition: impl Hash,
        ui: &Ui,
        build: impl FnOnce(&Draft) -> Result<()>,
    ) -> Result<PathBuf> {
        let mut hasher = DefaultHasher::new();
        definition.hash(&mut hasher);
        let name = format!("{name}-{:016x}", hasher.finish());
        let path = self.root.join(&name);
        if path.is_dir() {
            return Ok(path);
        }

        let partial = self.root.join(format!("{name}.partial"));
        let _lock = Lock::exclusive(&self.root.join(format!("{name}.lock")), ui)?;
        if path.is_dir() {
            return Ok(path);
        }
        let draft = Draft {
            tree: partial.join("tree"),
            downloads: partial.join("downloads"),
        };
        remove_dir(&draft.tree)?;
        create_dir(&draft.tree)?;
        create_dir(&draft.downloads)?;
        build(&draft)?;
        fs::rename(&draft.tree, &path)
            .map_err(|error| explain("move into the cache", &path, &error))?;
        remove_dir(&partial)?;
        Ok(path)
    }
}

/// An entry that is being built.
pub(crate) struct Draft {
    /// What becomes the entry; empty when the build starts.
    pub(crate) tree: PathBuf,
    /// Gone once the entry is complete, found again by the next build otherwise.
    pub(crate) downloads: PathBuf,
}

/// A lock between processes and between threads, held until it is dropped.
pub(crate) struct Lock {
    /// Closing it releases the lock.
    _file: File,
}

impl Lock {
    /// Locks `path` against everybody.
    pub(crate) fn exclusive(path: &Path, ui: &Ui) -> Result<Self> {
        let file = lock_file(path)?;
        if FileExt::try_lock(&file).is_err() {
            let _step = ui.step(format!("waiting for the lock {}", path.display()));
            FileExt::lock(&file).map_err(|error| explain("lock", path, &error))?;
        }
        Ok(Self { _file: file })
    }

    /// Locks `path` against those who lock it exclusively.
    pub(crate) fn shared(path: &Path) -> Result<Self> {
        let file = lock_file(path)?;
        FileExt::lock_shared(&file).map_err(|error| explain("lock", path, &error))?;
        Ok(Self { _file: file })
    }
}

fn lock_file(path: &Path) -> Result<File> {
    File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(|error| explain("open", path, &error))
}

/// Writes a file of the cache.
pub(crate) fn write(path: &Path, content: impl AsRef<[u8]>) -> Result<()> {
    fs::write(path, content).map_err(|error| explain("write", path, &error))
}

/// Creates a directory of the cache and those above it.
pub(crate) fn create_dir(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(|error| explain("create", path, &error))
}

fn remove_dir(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(explain("remove", path, &error)),
        _ => Ok(()),
    }
}

fn explain(operation: &str, path: &Path, error: &io::Error) -> anyhow::Error {
    let next = match error.kind() {
        ErrorKind::StorageFull => DISK_FULL,
        _ => "the cache must be writable: mend it, or set XDG_CACHE_HOME to another directory",
    };
    anyhow::anyhow!("{operation} {}: {error}: {next}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache() -> Result<(tempfile::TempDir, Cache)> {
        let dir = tempfile::tempdir()?;
        let root = dir.path().to_owned();
        Ok((dir, Cache { root }))
    }

    #[test]
    fn an_entry_is_built_once() -> Result<()> {
        let (_dir, cache) = cache()?;
        let ui = Ui::new();
        let build = |draft: &Draft| write(&draft.tree.join("file"), "content");
        let path = cache.entry("it", "v1", &ui, build)?;
        let again = cache.entry("it", "v1", &ui, |_| anyhow::bail!("built twice"))?;
        assert_eq!(path, again);
        assert_eq!(fs::read_to_string(path.join("file"))?, "content");
        assert!(!path.with_extension("partial").exists());
        Ok(())
    }

    #[test]
    fn a_failed_build_leaves_no_entry_and_keeps_downloads() -> Result<()> {
        let (_dir, cache) = cache()?;
        let ui = Ui::new();
        let failed = cache.entry("it", "v1", &ui, |draft| {
            write(&draft.downloads.join("half"), "")?;
            write(&draft.tree.join("half"), "")?;
            anyhow::bail!("cut off")
        });
        assert!(failed.is_err());
        let path = cache.entry("it", "v1", &ui, |draft| {
            assert!(draft.downloads.join("half").exists());
            assert!(!draft.tree.join("half").exists());
            Ok(())
        })?;
        assert!(path.is_dir());
        Ok(())
    }

    #[test]
    fn another_definition_is_another_entry() -> Result<()> {
        let (_dir, cache) = cache()?;
        let ui = Ui::new();
        let one = cache.entry("it", "v1", &ui, |_| Ok(()))?;
        let two = cache.entry("it", "v2", &ui, |_| Ok(()))?;
        assert_ne!(one, two);
        Ok(())
    }
}
