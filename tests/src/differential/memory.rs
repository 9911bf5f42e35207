//! Memory of every kind, that mappings are made of.
#![allow(unsafe_code)] // Maps memory, to which no reference is ever made.

use std::ffi::CStr;
use std::os::fd::OwnedFd;
use std::ptr;

use anyhow::{Context, Result};
use rustix::fs::MemfdFlags;
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap, mmap_anonymous, mprotect, munmap};

/// Every memory has so many pages.
pub(super) const PAGES: u64 = 16;
/// What memory has first: an NVMe controller that reads it has no such command, nor the next ones.
const NO_COMMAND: u8 = 0x91;
/// The name of the file behind shared memory.
const NAME: &CStr = c"shared";

/// What a memory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    Private,
    Shared,
    ReadOnly,
    /// Of which four pages in the middle are not there.
    Torn,
    /// That of which nothing was ever touched.
    Untouched,
    /// A huge page of 2 MiB, where the host has reserved some.
    Huge,
}

pub(super) const SORTS: [Sort; 6] = [
    Sort::Private,
    Sort::Shared,
    Sort::ReadOnly,
    Sort::Torn,
    Sort::Untouched,
    Sort::Huge,
];

/// One memory of each kind, at addresses that are multiples of [`ALIGN`], each filled with a number of its own.
#[derive(Debug)]
pub(super) struct Memories {
    page: u64,
    rooms: Vec<Room>,
}

/// What the addresses are multiples of: how large an IOMMU's pages can be depends on them.
const ALIGN: u64 = 1 << 21;

#[derive(Debug)]
struct Room {
    start: *mut u8,
    size: usize,
    at: u64,
    _file: Option<OwnedFd>,
}

impl Memories {
    pub(super) fn new() -> Result<Self> {
        let page = rustix::param::page_size() as u64;
        let rooms = SORTS
            .iter()
            .enumerate()
            .map(|(n, sort)| Room::new(*sort, page, n))
            .collect::<Result<_>>()?;
        Ok(Self { page, rooms })
    }

    /// Where a memory starts.
    pub(super) fn at(&self, memory: usize) -> u64 {
        self.rooms.get(memory).map_or(0, |room| room.at)
    }

    /// The content of all that can be read, in one piece each.
    pub(super) fn contents(&self) -> Vec<Vec<u8>> {
        let readable = |n: usize| -> Vec<(u64, u64)> {
            match SORTS[n] {
                Sort::Torn => vec![(0, 6), (10, PAGES)],
                _ => vec![(0, PAGES)],
            }
        };
        let content = |(n, room): (usize, &Room)| {
            let pages = readable(n);
            let bytes = pages
                .iter()
                .flat_map(|&(from, to)| from * self.page..to * self.page);
            bytes
                .map(|offset| {
                    let place = (room.at + offset) as *const u8;
                    // SAFETY: inside the room, where it can be read.
                    unsafe { place.read_volatile() }
                })
                .collect()
        };
        self.rooms.iter().enumerate().map(content).collect()
    }
}

impl Room {
    /// Addresses at which nothing is yet.
    fn reserved(len: usize) -> Result<Self> {
        let size = len + usize::try_from(ALIGN)? * 2;
        // SAFETY: no address is asked for, so that no mapping of this process is replaced.
        let start =
            unsafe { mmap_anonymous(ptr::null_mut(), size, ProtFlags::empty(), MapFlags::PRIVATE) }
                .context("reserve addresses")?;
        Ok(Self {
            start: start.cast(),
            size,
            at: (start as u64).next_multiple_of(ALIGN),
            _file: None,
        })
    }

    /// A huge page, if there is one to be had. It is not put where something is: a kernel that has none to give has taken
    /// that away by then.
    fn huge(rights: ProtFlags) -> Option<Self> {
        let size = usize::try_from(ALIGN).ok()?;
        let flags = MapFlags::PRIVATE | MapFlags::HUGETLB | MapFlags::HUGE_2MB;
        // SAFETY: as above.
        let start = unsafe { mmap_anonymous(ptr::null_mut(), size, rights, flags) }.ok()?;
        Some(Self {
            start: start.cast(),
            size,
            at: start as u64,
            _file: None,
        })
    }

    fn new(sort: Sort, page: u64, n: usize) -> Result<Self> {
        let rights = ProtFlags::READ | ProtFlags::WRITE;
        let len = usize::try_from(PAGES * page)?;
        let huge = (sort == Sort::Huge).then(|| Self::huge(rights)).flatten();
        let is_empty = huge.is_none();
        let mut room = match huge {
            Some(room) => room,
            None => Self::reserved(len)?,
        };
        let place = room.at as *mut std::ffi::c_void;
        // SAFETY: inside the room, which is nobody else's.
        unsafe {
            if sort == Sort::Shared {
                let file = rustix::fs::memfd_create(NAME, MemfdFlags::CLOEXEC)?;
                rustix::fs::ftruncate(&file, len as u64)?;
                mmap(
                    place,
                    len,
                    rights,
                    MapFlags::SHARED | MapFlags::FIXED,
                    &file,
                    0,
                )?;
                room._file = Some(file);
            } else if is_empty {
                mmap_anonymous(place, len, rights, MapFlags::PRIVATE | MapFlags::FIXED)?;
            }
            if sort != Sort::Untouched {
                let fill = NO_COMMAND + u8::try_from(n)?;
                for offset in 0..len {
                    place.cast::<u8>().add(offset).write_volatile(fill);
                }
            }
            let page = usize::try_from(page)?;
            match sort {
                Sort::ReadOnly => mprotect(place, len, MprotectFlags::READ)?,
                Sort::Torn => mprotect(place.add(6 * page), 4 * page, MprotectFlags::empty())?,
                _ => {}
            }
        }
        Ok(room)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // SAFETY: the room that was reserved; nothing refers to it, and what could reach it was closed before.
        let _ = unsafe { munmap(self.start.cast(), self.size) };
    }
}
