//! What is behind a BAR of memory (F77).

use std::os::fd::OwnedFd;

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use vfio_core::kernel::{Errno, Result};

use super::access::Transfer;

/// A file of this host that is mapped. While the device does not answer, it is empty, so that an access to what is
/// mapped of it is the `SIGBUS` that it is on a real host.
#[derive(Debug)]
pub(super) struct Memory {
    file: OwnedFd,
    /// In bytes: whole pages of the machine.
    size: u64,
    /// What is in it, while the file is empty.
    hidden: Option<Vec<u8>>,
    /// What is in it, while the file has ones.
    frozen: Option<Vec<u8>>,
}

impl Memory {
    pub(super) fn new(size: u64) -> Result<Self> {
        let file = memfd_create("vfio-sim BAR", MemfdFlags::CLOEXEC)?;
        ftruncate(&file, size)?;
        Ok(Self {
            file,
            size,
            hidden: None,
            frozen: None,
        })
    }

    /// The file, to be mapped.
    pub(super) fn file(&self) -> Result<OwnedFd> {
        self.file.try_clone().map_err(|_| Errno::NFILE)
    }

    /// Lets what is mapped answer, or no longer.
    pub(super) fn answer(&mut self, answers: bool) -> Result<()> {
        match (answers, self.hidden.take()) {
            (true, Some(bytes)) => {
                ftruncate(&self.file, self.size)?;
                rustix::io::pwrite(&self.file, &bytes, 0)?;
            }
            (false, None) => {
                let size = usize::try_from(self.size).map_err(|_| Errno::NOMEM)?;
                let mut bytes = vec![0; size];
                rustix::io::pread(&self.file, &mut bytes, 0)?;
                ftruncate(&self.file, 0)?;
                self.hidden = Some(bytes);
            }
            (_, hidden) => self.hidden = hidden,
        }
        Ok(())
    }

    /// Ones are in it, or what was in it again.
    pub(super) fn freeze(&mut self, frozen: bool) -> Result<()> {
        let there = match (frozen, self.frozen.take()) {
            (true, None) => {
                let size = usize::try_from(self.size).map_err(|_| Errno::NOMEM)?;
                let mut bytes = vec![0; size];
                match &self.hidden {
                    Some(hidden) => bytes.clone_from(hidden),
                    None => {
                        rustix::io::pread(&self.file, &mut bytes, 0)?;
                    }
                }
                self.frozen = Some(bytes);
                vec![0xff; size]
            }
            (false, Some(bytes)) => bytes,
            (_, was) => {
                self.frozen = was;
                return Ok(());
            }
        };
        match &mut self.hidden {
            Some(hidden) => *hidden = there,
            None => {
                rustix::io::pwrite(&self.file, &there, 0)?;
            }
        }
        Ok(())
    }

    /// Moves bytes, which are inside, whether it answers or not.
    pub(super) fn transfer(&mut self, at: u64, transfer: Transfer<'_>) -> Result<usize> {
        let len = transfer.len();
        let Some(hidden) = &mut self.hidden else {
            return match transfer {
                Transfer::Read(bytes) => rustix::io::pread(&self.file, bytes, at),
                Transfer::Write(bytes) => rustix::io::pwrite(&self.file, bytes, at),
            };
        };
        let at = usize::try_from(at).map_err(|_| Errno::INVAL)?;
        let place = hidden.get_mut(at..).and_then(|rest| rest.get_mut(..len));
        let place = place.ok_or(Errno::INVAL)?;
        match transfer {
            Transfer::Read(bytes) => bytes.copy_from_slice(place),
            Transfer::Write(bytes) => place.copy_from_slice(bytes),
        }
        Ok(len)
    }
}
