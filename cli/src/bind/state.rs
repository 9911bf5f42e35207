//! Files that outlive this program: written as a whole, or not at all.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use vfio_core::kernel::Errno;
use vfio_core::{Error, Result};

/// The root of the tree that they are in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct State(pub(super) PathBuf);

impl State {
    /// The content of a file; `None` if it is not there.
    pub(super) fn read(&self, path: &str) -> Result<Option<String>> {
        let path = self.0.join(path);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("read", &path, &error)),
        }
    }

    /// Puts a file there, for everybody to read. Whoever reads it finds the old content or the new one, even if the
    /// host stops in between.
    pub(super) fn write(&self, path: &str, text: &str) -> Result<()> {
        let path = self.0.join(path);
        let dir = path.parent().unwrap_or(&self.0);
        let write = || {
            fs::create_dir_all(dir)?;
            let mut file = tempfile::Builder::new()
                .permissions(Permissions::from_mode(0o644))
                .tempfile_in(dir)?;
            file.write_all(text.as_bytes())?;
            file.as_file().sync_all()?;
            file.persist(&path)?;
            File::open(dir)?.sync_all()
        };
        write().map_err(|error| failed("write", &path, &error))
    }

    /// Takes a file away, if it is there.
    pub(super) fn remove(&self, path: &str) -> Result<()> {
        let path = self.0.join(path);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed("remove", &path, &error))
            }
            _ => Ok(()),
        }
    }

    /// Keeps others that do so out of a directory, until the file is dropped.
    pub(super) fn lock(&self, dir: &str) -> Result<File> {
        let dir = self.0.join(dir);
        let lock = || {
            fs::create_dir_all(&dir)?;
            let file = File::open(&dir)?;
            flock(&file, FlockOperation::LockExclusive)?;
            Ok(file)
        };
        lock().map_err(|error| failed("lock", &dir, &error))
    }
}

fn failed(operation: &'static str, path: &Path, error: &io::Error) -> Error {
    let errno = Errno::from_io_error(error).unwrap_or(Errno::IO);
    Error::kernel(operation, path.display().to_string(), errno)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_and_nothing_else_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let state = State(dir.path().to_owned());
        assert_eq!(state.read("a/b/file").unwrap(), None);
        for text in ["first\n", "second\n"] {
            state.write("a/b/file", text).unwrap();
            assert_eq!(state.read("a/b/file").unwrap().as_deref(), Some(text));
        }
        assert_eq!(fs::read_dir(dir.path().join("a/b")).unwrap().count(), 1);
        let mode = fs::metadata(dir.path().join("a/b/file"))
            .unwrap()
            .permissions();
        assert_eq!(mode.mode() & 0o777, 0o644);
        state.remove("a/b/file").unwrap();
        state.remove("a/b/file").unwrap();
        assert_eq!(state.read("a/b/file").unwrap(), None);
    }

    #[test]
    fn what_fails_is_named() {
        let state = State("/dev/null".into());
        let error = state.write("run/record", "").unwrap_err();
        assert_eq!(error.errno(), Some(Errno::NOTDIR));
        assert!(
            error.to_string().starts_with("write /dev/null/run/record"),
            "{error}"
        );
    }
}
