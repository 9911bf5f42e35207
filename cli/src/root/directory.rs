//! A host's files in a directory of this one.
//!
//! The kernel keeps us inside: each path is opened with `openat2(2)` and `RESOLVE_IN_ROOT`, so that `..` and links, absolute
//! ones too, end inside the directory.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};
use vfio_core::kernel::{Errno, Result};

use super::{LARGEST_FILE, is_read};

/// A directory that stands for the root of a host.
#[derive(Debug)]
pub(crate) struct HostDirectory(OwnedFd);

impl HostDirectory {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat(CWD, path, flags, Mode::empty()).map(Self)
    }

    /// A directory in it, which must be one itself.
    pub(crate) fn enter(&self, name: &str) -> Result<Self> {
        self.open_at(
            Path::new(name),
            OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW,
        )
        .map(Self)
    }

    pub(crate) fn read(&self, path: &Path) -> Result<Vec<u8>> {
        // What it is, is asked first: to open a device is to do something.
        let (_, stat) = self.look(path, OFlags::empty())?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile if is_read(stat.st_mode) => {}
            FileType::Directory => return Err(Errno::ISDIR),
            _ => return Err(Errno::NODATA),
        }
        if u64::try_from(stat.st_size).is_ok_and(|size| size > LARGEST_FILE) {
            return Err(Errno::FBIG);
        }
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = File::from(self.open_at(path, flags)?);
        let mut bytes = Vec::new();
        file.take(LARGEST_FILE + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        match bytes.len() as u64 > LARGEST_FILE {
            true => Err(Errno::FBIG),
            false => Ok(bytes),
        }
    }

    pub(crate) fn list(&self, path: &Path) -> Result<Vec<OsString>> {
        let (_, stat) = self.look(path, OFlags::empty())?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && !is_read(stat.st_mode)
        {
            return Err(Errno::NODATA); // it may be one
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
        let (link, stat) = self.look(path, OFlags::NOFOLLOW)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(link, OsStr::new(""), Vec::new())?;
                Ok(OsString::from_vec(target.into_bytes()).into())
            }
            FileType::RegularFile if !is_read(stat.st_mode) => Err(Errno::NODATA),
            _ => Err(Errno::INVAL),
        }
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
        rustix::fs::openat2(&self.0, path, flags, Mode::empty(), resolve)
    }
}
