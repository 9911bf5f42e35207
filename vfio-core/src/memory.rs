//! Mapped memory that a device may read and write while we do.
//!
//! There is never a `&[u8]` of such memory: it changes under our feet. Every access has one register's width
//! where that is asked for, and is checked against the bounds. All of them are volatile: the memory is the
//! kernel's, in no allocation that the language knows of, and what others do with it meanwhile (the device,
//! another thread, a peer that shares it) changes what is read and nothing else. Registers of a device are
//! accessed between barriers.
#![allow(unsafe_code)] // The one place that dereferences mapped memory.

use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::Arc;

use tracing::warn;

use crate::address::HostRange;
use crate::error::{Error, ErrorKind, Result};
use crate::kernel::Kernel;

/// A value that is read and written in one access: `u8`, `u16`, `u32`, `u64`.
///
/// Its bytes are those of this host's byte order; a device that has another is the driver's business.
pub trait Register:
    Copy + private::Sealed + zerocopy::FromBytes + zerocopy::IntoBytes + zerocopy::Immutable
{
}

mod private {
    pub trait Sealed {}
}

macro_rules! registers {
    ($($register:ty)*) => {$(
        impl private::Sealed for $register {}
        impl Register for $register {}
    )*};
}
registers!(u8 u16 u32 u64);

/// Orders what this processor does with memory and what it does with devices: what comes before is done, for
/// every observer, before what comes after.
pub(crate) fn barrier() {
    // A fence of the language is for other processors; on arm64 devices are further out than those.
    #[cfg(target_arch = "aarch64")]
    // SAFETY: a barrier touches no memory and no register.
    unsafe {
        std::arch::asm!("dmb osh", options(nostack, preserves_flags));
    }
    #[cfg(not(target_arch = "aarch64"))]
    std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst); // `sync` on POWER, which orders devices too
}

/// The same around an access to a register: after a read, before a write.
#[inline]
fn register_barrier() {
    // x86 keeps accesses to devices in their order among those to memory, as VFIO maps them (uncached); `readl` and `writel`
    // of Linux have no barrier there, either. The compiler must keep it, too.
    #[cfg(target_arch = "x86_64")]
    std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::SeqCst);
    #[cfg(not(target_arch = "x86_64"))]
    barrier();
}

/// Whose memory is mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Process,
    Device,
}

/// A mapping of this process that nobody else unmaps; it is given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Mapping {
    kernel: Arc<dyn Kernel>,
    /// What is used of it.
    addr: NonNull<u8>,
    len: usize,
    /// What was mapped; `None` once it was left mapped for ever.
    whole: Option<(NonNull<u8>, usize)>,
    owner: Owner,
}

// SAFETY: the memory belongs to this value alone; nothing of it depends on the thread.
unsafe impl Send for Mapping {}
// SAFETY: it is only ever accessed volatile, in no allocation of the language; every value of the bytes is valid.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `len` bytes of zeroed memory, aligned to `align`, a power of two, that child processes do not
    /// get.
    pub(crate) fn anonymous(kernel: &Arc<dyn Kernel>, len: usize, align: usize) -> Result<Self> {
        // A kernel aligns to 4 KiB at least; for more than that, so much more is mapped that it fits.
        let slack = align.saturating_sub(4096);
        let too_large = || Error::new(ErrorKind::Exhausted, "mmap", format!("{len:#x} bytes"));
        let whole = len.checked_add(slack).ok_or_else(too_large)?;
        let addr = kernel
            .mmap(whole)
            .map_err(|errno| Error::kernel("mmap", format!("{whole:#x} bytes of memory"), errno))?;
        let mut mapping = Self::owning(kernel, addr, whole, Owner::Process);
        // SAFETY: the very mapping that was just made.
        unsafe { kernel.keep_from_children(mapping.addr, whole) }
            .map_err(|errno| Error::kernel("madvise(MADV_DONTFORK)", "a DMA buffer", errno))?;
        let skip = mapping.addr.as_ptr().align_offset(align);
        if skip > slack {
            return Err(too_large());
        }
        // SAFETY: `skip` and `len` are together at most `whole`, which is what was mapped.
        mapping.addr = unsafe { mapping.addr.add(skip) };
        mapping.len = len;
        Ok(mapping)
    }

    /// The pages of a device that [`Kernel::map_region`] mapped, from now on owned here.
    ///
    /// # Safety
    /// `addr` and `len` are those of that mapping, which nobody else uses or gives back.
    pub(crate) unsafe fn of_device(
        kernel: &Arc<dyn Kernel>,
        addr: NonNull<u8>,
        len: usize,
    ) -> Self {
        Self::owning(kernel, addr, len, Owner::Device)
    }

    fn owning(kernel: &Arc<dyn Kernel>, addr: NonNull<u8>, len: usize, owner: Owner) -> Self {
        Self {
            kernel: Arc::clone(kernel),
            addr,
            len,
            whole: Some((addr, len)),
            owner,
        }
    }

    /// Where it starts.
    pub(crate) fn addr(&self) -> NonNull<u8> {
        self.addr
    }

    /// Where it is.
    pub(crate) fn range(&self) -> Result<HostRange> {
        HostRange::new(self.addr.as_ptr() as usize, self.len)
            .ok_or_else(|| Error::new(ErrorKind::Invalid, "use", "an empty mapping"))
    }

    /// Its size in bytes.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Leaves the memory mapped for ever: somebody may still use it.
    pub(crate) fn leak(mut self) {
        self.whole = None;
    }

    /// Where a `T` at `offset` is, if it is inside and aligned.
    fn place<T>(&self, operation: &'static str, offset: usize) -> Result<*mut T> {
        let fits = offset
            .checked_add(size_of::<T>())
            .is_some_and(|end| end <= self.len);
        if !fits || offset % size_of::<T>() != 0 {
            return Err(Error::new(
                ErrorKind::Invalid,
                operation,
                format!("{} bytes at {offset:#x}", size_of::<T>()),
            )
            .because(format!(
                "outside of the {:#x} bytes that are mapped, or misaligned",
                self.len
            )));
        }
        // SAFETY: `offset` is inside the mapping, which is one object.
        Ok(unsafe { self.addr.as_ptr().add(offset) }.cast())
    }

    /// A register of a device's, whose place is checked once.
    pub(crate) fn register<T: Register>(&self, offset: usize) -> Result<MappedPlace<'_, T>> {
        let place = self.place::<T>("find a register", offset)?;
        Ok(MappedPlace {
            place,
            _mapping: PhantomData,
        })
    }

    /// Reads one register, in one access.
    pub(crate) fn read<T: Register>(&self, offset: usize) -> Result<T> {
        let place = self.place::<T>("read mapped memory", offset)?;
        // SAFETY: inside the mapping, aligned (the mapping is page aligned), and any bytes are a `T`.
        let value = unsafe { place.read_volatile() };
        self.order();
        Ok(value)
    }

    /// Writes one register, in one access.
    pub(crate) fn write<T: Register>(&self, offset: usize, value: T) -> Result<()> {
        let place = self.place::<T>("write mapped memory", offset)?;
        self.order();
        // SAFETY: inside the mapping and aligned.
        unsafe { place.write_volatile(value) };
        Ok(())
    }

    /// A device sees accesses to its registers in the order of the program, among what else is done with memory.
    fn order(&self) {
        if self.owner == Owner::Device {
            register_barrier();
        }
    }

    /// Copies bytes out.
    pub(crate) fn copy_to(&self, offset: usize, bytes: &mut [u8]) -> Result<()> {
        self.check_span("read mapped memory", offset, bytes.len())?;
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = self.read(offset + i)?;
        }
        Ok(())
    }

    /// Copies bytes in.
    pub(crate) fn copy_from(&self, offset: usize, bytes: &[u8]) -> Result<()> {
        self.check_span("write mapped memory", offset, bytes.len())?;
        for (i, &byte) in bytes.iter().enumerate() {
            self.write(offset + i, byte)?;
        }
        Ok(())
    }

    /// All or nothing: a copy that does not fit moves no byte.
    fn check_span(&self, operation: &'static str, offset: usize, len: usize) -> Result<()> {
        match offset.checked_add(len) {
            Some(end) if end <= self.len => Ok(()),
            _ => Err(Error::new(
                ErrorKind::Invalid,
                operation,
                format!("{len:#x} bytes at {offset:#x}"),
            )
            .because(format!("only {:#x} bytes are mapped", self.len))),
        }
    }
}

/// The place of a register in a device's mapping, which is mapped as long as this is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MappedPlace<'a, T> {
    place: *mut T,
    _mapping: PhantomData<&'a Mapping>,
}

// SAFETY: it is accessed volatile alone; nothing of it depends on the thread.
unsafe impl<T> Send for MappedPlace<'_, T> {}
// SAFETY: as above.
unsafe impl<T> Sync for MappedPlace<'_, T> {}

impl<T: Register> MappedPlace<'_, T> {
    #[inline]
    pub(crate) fn read(self) -> T {
        // SAFETY: it was found inside the mapping and aligned, and the mapping is borrowed.
        let value = unsafe { self.place.read_volatile() };
        register_barrier();
        value
    }

    #[inline]
    pub(crate) fn write(self, value: T) {
        register_barrier();
        // SAFETY: as for reading.
        unsafe { self.place.write_volatile(value) };
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        let Some((addr, len)) = self.whole else {
            return;
        };
        // SAFETY: the mapping is ours and nothing refers to it any more. That no device reaches it is
        // the owner's promise: `DmaBuffer` leaks what it could not unmap from the IOMMU.
        if let Err(errno) = unsafe { self.kernel.munmap(addr, len) } {
            warn!(?addr, len, %errno, "munmap failed; the memory stays mapped");
        }
    }
}
