//! Memory of this process that devices reach, all of it there and random.
#![allow(unsafe_code)] // Maps memory, of which nobody but a `Memory` has the address; no reference is ever made to it.

use std::ops::Range;
use std::os::fd::AsFd;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags, madvise, mmap_anonymous, mprotect};
use vfio_core::kernel::{Kernel, Protection, RegionMapping};

use super::rig::Open;

/// Whole pages of a machine.
#[derive(Debug)]
pub(crate) struct Memory {
    kernel: Arc<dyn Kernel>,
    start: NonNull<u8>,
    len: usize,
    /// It stays mapped.
    is_kept: bool,
}

impl Memory {
    pub(crate) fn new(kernel: &Arc<dyn Kernel>, pages: usize) -> Self {
        let len = pages * kernel.page_size();
        Self::from(kernel, kernel.mmap(len).unwrap(), len)
    }

    /// Memory that was just mapped.
    pub(super) fn from(kernel: &Arc<dyn Kernel>, start: NonNull<u8>, len: usize) -> Self {
        let memory = Self {
            kernel: Arc::clone(kernel),
            start,
            len,
            is_kept: false,
        };
        memory.put(0, &random(len));
        memory
    }

    /// The first bytes of a BAR of memory, whole pages; the BAR's memory is as it was.
    pub(super) fn of_bar(kernel: &Arc<dyn Kernel>, open: &Open, bar: u32, len: usize) -> Self {
        let rights = Protection {
            read: true,
            write: true,
        };
        let (device, offset) = (open.device.as_fd(), u64::from(bar) << 40);
        match kernel.map_region(device, offset, len, rights, kernel.page_size()) {
            Ok(RegionMapping::Pages(start)) => Self {
                kernel: Arc::clone(kernel),
                start,
                len,
                is_kept: false,
            },
            other => panic!("memory is mapped as pages: {other:?}"),
        }
    }

    /// Memory of huge pages of 2 MiB, of which this host has as many.
    pub(super) fn huge(kernel: &Arc<dyn Kernel>, len: usize) -> Self {
        const POOL: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";
        std::fs::write(POOL, "8").unwrap();
        let flags = MapFlags::PRIVATE | MapFlags::HUGETLB | MapFlags::HUGE_2MB;
        // SAFETY: no address is asked for, so that no mapping of this process is replaced.
        let start = unsafe {
            let rights = ProtFlags::READ | ProtFlags::WRITE;
            mmap_anonymous(ptr::null_mut(), len, rights, flags).unwrap()
        };
        Self::from(kernel, NonNull::new(start.cast()).unwrap(), len)
    }

    /// Memory that the kernel may make transparent huge pages of.
    pub(super) fn transparent(kernel: &Arc<dyn Kernel>, len: usize) -> Self {
        let start = kernel.mmap(len).unwrap();
        // SAFETY: just mapped; the advice changes no byte.
        unsafe { madvise(start.as_ptr().cast(), len, Advice::LinuxHugepage).unwrap() };
        Self::from(kernel, start, len)
    }

    /// Its address, as the kernel is told it.
    pub(crate) fn at(&self) -> u64 {
        self.start.as_ptr() as u64
    }

    pub(crate) fn len(&self) -> u64 {
        self.len as u64
    }

    pub(super) fn put(&self, at: usize, bytes: &[u8]) {
        assert!(at + bytes.len() <= self.len);
        for (n, byte) in bytes.iter().enumerate() {
            // SAFETY: inside the mapping, as was just asserted; the test has left these bytes writable.
            unsafe { self.start.add(at + n).write_volatile(*byte) };
        }
    }

    pub(super) fn get(&self, range: Range<usize>) -> Vec<u8> {
        assert!(range.end <= self.len);
        // SAFETY: inside the mapping, as was just asserted; the test has left these bytes readable.
        range
            .map(|at| unsafe { self.start.add(at).read_volatile() })
            .collect()
    }

    /// Nobody may write these bytes any more, whole pages.
    pub(super) fn freeze(&self, range: Range<usize>) {
        self.protect(range, MprotectFlags::READ);
    }

    /// These bytes are not there any more, whole pages. Their addresses stay taken: if they were unmapped, another
    /// test could get them, and a device would write into its memory.
    pub(super) fn lose(&self, range: Range<usize>) {
        self.protect(range, MprotectFlags::empty());
    }

    /// Its addresses stay taken as long as the process lives.
    pub(super) fn keep(mut self) {
        self.is_kept = true;
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
        if self.is_kept {
            return;
        }
        // SAFETY: what `mmap` or `map_region` gave, once; what a device reaches of it is pinned, or looked for first by a
        // simulated one.
        unsafe { self.kernel.munmap(self.start, self.len).unwrap() };
    }
}

/// Bytes that are no others.
pub(super) fn random(len: usize) -> Vec<u8> {
    std::iter::repeat_with(|| fastrand::u8(..))
        .take(len)
        .collect()
}
