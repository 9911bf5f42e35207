//! Which pages devices may have written, for users.

use tracing::error;

use crate::address::{Iova, IovaRange};
use crate::error::{ErrorKind, Result};

use super::dirty::DirtyLimits;
use super::dirty_bitmap::{DirtyBitmap, clear, fill_with_zeros};
use super::domain::Domain;

/// The bitmap of one question, in bytes, unless a single mapping needs a larger one: so that it stays in the cache, and
/// no other call waits for long. It is enough for 32 GiB in pages of 4 KiB.
const ENOUGH: u64 = 1 << 20;

const READ: &str = "read the dirty pages of";

/// The kernel keeps track of the pages that the devices of a [`Domain`] write, as long as this is held.
///
/// It is what a live migration falls back on where a device cannot tell itself what it has written. It is right, and
/// **of no help in sending less**: every page that a PCI device can reach is pinned, and the kernel has no means to see
/// which of them are written. So behind `vfio-pci` every mapped page is dirty at every read (B34), also one that
/// devices may only read, and also one that was read as dirty just before.
///
/// ```
/// use vfio_core::Result;
/// use vfio_core::address::IovaRange;
/// use vfio_core::iommu::{DirtyBitmap, Domain};
///
/// /// What a guest's devices have written since `so_far` was made or cleared.
/// fn written(domain: &Domain, ram: IovaRange) -> Result<DirtyBitmap> {
///     let dirty = domain.dirty_pages()?;
///     let mut so_far = DirtyBitmap::new(ram, dirty.page_size())?;
///     // ... the guest runs ...
///     dirty.read_into(&mut so_far)?;
///     dirty.stop()?;
///     Ok(so_far)
/// }
/// ```
///
/// What is unmapped while it is held is not told any more: its pages are to be [marked](DirtyBitmap::mark) by who
/// unmaps.
#[derive(Debug)]
pub struct DirtyPages {
    domain: Domain,
    limits: DirtyLimits,
    /// The kernel keeps track, as far as we know.
    runs: bool,
}

impl DirtyPages {
    pub(super) fn start(domain: &Domain) -> Result<Self> {
        const OPERATION: &str = "track the dirty pages of";
        domain.with_tracking(OPERATION, |tracking| {
            let limits = tracking.limits()?;
            if !limits.page_size.is_power_of_two() {
                let why = format!("pages would have {:#x} bytes", limits.page_size);
                return Err(domain.refused(ErrorKind::Kernel, OPERATION).because(why));
            }
            if !domain.begin_tracking() {
                let why = "somebody tracks them already";
                return Err(domain.refused(ErrorKind::Busy, OPERATION).because(why));
            }
            let mut pages = Self {
                domain: domain.clone(),
                limits,
                runs: false,
            };
            tracking.start()?;
            pages.runs = true;
            Ok(pages)
        })
    }

    /// The size of a page in bytes: of the [`DirtyBitmap`]s that are read into.
    pub fn page_size(&self) -> u64 {
        self.limits.page_size
    }

    /// Marks the pages in the bitmap's range that devices may have written. What is dirty in the bitmap stays so.
    ///
    /// The range may be any: mappings begin and end in it where they like, or reach beyond it. The kernel is asked for
    /// whole mappings, for as many at once as have a bitmap of 1 MiB. Maps and unmaps of this domain wait for one
    /// such question, as they do in the kernel.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: the pages of the bitmap are not of our [size](Self::page_size).
    /// [`ErrorKind::Unsupported`]: a mapping has more pages than the kernel has bits for (8 TiB in pages of 4 KiB).
    /// [`ErrorKind::Exhausted`]: no memory. [`ErrorKind::Gone`]: the life of the context has ended. Otherwise what the
    /// kernel answered. What is marked by then stays; every other page that was mapped is to be taken for dirty.
    pub fn read_into(&self, bitmap: &mut DirtyBitmap) -> Result<()> {
        if bitmap.page_size() != self.page_size() {
            let why = format!("a page has {:#x} bytes", self.page_size());
            let error = self.domain.refused(ErrorKind::Invalid, READ);
            return Err(error.at(bitmap.range()).because(why));
        }
        let last = bitmap.range().last();
        let mut words = Vec::new();
        let mut rest = Some(bitmap.range());
        while let Some(range) = rest {
            let Some(read) = self.read_some(range, &mut words)? else {
                break;
            };
            bitmap.merge_words(read.first(), &words)?;
            let next = read.last().0.checked_add(1);
            rest = next.and_then(|next| IovaRange::inclusive(Iova(next), last));
        }
        Ok(())
    }

    /// Reads the first mappings that have an address in the range, and answers from where to where they are.
    fn read_some(&self, range: IovaRange, words: &mut Vec<u64>) -> Result<Option<IovaRange>> {
        let DirtyLimits {
            page_size,
            largest_bitmap,
        } = self.limits;
        self.domain.with_tracking(READ, |tracking| {
            let mut ledger = self.domain.ledger(); // held, so that what is asked for cuts no mapping that comes meanwhile
            let enough = (largest_bitmap.min(ENOUGH) / 8 * 64).saturating_mul(page_size);
            let Some(read) = ledger.books.first_run(range, enough) else {
                return Ok(None);
            };
            let len = read.size().div_ceil(page_size).div_ceil(64);
            if len > largest_bitmap / 8 {
                let why = format!("the kernel takes no bitmap above {largest_bitmap:#x} bytes");
                let error = self.domain.refused(ErrorKind::Unsupported, READ);
                return Err(error.at(read).because(why));
            }
            fill_with_zeros(words, len).map_err(|error| error.at(read))?;
            tracking.read(read, page_size, words)?;
            // What a kernel says of pages that are not mapped means nothing (B34b).
            let page = |at: Iova| (at.0 - read.first().0) / page_size;
            let mut next = 0;
            for mapping in ledger.books.overlapping(read) {
                clear(words, next, page(mapping.first()));
                next = page(mapping.last()) + 1;
            }
            Ok(Some(read))
        })
    }

    /// The kernel need not keep track any more. Dropping it does the same.
    ///
    /// # Errors
    /// What the kernel answered, before it was asked once more: it may track still, which costs memory and is no other
    /// harm.
    pub fn stop(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        if self.runs {
            let stopped = self
                .domain
                .with_tracking("stop to track the dirty pages of", |tracking| {
                    tracking.stop()
                });
            match stopped {
                Err(error) if error.kind() != ErrorKind::Gone => return Err(error),
                _ => self.runs = false, // what is gone tracks no more (B35)
            }
        }
        Ok(())
    }
}

impl Drop for DirtyPages {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            error!(%error, "the kernel could not be told that nobody asks for dirty pages any more");
        }
        self.domain.end_tracking();
    }
}
