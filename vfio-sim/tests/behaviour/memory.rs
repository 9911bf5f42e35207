//! Memory of this process that devices reach.
#![allow(unsafe_code)] // Maps memory, of which nobody but a `Memory` has the address; no reference is ever made to it.

use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::ptr::NonNull;

use rustix::mm::{MprotectFlags, mprotect};
use vfio_core::kernel::Kernel;
use vfio_sim::SimKernel;

/// Whole pages of a machine.
#[derive(Debug)]
pub(crate) struct Memory {
    sim: SimKernel,
    start: NonNull<u8>,
    len: usize,
}

impl Memory {
    pub(crate) fn new(sim: &SimKernel, pages: usize) -> Self {
        let len = pages * sim.page_size();
        Self {
            sim: sim.clone(),
            start: sim.mmap(len).unwrap(),
            len,
        }
    }

    /// Its address, as the kernel is told it.
    pub(crate) fn at(&self) -> u64 {
        self.start.as_ptr() as u64
    }

    pub(crate) fn len(&self) -> u64 {
        self.len as u64
    }

    pub(crate) fn put(&self, at: usize, bytes: &[u8]) {
        assert!(at + bytes.len() <= self.len);
        for (n, byte) in bytes.iter().enumerate() {
            // SAFETY: inside the mapping, as was just asserted; the test has left these bytes writable.
            unsafe { self.start.add(at + n).write_volatile(*byte) };
        }
    }

    pub(crate) fn get(&self, range: Range<usize>) -> Vec<u8> {
        assert!(range.end <= self.len);
        // SAFETY: inside the mapping, as was just asserted; the test has left these bytes readable.
        range
            .map(|at| unsafe { self.start.add(at).read_volatile() })
            .collect()
    }

    /// These bytes are not there any more, whole pages. Their addresses stay taken: if they were unmapped, another
    /// test could get them, and a device would write into its memory.
    pub(crate) fn lose(&self, range: Range<usize>) {
        self.protect(range, MprotectFlags::empty());
    }

    /// How many of this host's pages were touched.
    pub(crate) fn present(&self) -> usize {
        const ENTRY: usize = 8;
        let host_page = rustix::param::page_size();
        let pagemap = std::fs::File::open("/proc/self/pagemap").unwrap();
        let mut entries = vec![0; self.len / host_page * ENTRY];
        let at = self.at() / host_page as u64 * ENTRY as u64;
        pagemap.read_exact_at(&mut entries, at).unwrap();
        let is_present = |entry: &&[u8]| entry[ENTRY - 1] & 0x80 != 0;
        entries.chunks_exact(ENTRY).filter(is_present).count()
    }

    fn protect(&self, range: Range<usize>, rights: MprotectFlags) {
        assert!(range.end <= self.len);
        // SAFETY: inside the mapping, as was just asserted, to which no reference exists.
        unsafe {
            let start = self.start.add(range.start).as_ptr().cast();
            mprotect(start, range.len(), rights).unwrap();
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: what `mmap` gave, once; a device that still reaches it is the simulated one, which looks first.
        unsafe { self.sim.munmap(self.start, self.len).unwrap() };
    }
}

/// Bytes that are no others.
pub(crate) fn random(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty()).unwrap();
    bytes
}
