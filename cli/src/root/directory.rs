//! A host's files in a directory of this one.
//!
//! The kernel keeps us inside: each path is opened with `openat2(2)` and `RESOLVE_IN_ROOT`, so that `..` and links, absolute
//! ones too, end inside the directory.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};
use vfio_core::kernel::{Errno, Result};

use super::{LARGEST_FILE, is_read};

/// A directory that stands for the root of a host.
#[derive(Debug)]
pub(crate) struct HostDirectory {
    root: OwnedFd,
    /// The directory that was last asked for a file.
    last: Mutex<Option<(PathBuf, Arc<OwnedFd>)>>,
}

/// How a file is read.
const READ: OFlags = OFlags::RDONLY
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

impl HostDirectory {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat(CWD, path, flags, Mode::empty()).map(Self::at)
    }

    /// A directory in it, which must be one itself.
    pub(crate) fn enter(&self, name: &str) -> Result<Self> {
        self.open_at(
            Path::new(name),
            OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW,
        )
        .map(Self::at)
    }

    fn at(root: OwnedFd) -> Self {
        Self {
            root,
            last: Mutex::default(),
        }
    }

    pub(crate) fn read(&self, path: &Path) -> Result<Vec<u8>> {
        let (directory, name) = match self.place(path) {
            Ok(place) => place,
            Err(_) => return self.read_slowly(path),
        };
        // What it is, is asked first: to open a device is to do something.
        match rustix::fs::statat(&*directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if is_file(&stat) => {
                let flags = OFlags::NOFOLLOW | READ;
                let file = rustix::fs::openat(&*directory, name, flags, Mode::empty())?;
                content(file, &stat)
            }
            _ => self.read_slowly(path),
        }
    }

    /// Reads what is at the end of a link, or says why it cannot be read.
    fn read_slowly(&self, path: &Path) -> Result<Vec<u8>> {
        let (_, stat) = self.look(path, OFlags::empty())?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile if is_read(stat.st_mode) => {}
            FileType::Directory => return Err(Errno::ISDIR),
            _ => return Err(Errno::NODATA),
        }
        content(self.open_at(path, READ)?, &stat)
    }

    pub(crate) fn list(&self, path: &Path) -> Result<Vec<OsString>> {
        let (_, stat) = self.look(path, OFlags::empty())?;
        if !is_read(stat.st_mode) {
            return Err(Errno::NODATA);
        }
        let directory = self.open_at(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut names = Vec::new();
        for entry in Dir::new(directory)? {
            let name = entry?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(OsString::from_vec(name));
            }
        }
        names.sort();
        Ok(names)
    }

    pub(crate) fn read_link(&self, path: &Path) -> Result<PathBuf> {
        if let Ok((directory, name)) = self.place(path) {
            if let Ok(target) = rustix::fs::readlinkat(&*directory, name, Vec::new()) {
                return Ok(OsString::from_vec(target.into_bytes()).into());
            }
        }
        // It is no link: why is to be said.
        let (_, stat) = self.look(path, OFlags::NOFOLLOW)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile if !is_read(stat.st_mode) => Err(Errno::NODATA),
            _ => Err(Errno::INVAL),
        }
    }

    /// The directory that a path ends in, and its last name. A directory is asked for many files in a row, so that the last
    /// one is kept open.
    fn place<'a>(&self, path: &'a Path) -> Result<(Arc<OwnedFd>, &'a OsStr)> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Errno::INVAL);
        };
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, directory)) = &*last {
            if known == parent {
                return Ok((Arc::clone(directory), name));
            }
        }
        let directory = Arc::new(self.open_at(parent, OFlags::PATH | OFlags::DIRECTORY)?);
        *last = Some((parent.to_owned(), Arc::clone(&directory)));
        Ok((directory, name))
    }

    /// What is there, without opening it.
    fn look(&self, path: &Path, flags: OFlags) -> Result<(OwnedFd, Stat)> {
        let fd = match self.open_at(path, flags | OFlags::PATH) {
            // What is in the way may be a directory that nobody has looked into.
            Err(Errno::NOTDIR) if self.leads_through_unread(path) => return Err(Errno::NODATA),
            opened => opened?,
        };
        let stat = rustix::fs::fstat(&fd)?;
        Ok((fd, stat))
    }

    fn leads_through_unread(&self, path: &Path) -> bool {
        let is_unread = |path| {
            let fd = self.open_at(path, OFlags::PATH).ok()?;
            let stat = rustix::fs::fstat(fd).ok()?;
            let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
            Some(is_file && !is_read(stat.st_mode))
        };
        path.ancestors().find_map(is_unread).unwrap_or(false)
    }

    fn open_at(&self, path: &Path, flags: OFlags) -> Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(&self.root, path, flags, Mode::empty(), resolve)
    }
}

/// Whether it is a file that was read when the host was captured.
fn is_file(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && is_read(stat.st_mode)
}

/// All of a file, unless it is too large.
fn content(file: OwnedFd, stat: &Stat) -> Result<Vec<u8>> {
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    if size > LARGEST_FILE {
        return Err(Errno::FBIG);
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    // Of one whose size is known no end has to be seen; those of proc have none.
    let most = if size == 0 { LARGEST_FILE + 1 } else { size };
    let mut file = File::from(file).take(most);
    file.read_to_end(&mut bytes).map_err(errno)?;
    match bytes.len() as u64 > LARGEST_FILE {
        true => Err(Errno::FBIG),
        false => Ok(bytes),
    }
}

fn errno(error: io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}
