//! The memory of this process, as a kernel and its devices reach it: a page that is not there is an errno, and no
//! crash.
#![allow(unsafe_code)] // System calls that take addresses, of any process's memory; these are of ours.

use std::ffi::c_void;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::ptr;

use libc::{iovec, process_vm_readv, process_vm_writev};
use vfio_core::address::HostRange;
use vfio_core::kernel::{Kernel, Linux};

/// Makes the pages of a range present, writable ones if that is asked for, as pinning does. Answers how many of
/// them there are before the first that cannot be had.
///
/// `addr` and `size` are multiples of `page`, in bytes, a page size of the simulated machine.
pub(crate) fn populate(addr: u64, size: u64, page: u64, writable: bool) -> u64 {
    if populate_all(addr, size, writable) {
        return size / page;
    }
    let pages = (0..size / page).map(|n| addr + n * page);
    pages
        .take_while(|&place| populate_all(place, page, writable))
        .count() as u64
}

fn populate_all(addr: u64, size: u64, writable: bool) -> bool {
    let host_page = rustix::param::page_size() as u64;
    let start = addr - addr % host_page;
    let Some(len) = addr
        .checked_add(size)
        .and_then(|end| usize::try_from(end - start).ok())
    else {
        return false;
    };
    let start = usize::try_from(start).ok();
    let range = start.and_then(|start| HostRange::new(start, len));
    range.is_some_and(|range| Linux.populate(range, writable).is_ok())
}

/// How many bytes of a range, of present pages, are the page of zeros that every process shares: memory that was read
/// and never written.
pub(crate) fn zeros(addr: u64, size: u64) -> u64 {
    // In the kernel's table: a page is there, of no file, and not one process's alone.
    const PRESENT: u64 = 1 << 63;
    const OF_A_FILE: u64 = 1 << 61;
    const EXCLUSIVE: u64 = 1 << 56;
    const ENTRY: usize = 8;

    let page = rustix::param::page_size() as u64;
    let Ok(table) = File::open("/proc/self/pagemap") else {
        return 0; // without that table, no page is taken for one of zeros
    };
    let is_zeros = |at: &u64| {
        let mut entry = [0; ENTRY];
        let read = table.read_exact_at(&mut entry, at / page * ENTRY as u64);
        let entry = u64::from_ne_bytes(entry);
        read.is_ok() && entry & (PRESENT | OF_A_FILE | EXCLUSIVE) == PRESENT
    };
    let pages = (0..size / page).map(|n| addr + n * page);
    pages.filter(is_zeros).count() as u64 * page
}

/// Reads memory; answers whether all of it is there.
pub(crate) fn read(addr: u64, bytes: &mut [u8]) -> bool {
    let Some((local, remote)) = vectors(addr, bytes.as_mut_ptr().cast(), bytes.len()) else {
        return false;
    };
    // SAFETY: `local` is the caller's buffer; what `remote` says is checked by the kernel, which copies the bytes
    // as a device would: whoever gave the memory to a device knows that it changes under its feet.
    let done =
        unsafe { process_vm_readv(libc::getpid(), &raw const local, 1, &raw const remote, 1, 0) };
    usize::try_from(done) == Ok(bytes.len())
}

/// Writes memory; answers whether all of it is there and may be written.
pub(crate) fn write(addr: u64, bytes: &[u8]) -> bool {
    let Some((local, remote)) = vectors(addr, bytes.as_ptr().cast_mut().cast(), bytes.len()) else {
        return false;
    };
    // SAFETY: `local` is only read. The memory was given to a device to write to, by an `unsafe` call that
    // promised that nobody holds a reference to it; the kernel checks that it is there.
    let done =
        unsafe { process_vm_writev(libc::getpid(), &raw const local, 1, &raw const remote, 1, 0) };
    usize::try_from(done) == Ok(bytes.len())
}

/// How many bytes of a range are there before the first that are not; `None` if all of them are.
pub(crate) fn len_before_gap(addr: u64, len: u64) -> Option<u64> {
    let page = rustix::param::page_size() as u64;
    let mut done = 0;
    while done < len && read(addr + done, &mut [0]) {
        done += page - (addr + done) % page;
    }
    (done < len).then_some(done)
}

/// Where this process's memory is said to be of huge pages.
#[derive(Debug, Default)]
pub(crate) struct HugePages(Vec<(Range<u64>, u64)>);

impl HugePages {
    /// Addresses of memory, and the size of its pages in bytes.
    pub(crate) fn add(&mut self, range: Range<u64>, page: u64) {
        self.0.push((range, page));
    }

    /// The memory that starts there has gone.
    pub(crate) fn forget(&mut self, start: u64) {
        self.0.retain(|(range, _)| range.start != start);
    }

    /// How large each page of a range is at the least, in bytes; pages that are not huge have `page`.
    pub(crate) fn smallest(&self, addr: u64, size: u64, page: u64) -> u64 {
        let end = addr.saturating_add(size);
        let mut huge = self.0.iter();
        let around = huge.find(|(range, _)| range.start <= addr && end <= range.end);
        around.map_or(page, |(_, size)| *size)
    }
}

fn vectors(addr: u64, local: *mut c_void, len: usize) -> Option<(iovec, iovec)> {
    let addr = usize::try_from(addr).ok()?;
    let vector = |base| iovec {
        iov_base: base,
        iov_len: len,
    };
    Some((vector(local), vector(ptr::without_provenance_mut(addr))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
    use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap, mmap_anonymous, mprotect, munmap};
    use std::os::fd::AsFd;

    const PAGE: u64 = 4096;

    /// Four pages; the third is read-only and the fourth is not there.
    fn pages() -> u64 {
        let memory = memfd_create("pages", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&memory, 4 * PAGE).unwrap();
        let rights = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping, whose addresses nobody else knows.
        unsafe {
            let addr = mmap(
                ptr::null_mut(),
                0x4000,
                rights,
                MapFlags::SHARED,
                memory.as_fd(),
                0,
            )
            .unwrap();
            mprotect(addr.byte_add(0x2000), 0x1000, MprotectFlags::READ).unwrap();
            munmap(addr.byte_add(0x3000), 0x1000).unwrap();
            addr as u64
        }
    }

    #[test]
    fn pages_are_counted_up_to_the_first_that_cannot_be_had() {
        let at = pages();
        assert_eq!(populate(at, 2 * PAGE, PAGE, true), 2);
        assert_eq!(populate(at, 4 * PAGE, PAGE, true), 2);
        assert_eq!(populate(at, 4 * PAGE, PAGE, false), 3);
        assert_eq!(populate(at + 2 * PAGE, PAGE, PAGE, true), 0);
        assert_eq!(populate(0, PAGE, PAGE, false), 0);
        assert_eq!(populate(u64::MAX - PAGE + 1, PAGE, PAGE, false), 0);
    }

    #[test]
    fn zeros_are_what_was_never_written() {
        let rights = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping, whose addresses nobody else knows.
        let at = unsafe { mmap_anonymous(ptr::null_mut(), 0x4000, rights, MapFlags::PRIVATE) };
        let at = at.unwrap() as u64;
        assert!(write(at + PAGE, &[1]));
        assert_eq!(populate(at, 3 * PAGE, PAGE, false), 3);
        assert_eq!(zeros(at, 3 * PAGE), 2 * PAGE);
        assert_eq!(populate(at, PAGE, PAGE, true), 1);
        assert_eq!(zeros(at, 3 * PAGE), PAGE);
        let shared = pages();
        assert_eq!(populate(shared, 2 * PAGE, PAGE, false), 2);
        assert_eq!(zeros(shared, 2 * PAGE), 0, "a file's pages are its own");
    }

    #[test]
    fn bytes_are_moved_where_they_may_be() {
        let at = pages();
        assert!(write(at + 10, &[1, 2, 3]));
        let mut bytes = [0; 4];
        assert!(read(at + 9, &mut bytes));
        assert_eq!(bytes, [0, 1, 2, 3]);
        assert!(!write(at + 2 * PAGE, &[1]));
        assert!(read(at + 2 * PAGE, &mut bytes));
        assert!(!read(at + 3 * PAGE - 2, &mut bytes));
    }
}
