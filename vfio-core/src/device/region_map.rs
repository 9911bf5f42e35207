//! Mapped regions.
#![allow(unsafe_code)] // Takes ownership of pages that the kernel has just mapped.

use std::ptr::NonNull;
use std::sync::Arc;

use crate::address::HostRange;
use crate::error::{Error, ErrorKind, Result};
use crate::kernel::{self, Errno, Protection, RegionMapping, RegisterFile};
use crate::memory::{MappedPlace, Mapping, Register};

use super::Device;

/// The largest page that a kernel maps a BAR with, in bytes.
const LARGEST_PAGE: usize = 1 << 30;

/// A mapped region, or a part of one. It keeps the device open, and is unmapped before the device is closed: a
/// mapping that is left behind pins the device (`VFIO_GROUP_UNSET_CONTAINER` answers `EBUSY`, A11b).
///
/// A read is done before what follows it, and what comes before a write is done when the device sees it: a
/// driver fills a [`DmaBuffer`](crate::iommu::DmaBuffer), writes a doorbell here, and the device finds what was
/// filled in, on every architecture.
///
/// An access while the device does not decode its memory, or sleeps, is a `SIGBUS`: the kernel takes the
/// pages away (F77).
#[derive(Debug)]
pub struct RegionMap {
    backing: Backing, // unmapped first
    len: usize,
    protection: Protection,
    device: Device,
}

#[derive(Debug)]
enum Backing {
    Pages(Mapping),
    Registers(Arc<dyn RegisterFile>),
}

impl RegionMap {
    /// Maps `len` bytes from `place` of the device's fd on.
    pub(super) fn new(
        device: &Device,
        place: u64,
        len: usize,
        protection: Protection,
    ) -> kernel::Result<Self> {
        let kernel = device.kernel();
        let align = (1 << len.ilog2()).min(LARGEST_PAGE);
        let backing = match kernel.map_region(device.fd(), place, len, protection, align)? {
            RegionMapping::Registers(file) => Backing::Registers(file),
            RegionMapping::Pages(addr) => {
                // SAFETY: the kernel has just made this mapping, and nobody else knows it.
                Backing::Pages(unsafe { Mapping::of_device(kernel, addr, len) })
            }
        };
        Ok(Self {
            backing,
            len,
            protection,
            device: device.clone(),
        })
    }

    /// Its size in bytes.
    #[allow(clippy::len_without_is_empty)] // it is never empty
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the region can be written; a mapping that cannot is one that a guest cannot write either.
    pub fn is_writable(&self) -> bool {
        self.protection.write
    }

    /// Which device's it is.
    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    /// Where it is in this process, for a slot of KVM's or for another device to reach it (peer to peer); `None` for
    /// registers of a simulated device, which are nowhere. It is there as long as this lives.
    pub fn host_ptr(&self) -> Option<NonNull<u8>> {
        match &self.backing {
            Backing::Pages(mapping) => Some(mapping.addr()),
            Backing::Registers(_) => None,
        }
    }

    /// The pages that it is, in this process, as long as this lives: its bytes, and the rest of the last page where they end
    /// inside of one; `None` for registers of a simulated device.
    pub fn host_range(&self) -> Option<HostRange> {
        let page = self.device.kernel().page_size();
        let len = self.len.checked_next_multiple_of(page)?;
        HostRange::new(self.host_ptr()?.as_ptr() as usize, len)
    }

    /// Reads a register at `offset`, in bytes, in one access.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: outside, or misaligned. [`ErrorKind::Unsupported`]: the region does not allow it.
    pub fn read<T: Register>(&self, offset: usize) -> Result<T> {
        const OPERATION: &str = "read";
        self.check(OPERATION, self.protection.read)?;
        match &self.backing {
            Backing::Pages(mapping) => mapping.read(offset),
            Backing::Registers(file) => {
                let mut value = T::new_zeroed();
                self.check_place::<T>(OPERATION, offset)?;
                file.read(offset, value.as_mut_bytes())
                    .map_err(|errno| self.bus_error(OPERATION, errno))?;
                Ok(value)
            }
        }
    }

    /// Writes a register at `offset`, in bytes, in one access.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: outside, or misaligned. [`ErrorKind::Unsupported`]: the region does not allow it.
    pub fn write<T: Register>(&self, offset: usize, value: T) -> Result<()> {
        const OPERATION: &str = "write";
        self.check(OPERATION, self.protection.write)?;
        match &self.backing {
            Backing::Pages(mapping) => mapping.write(offset, value),
            Backing::Registers(file) => {
                self.check_place::<T>(OPERATION, offset)?;
                file.write(offset, value.as_bytes())
                    .map_err(|errno| self.bus_error(OPERATION, errno))
            }
        }
    }

    /// A register at `offset`, in bytes, for many accesses: its place is checked here, and an access costs what the register
    /// does.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: outside, or misaligned. [`ErrorKind::Unsupported`]: the region cannot be read and written.
    pub fn register<T: Register>(&self, offset: usize) -> Result<MappedRegister<'_, T>> {
        const OPERATION: &str = "find a register";
        self.check(OPERATION, self.protection.read && self.protection.write)?;
        Ok(match &self.backing {
            Backing::Pages(mapping) => MappedRegister(Place::Page(mapping.register(offset)?)),
            Backing::Registers(_) => {
                self.check_place::<T>(OPERATION, offset)?;
                MappedRegister(Place::File(self, offset))
            }
        })
    }

    /// What the region does not allow would be a `SIGSEGV`.
    fn check(&self, operation: &'static str, allowed: bool) -> Result<()> {
        if allowed {
            return Ok(());
        }
        Err(self
            .device
            .error(ErrorKind::Unsupported, operation)
            .because("the region's flags do not allow it"))
    }

    fn check_place<T: Register>(&self, operation: &'static str, offset: usize) -> Result<()> {
        let size = size_of::<T>();
        let fits = offset.checked_add(size).is_some_and(|end| end <= self.len);
        if fits && offset % size == 0 {
            return Ok(());
        }
        let len = self.len;
        let why = format!(
            "{size} bytes at {offset:#x} are outside of the {len:#x} that are mapped, or misaligned"
        );
        Err(self
            .device
            .error(ErrorKind::Invalid, operation)
            .because(why))
    }

    /// Where only a simulated kernel gets to answer.
    fn bus_error(&self, operation: &'static str, errno: Errno) -> Error {
        Error::kernel(operation, self.device.bdf().to_string(), errno)
            .of_device(self.device.bdf())
            .because("on a real kernel this access is a SIGBUS: the device does not answer")
    }
}

/// A register of a mapped region.
#[derive(Debug, Clone, Copy)]
pub struct MappedRegister<'a, T>(Place<'a, T>);

#[derive(Debug, Clone, Copy)]
enum Place<'a, T> {
    Page(MappedPlace<'a, T>),
    /// One of a simulated device.
    File(&'a RegionMap, usize),
}

impl<T: Register> MappedRegister<'_, T> {
    /// Reads it, in one access.
    ///
    /// # Errors
    /// Of a simulated device alone: where the access would be a `SIGBUS`.
    #[inline]
    pub fn read(&self) -> Result<T> {
        match self.0 {
            Place::Page(place) => Ok(place.read()),
            Place::File(map, offset) => map.read(offset),
        }
    }

    /// Writes it, in one access.
    ///
    /// # Errors
    /// As for [`read`](Self::read).
    #[inline]
    pub fn write(&self, value: T) -> Result<()> {
        match self.0 {
            Place::Page(place) => {
                place.write(value);
                Ok(())
            }
            Place::File(map, offset) => map.write(offset, value),
        }
    }
}
