//! Which pages are dirty (B34). Nothing below vfio-pci keeps track of that: every page that is mapped is dirty at every
//! read.

use vfio_core::kernel::{Arg, Errno, Result};
use vfio_core::uapi::{self, IommuType1DirtyBitmap, IommuType1DirtyBitmapGet};
use zerocopy::FromBytes;

use crate::{arg, memory};

/// The largest bitmap that the kernel takes, in bytes.
pub(super) const LARGEST_BITMAP: u64 = 1 << 28;

/// Bitmaps are made of words of so many bits.
const WORD: u64 = u64::BITS as u64;

/// What is asked.
#[derive(Debug)]
pub(super) enum Asked {
    Start,
    Stop,
    Get(IommuType1DirtyBitmapGet),
}

impl Asked {
    pub(super) fn of(arg: &Arg<'_>) -> Result<Self> {
        let head: IommuType1DirtyBitmap = arg::sized(arg)?;
        match head.flags {
            uapi::IOMMU_DIRTY_PAGES_FLAG_START => Ok(Self::Start),
            uapi::IOMMU_DIRTY_PAGES_FLAG_STOP => Ok(Self::Stop),
            uapi::IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP => {
                let start = size_of::<IommuType1DirtyBitmap>();
                let get: IommuType1DirtyBitmapGet = behind(arg, start, head.argsz)?;
                get.iova.checked_add(get.size).ok_or(Errno::INVAL)?;
                Bitmap(get.bitmap).check(get.size)?;
                Ok(Self::Get(get))
            }
            _ => Err(Errno::INVAL),
        }
    }
}

/// A bit for each page, in the caller's memory.
#[derive(Debug)]
pub(super) struct Bitmap(pub(super) uapi::Bitmap);

impl Bitmap {
    /// The one behind the struct of an unmap.
    pub(super) fn behind(arg: &Arg<'_>, start: usize, argsz: u32) -> Result<Self> {
        behind(arg, start, argsz).map(Self)
    }

    /// The size of a page in bytes.
    pub(super) fn page(&self) -> u64 {
        self.0.pgsize
    }

    /// Whether it can be a bitmap for so many bytes: there is room for them, in user space.
    pub(super) fn check(&self, bytes: u64) -> Result<()> {
        let uapi::Bitmap { pgsize, size, data } = self.0;
        let end = data.checked_add(size);
        let is_in_user_space = end.is_some_and(|end| i64::try_from(end).is_ok());
        let pages = bytes >> pgsize.trailing_zeros().min(u64::BITS - 1);
        let needed = pages.div_ceil(WORD) * (WORD / 8);
        let has_room = needed <= size && size <= LARGEST_BITMAP;
        match is_in_user_space && pages > 0 && has_room {
            true => Ok(()),
            false => Err(Errno::INVAL),
        }
    }

    /// Says that a mapping is dirty which begins so many bytes behind the first page of the bitmap. What is written are
    /// words: where it begins inside one the other bits of that word stay. `kept` is what the kernel has of the mapping:
    /// it is shifted to its place there, and what is shifted beyond the mapping stays there.
    pub(super) fn mark(&self, offset: u64, size: u64, kept: &mut Vec<u64>) -> Result<()> {
        let (first, pages) = (offset / self.page(), size / self.page());
        let (start, shift) = (first / WORD, first % WORD);
        kept.resize(index(pages.div_ceil(WORD) + 1), 0);
        for (n, word) in (0..).step_by(64).zip(kept.iter_mut()) {
            *word |= below(pages, n);
        }
        let len = index((pages + shift).div_ceil(WORD));
        let words = kept.get_mut(..len).unwrap_or_default();
        if shift > 0 {
            let mut before = 0;
            for word in &mut *words {
                (*word, before) = (*word << shift | before, *word >> (WORD - shift));
            }
            let mut there = [0; 8];
            if !memory::read(self.0.data + start * 8, &mut there) {
                return Err(Errno::FAULT);
            }
            if let Some(word) = words.first_mut() {
                *word |= u64::from_ne_bytes(there);
            }
        }
        for (n, word) in (start..).zip(&*words) {
            if !memory::write(self.0.data + n * 8, &word.to_ne_bytes()) {
                return Err(Errno::FAULT);
            }
        }
        for (n, word) in (0..).step_by(64).zip(kept) {
            *word &= !below(pages, n);
        }
        Ok(())
    }
}

/// The bits of a word, which begins with bit `start`, that are below `end`.
fn below(end: u64, start: u64) -> u64 {
    match end.saturating_sub(start) {
        bits @ 0..WORD => !(u64::MAX << bits),
        _ => u64::MAX,
    }
}

/// No bitmap has more words than fit.
fn index(words: u64) -> usize {
    usize::try_from(words).unwrap_or(usize::MAX)
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
        assert_eq!([below(3, 0), below(67, 64)], [0b111; 2]);
        assert_eq!([below(200, 64), below(64, 0)], [u64::MAX; 2]);
        assert_eq!([below(3, 64), below(0, 0)], [0; 2]);
    }
}
