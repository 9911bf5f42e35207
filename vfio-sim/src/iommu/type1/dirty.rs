//! Which pages are dirty (B34). Nothing below vfio-pci keeps track of that: every page that is mapped is dirty at every
//! read.

use vfio_core::kernel::{Arg, Errno, Opcode, Result};
use vfio_core::uapi;
use zerocopy::{FromBytes, Immutable, KnownLayout};

use crate::{arg, memory};

/// `VFIO_IOMMU_DIRTY_PAGES`
pub(super) const DIRTY_PAGES: Opcode = uapi::vfio(17);

const START: u32 = 1 << 0;
const STOP: u32 = 1 << 1;
const GET: u32 = 1 << 2;

/// The largest bitmap that the kernel takes, in bytes.
pub(super) const LARGEST_BITMAP: u64 = 1 << 28;

/// Bitmaps are made of words of so many bits.
const WORD: u64 = u64::BITS as u64;

/// `struct vfio_iommu_type1_dirty_bitmap`, without what is behind it
#[derive(Debug, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Head {
    argsz: u32,
    flags: u32,
}

/// `struct vfio_iommu_type1_dirty_bitmap_get`: a range and the bitmap for it.
#[derive(Debug, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Get {
    pub(super) iova: u64,
    pub(super) size: u64,
    pub(super) bitmap: Bitmap,
}

/// `struct vfio_bitmap`: a bit for each page, in the caller's memory.
#[derive(Debug, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Bitmap {
    /// The size of a page in bytes.
    pub(super) page: u64,
    /// In bytes.
    size: u64,
    /// Its address.
    data: u64,
}

/// What is asked.
#[derive(Debug)]
pub(super) enum Asked {
    Start,
    Stop,
    Get(Get),
}

impl Asked {
    pub(super) fn of(arg: &Arg<'_>) -> Result<Self> {
        let head: Head = arg::sized(arg)?;
        match head.flags {
            START => Ok(Self::Start),
            STOP => Ok(Self::Stop),
            GET => {
                let get: Get = behind(arg, size_of::<Head>(), head.argsz)?;
                get.iova.checked_add(get.size).ok_or(Errno::INVAL)?;
                get.bitmap.check(get.size)?;
                Ok(Self::Get(get))
            }
            _ => Err(Errno::INVAL),
        }
    }
}

impl Bitmap {
    /// The one behind the struct of an unmap.
    pub(super) fn behind(arg: &Arg<'_>, start: usize, argsz: u32) -> Result<Self> {
        behind(arg, start, argsz)
    }

    /// Whether it can be a bitmap for so many bytes: there is room for them, in user space.
    pub(super) fn check(&self, bytes: u64) -> Result<()> {
        let end = self.data.checked_add(self.size);
        let is_in_user_space = end.is_some_and(|end| i64::try_from(end).is_ok());
        let pages = bytes >> self.page.trailing_zeros().min(u64::BITS - 1);
        let needed = pages.div_ceil(WORD) * (WORD / 8);
        let has_room = needed <= self.size && self.size <= LARGEST_BITMAP;
        match is_in_user_space && pages > 0 && has_room {
            true => Ok(()),
            false => Err(Errno::INVAL),
        }
    }

    /// Says that a mapping is dirty which begins so many bytes behind the first page of the bitmap. What is written are
    /// words: where it begins inside one the other bits of that word stay; in all others they are cleared.
    pub(super) fn mark(&self, offset: u64, size: u64) -> Result<()> {
        let (first, pages) = (offset / self.page, size / self.page);
        let end = (first + pages).div_ceil(WORD);
        for word in first / WORD..end {
            let at = self.data + word * (WORD / 8);
            let mut before = [0; 8];
            if word * WORD < first && !memory::read(at, &mut before) {
                return Err(Errno::FAULT);
            }
            let dirty = ones(first, first + pages, word * WORD);
            let bits = u64::from_ne_bytes(before) | dirty;
            if !memory::write(at, &bits.to_ne_bytes()) {
                return Err(Errno::FAULT);
            }
        }
        Ok(())
    }
}

/// The bits of a word from `from` to before `to`; the word begins with bit `start`.
fn ones(from: u64, to: u64, start: u64) -> u64 {
    let below = |bit: u64| match bit.saturating_sub(start) {
        shift @ 0..WORD => !(u64::MAX << shift),
        _ => u64::MAX,
    };
    below(to) & !below(from)
}

/// What is behind a struct of `start` bytes, if `argsz` says that it is there.
fn behind<T: FromBytes>(arg: &Arg<'_>, start: usize, argsz: u32) -> Result<T> {
    if (argsz as usize) < start + size_of::<T>() {
        return Err(Errno::INVAL);
    }
    let rest = arg::bytes(arg)?.get(start..).ok_or(Errno::FAULT)?;
    T::read_from_prefix(rest)
        .map(|(value, _)| value)
        .map_err(|_| Errno::FAULT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_of_a_word() {
        assert_eq!(ones(0, 3, 0), 0b111);
        assert_eq!(ones(65, 67, 64), 0b110);
        assert_eq!(ones(3, 200, 64), u64::MAX);
        assert_eq!(ones(3, 65, 64), 1);
        assert_eq!(ones(3, 64, 64), 0);
    }
}
