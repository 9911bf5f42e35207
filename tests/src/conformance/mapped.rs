//! A mapped region, as memory or as a file of registers.
#![allow(unsafe_code)] // Maps regions and touches them, where a signal may come, which a child process takes.

use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::sync::Arc;

use rustix::process::{Pid, Signal, WaitOptions, waitpid};
use vfio_core::kernel::{Kernel, Protection, RegionMapping, Result};

use super::host::Host;
use super::rig::Open;

/// What a register is at least.
const REGISTER: usize = 4;

/// Mapped bytes of a region.
#[derive(Debug)]
pub(super) struct Mapped {
    kernel: Arc<dyn Kernel>,
    /// `None` while it is given back.
    mapping: Option<RegionMapping>,
    len: usize,
}

impl Mapped {
    pub(super) fn new(host: &Host, open: &Open, place: (u32, u64), len: u64) -> Result<Self> {
        let kernel = Arc::clone(host.kernel());
        let len = usize::try_from(len).unwrap();
        let (region, offset) = place;
        let offset = (u64::from(region) << 40) + offset;
        let rights = Protection {
            read: true,
            write: true,
        };
        let page = kernel.page_size();
        let mapping = kernel.map_region(open.device.as_fd(), offset, len, rights, page)?;
        Ok(Self {
            kernel,
            mapping: Some(mapping),
            len,
        })
    }

    /// The register at `at`, which must answer.
    pub(super) fn get(&self, at: u64) -> u32 {
        match self.mapping() {
            RegionMapping::Pages(start) => {
                // SAFETY: inside the mapping, as `place` asserts, and mapped as long as `self` is.
                unsafe { self.place(*start, at).read_volatile() }
            }
            RegionMapping::Registers(file) => {
                let mut bytes = [0; REGISTER];
                file.read(usize::try_from(at).unwrap(), &mut bytes).unwrap();
                u32::from_le_bytes(bytes)
            }
        }
    }

    /// Writes the register at `at`, which must take it.
    pub(super) fn set(&self, at: u64, value: u32) {
        match self.mapping() {
            RegionMapping::Pages(start) => {
                // SAFETY: as for reading; no reference to it exists.
                unsafe { self.place(*start, at).write_volatile(value) }
            }
            RegionMapping::Registers(file) => {
                let at = usize::try_from(at).unwrap();
                file.write(at, &value.to_le_bytes()).unwrap();
            }
        }
    }

    /// Whether reading and writing end with `SIGBUS`: neither does, or both do. A simulated device's registers, which
    /// are no memory, answer an error instead.
    pub(super) fn is_gone(&self) -> bool {
        let (reading, writing) = match self.mapping() {
            RegionMapping::Pages(start) => {
                let place = self.place(*start, 0);
                let reading = || {
                    // SAFETY: inside the mapping, as `place` asserts; if that is not there, it ends a child.
                    let _ = unsafe { place.read_volatile() };
                };
                // SAFETY: as for reading.
                let writing = || unsafe { place.write_volatile(0) };
                (is_deadly(reading), is_deadly(writing))
            }
            RegionMapping::Registers(file) => {
                let reading = file.read(0, &mut [0; REGISTER]).is_err();
                (reading, file.write(0, &[0; REGISTER]).is_err())
            }
        };
        assert_eq!(reading, writing);
        reading
    }

    fn place(&self, start: NonNull<u8>, at: u64) -> NonNull<u32> {
        let at = usize::try_from(at).unwrap();
        assert!(at % REGISTER == 0 && at + REGISTER <= self.len);
        // SAFETY: inside the mapping, as was just asserted.
        unsafe { start.add(at).cast() }
    }

    fn mapping(&self) -> &RegionMapping {
        self.mapping.as_ref().unwrap()
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        if let Some(RegionMapping::Pages(start)) = self.mapping.take() {
            // SAFETY: what was mapped, once; the only pointer to it goes.
            unsafe { self.kernel.munmap(start, self.len).unwrap() };
        }
    }
}

/// Whether a child process that does this dies of `SIGBUS`.
fn is_deadly(touch: impl FnOnce()) -> bool {
    // SAFETY: the child touches memory and ends; it allocates nothing, takes no lock and runs nobody's destructor.
    let child = unsafe { libc::fork() };
    if child == 0 {
        touch();
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(0) }
    }
    let child = Pid::from_raw(child).unwrap();
    let (_, status) = waitpid(Some(child), WaitOptions::empty()).unwrap().unwrap();
    match status.terminating_signal() {
        Some(signal) => {
            assert_eq!(signal, Signal::BUS.as_raw());
            true
        }
        None => false,
    }
}
