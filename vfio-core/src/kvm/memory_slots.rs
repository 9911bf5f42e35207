//! Mapped BARs in the memory of a VM.
#![allow(unsafe_code)] // Gives a guest the addresses of mapped BARs, which are kept mapped as long.

use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use tracing::error;

use crate::device::RegionMap;
use crate::error::{Answer, Error, ErrorKind, Result};
use crate::host::Bdf;
use crate::kernel::{Errno, Kernel};
use crate::sync::{Mutex, MutexGuard, PoisonError};

use super::{calls, uapi};

const SET: &str = "KVM_SET_USER_MEMORY_REGION";

/// The memory slots of a VM that are for mapped BARs.
///
/// It is a handle: clones share the same slots. The VM lives as long as one of them, or a [`MemorySlot`].
#[derive(Debug, Clone)]
pub struct MemorySlots(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    vm: OwnedFd,
    kernel: Arc<dyn Kernel>,
    /// Whether a guest can be kept from writing.
    has_read_only: bool,
    /// Not locked while the kernel is called: a number is whose took it until it is given back.
    free: Mutex<FreeNumbers>,
}

/// The numbers that no slot has.
#[derive(Debug)]
struct FreeNumbers {
    /// Those that none has had yet.
    unused: Range<u32>,
    /// Those that were given back.
    returned: Vec<u32>,
}

impl FreeNumbers {
    fn take(&mut self) -> Option<u32> {
        self.returned.pop().or_else(|| self.unused.next())
    }
}

impl MemorySlots {
    /// Of a VM, by a duplicate of its fd, the slots with these numbers: whoever else puts memory into the VM, its RAM for
    /// one, uses others.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: the fd is none of a VM; or a VM has no slots with numbers that high.
    /// [`ErrorKind::Unsupported`]: KVM takes no memory of a process. Otherwise what the kernel answered.
    pub fn new(kernel: &Arc<dyn Kernel>, vm: OwnedFd, numbers: Range<u32>) -> Result<Self> {
        let extent = |capability| calls::extent(kernel, vm.as_fd(), capability);
        let refused = |kind| Error::new(kind, "use", format!("memory slots {numbers:?} of a VM"));
        if extent(uapi::CAP_USER_MEMORY)? == 0 {
            return Err(refused(ErrorKind::Unsupported)
                .because("this kernel's KVM takes no memory of a process"));
        }
        let count = extent(uapi::CAP_NR_MEMSLOTS)?;
        if numbers.end > count {
            return Err(refused(ErrorKind::Invalid)
                .because(format!("a VM has {count} of them, numbered from 0 on")));
        }
        let has_read_only = extent(uapi::CAP_READONLY_MEM)? > 0;
        Ok(Self(Arc::new(Inner {
            vm,
            kernel: Arc::clone(kernel),
            has_read_only,
            free: Mutex::new(FreeNumbers {
                unused: numbers,
                returned: Vec::new(),
            }),
        })))
    }

    /// Lets the guest see a mapped region, all [pages](RegionMap::host_range) of the mapping, from a guest physical address
    /// on, in bytes, where a page of the host starts, until the slot is removed. With `read_only`, and for a region that
    /// cannot be written, what the guest writes comes to whoever runs its processors, as an access to a BAR that is not
    /// mapped does.
    ///
    /// KVM keeps nothing mapped: it is the slot that does, and the device open with it.
    ///
    /// # Errors
    /// [`ErrorKind::Exhausted`]: all slots are in use, or the kernel has no memory. [`ErrorKind::Overlap`]: the guest sees
    /// something else there already. [`ErrorKind::Invalid`]: no page starts there, or a guest has no such addresses.
    /// [`ErrorKind::Unsupported`]: registers of a simulated device, which have no address; or this architecture's KVM has
    /// no slots that can only be read (POWER's). Otherwise what the kernel answered: `EIO`, the VM belongs to another
    /// process.
    pub fn insert(
        &self,
        guest: u64,
        memory: &Arc<RegionMap>,
        read_only: bool,
    ) -> Result<MemorySlot> {
        let device = memory.device().bdf();
        let refused = |kind| {
            let what = name(device, guest, memory.len() as u64);
            Error::new(kind, "insert", what).of_device(device)
        };
        let Some(pages) = memory.host_range() else {
            return Err(refused(ErrorKind::Unsupported)
                .because("these are registers of a simulated device, which have no address"));
        };
        let size = pages.len() as u64;
        let page = self.0.kernel.page_size() as u64;
        if guest % page != 0 || guest.checked_add(size).is_none() {
            return Err(refused(ErrorKind::Invalid).because(format!(
                "no page of {page:#x} bytes starts there, or a guest has no addresses that high"
            )));
        }
        let read_only = read_only || !memory.is_writable();
        if read_only && !self.0.has_read_only {
            return Err(refused(ErrorKind::Unsupported)
                .because("KVM has no memory here that a guest only reads"));
        }
        let number = self.0.free().take().ok_or_else(|| {
            refused(ErrorKind::Exhausted).because("all memory slots for mapped BARs are in use")
        })?;
        let region = uapi::UserspaceMemoryRegion {
            slot: number,
            flags: if read_only { uapi::MEM_READONLY } else { 0 },
            guest_phys_addr: guest,
            memory_size: size,
            userspace_addr: pages.addr() as u64,
        };
        let mut slot = MemorySlot {
            slots: self.clone(),
            device,
            region,
            memory: Some(Arc::clone(memory)),
        };
        // SAFETY: these pages are a device's and nothing else's, and the slot keeps them mapped. What the guest does there,
        // whoever holds the mapping can do by calls that are safe: nobody relies on what is in them.
        let set = unsafe { self.0.set(&region) };
        match set {
            Ok(()) => Ok(slot),
            Err(answer) => {
                // A call that failed with an errno has changed nothing. If not, the slot that is dropped here takes it back.
                if matches!(answer, Answer::Errno(_)) {
                    slot.forget();
                }
                Err(slot.refused(answer))
            }
        }
    }
}

impl Inner {
    fn free(&self) -> MutexGuard<'_, FreeNumbers> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// # Safety
    /// That of [`calls::set_user_memory_region`].
    unsafe fn set(&self, region: &uapi::UserspaceMemoryRegion) -> std::result::Result<(), Answer> {
        // SAFETY: passed on to our caller.
        unsafe { calls::set_user_memory_region(&self.kernel, self.vm.as_fd(), region) }
    }
}

/// A mapped region that a guest sees. It is removed when this is dropped; what cannot be removed stays mapped for ever,
/// because the guest may still reach it.
#[derive(Debug)]
pub struct MemorySlot {
    slots: MemorySlots,
    device: Bdf,
    region: uapi::UserspaceMemoryRegion,
    /// `None` once the guest does not see it any more.
    memory: Option<Arc<RegionMap>>,
}

impl MemorySlot {
    /// Its number.
    pub fn number(&self) -> u32 {
        self.region.slot
    }

    /// Where the guest sees it: guest physical addresses, in bytes.
    pub fn guest(&self) -> Range<u64> {
        // The end was looked at before it was put there.
        self.region.guest_phys_addr..self.region.guest_phys_addr + self.region.memory_size
    }

    /// Takes it from the guest now, as dropping does, and says what could not be done: then it is there as before, and can
    /// be removed again. Afterwards, no processor of the guest reaches it.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn remove(&mut self) -> Result<()> {
        if self.memory.is_none() {
            return Ok(());
        }
        let nothing = uapi::UserspaceMemoryRegion {
            memory_size: 0,
            ..self.region
        };
        // SAFETY: this gives nothing to the guest.
        let removed = unsafe { self.slots.0.set(&nothing) };
        removed.map_err(|answer| self.stays(answer))?;
        self.forget();
        Ok(())
    }

    /// The guest does not see it: nobody needs the memory, and somebody else can have the number.
    fn forget(&mut self) {
        self.memory = None;
        self.slots.0.free().returned.push(self.region.slot);
    }

    /// Why the kernel does not put it there.
    fn refused(&self, answer: Answer) -> Error {
        let error = self.failed(answer);
        match answer {
            Answer::Errno(Errno::EXIST) => error
                .of_kind(ErrorKind::Overlap)
                .because("the guest sees something else at these addresses already"),
            Answer::Errno(Errno::INVAL | Errno::FAULT) => {
                error.of_kind(ErrorKind::Invalid).because(
                    "a guest has no addresses that high, or somebody else has memory in that slot",
                )
            }
            Answer::Errno(Errno::NOMEM) => error.because("the kernel has no memory for the slot"),
            _ => error,
        }
    }

    /// Why the kernel does not take it away.
    fn stays(&self, answer: Answer) -> Error {
        let error = self.failed(answer);
        match answer {
            Answer::Errno(Errno::INVAL) => error.because("somebody else has emptied that slot"),
            Answer::Errno(Errno::IO) => error,
            _ => error.because("the guest may see it still"),
        }
    }

    fn failed(&self, answer: Answer) -> Error {
        let guest = self.guest();
        let what = name(self.device, guest.start, guest.end - guest.start);
        let part = format!("slot {} of a VM, {what}", self.number());
        calls::of_part(SET, part, answer).of_device(self.device)
    }
}

/// What a guest is to see.
fn name(device: Bdf, guest: u64, size: u64) -> String {
    format!("{size:#x} bytes of {device} at {guest:#x} of a guest")
}

impl Drop for MemorySlot {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            error!(%error, "a mapped BAR could not be taken from a guest; it stays mapped");
            std::mem::forget(self.memory.take());
        }
    }
}
