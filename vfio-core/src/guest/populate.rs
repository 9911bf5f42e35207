//! Making memory present before it is mapped, by several threads.

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;

use tracing::debug;

use crate::address::HostRange;
use crate::kernel::{Kernel, Result};

use super::piece::Piece;

/// For less than so many bytes a thread costs more than it saves.
pub(super) const WORTH: u64 = 32 << 20;
/// What one thread takes at a time, in bytes: whole huge pages.
const CHUNK: usize = 32 << 20;
/// What is made present, in one call, if a page of it is not, in bytes: a huge page. The call holds a lock of the process
/// that new threads wait for.
const STRIDE: usize = 2 << 20;
/// The largest page there is, in bytes.
const LARGEST_PAGE: usize = 1 << 30;
/// More threads than that wait for memory.
const THREADS: usize = 16;

/// How memory is made present that comes in a change, before it is mapped.
///
/// The kernel pins memory for devices page by page in one thread, and takes, and clears, each page that is not there on
/// the way. Several threads do that faster. It is done where 32 MiB or more come, for the memory that is not there yet;
/// a kernel that cannot do it (before Linux 5.14) is left to pin on its own.
///
/// As a kernel gives memory: pages come from the NUMA nodes that the policy of the memory says (`mbind(2)`), and without
/// one from that of the thread that asks, which may be any that this process runs on; huge pages where the memory may
/// have them (`MADV_HUGEPAGE`, hugetlbfs). Whether the pages of a file are there is asked of the kernel's cache: those that
/// are in it, and not in this process, are left to the map.
///
/// A process that confines its system calls must allow `mincore`, `madvise`, and, for more than one thread, those that
/// make threads; or say [`nothing`](Self::nothing).
#[derive(Clone, Copy)]
pub struct Population<'a> {
    threads: usize,
    progress: Option<&'a dyn Fn(Progress)>,
}

/// How much of the memory that comes in a change is present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// In bytes; never less than before. It ends below `all` if the kernel cannot make the rest present.
    pub done: u64,
    /// What there is to do, in bytes.
    pub all: u64,
}

impl Population<'_> {
    /// Nothing is made present before it is mapped.
    pub fn nothing() -> Self {
        Self::default().by_threads(0)
    }
}

impl<'a> Population<'a> {
    /// With no more than so many threads, the calling one among them, and no more than processors that this process may
    /// use. Unless this is said, there are at most 16.
    #[must_use]
    pub fn by_threads(mut self, most: usize) -> Self {
        self.threads = most;
        self
    }

    /// `progress` is called by the calling thread, each time that it has done a part.
    #[must_use]
    pub fn reporting(mut self, progress: &'a dyn Fn(Progress)) -> Self {
        self.progress = Some(progress);
        self
    }
}

impl Default for Population<'_> {
    fn default() -> Self {
        Self {
            threads: THREADS,
            progress: None,
        }
    }
}

impl fmt::Debug for Population<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Population")
            .field("threads", &self.threads)
            .finish_non_exhaustive()
    }
}

/// Makes the memory of pieces present, as far as that can be done; whoever maps it finds out what could not.
pub(super) fn populate(kernel: &dyn Kernel, pieces: &[Piece<'_>], population: Population<'_>) {
    let all = pieces.iter().map(|piece| piece.range.size()).sum();
    if all < WORTH || population.threads == 0 {
        return;
    }
    let work = Work::of(kernel, pieces);
    let mut reported = 0;
    let mut report = || {
        let done = work.done.load(Ordering::Relaxed);
        if let Some(progress) = population.progress.filter(|_| done > reported) {
            progress(Progress { done, all });
            reported = done;
        }
    };
    thread::scope(|scope| {
        let mut is_alone = true;
        let begin_others = || {
            if !std::mem::replace(&mut is_alone, false) {
                return;
            }
            let processors = thread::available_parallelism().map_or(1, usize::from);
            let others = population.threads.min(processors).saturating_sub(1);
            for _ in 0..others.min(work.left()) {
                let helper = thread::Builder::new().name("populate".to_owned());
                if let Err(error) = helper.spawn_scoped(scope, || work.each(|| (), || ())) {
                    debug!(%error, "fewer threads make memory present");
                }
            }
        };
        work.each(begin_others, &mut report);
    });
    report();
}

/// What threads share.
struct Work<'a> {
    kernel: &'a dyn Kernel,
    page: usize,
    chunks: Vec<Chunk>,
    next: AtomicUsize,
    /// In bytes.
    done: AtomicU64,
}

#[derive(Debug, Clone, Copy)]
struct Chunk {
    memory: HostRange,
    write: bool,
}

impl<'a> Work<'a> {
    fn of(kernel: &'a dyn Kernel, pieces: &[Piece<'_>]) -> Self {
        let chunks_of = |piece: &Piece<'_>| {
            let write = piece.access.writes();
            let chunks = piece.memory().map(|memory| parts(memory, CHUNK));
            let chunks = chunks.into_iter().flatten();
            chunks.map(move |memory| Chunk { memory, write })
        };
        let mut chunks: Vec<_> = pieces.iter().flat_map(chunks_of).collect();
        spread(&mut chunks);
        Self {
            kernel,
            page: kernel.page_size(),
            chunks,
            next: AtomicUsize::new(0),
            done: AtomicU64::new(0),
        }
    }

    /// How many chunks nobody has taken.
    fn left(&self) -> usize {
        let taken = self.next.load(Ordering::Relaxed);
        self.chunks.len().saturating_sub(taken)
    }

    /// Does chunks as long as there are any, until one cannot be done. `before_populating` is called whenever there is
    /// something to make present: only to find that nothing is, other threads are not worth it.
    fn each(&self, mut before_populating: impl FnMut(), mut after_one: impl FnMut()) {
        let mut pages = Vec::new();
        while let Some(chunk) = self.chunks.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            let absent = self.absent(*chunk, &mut pages);
            let populated = absent.and_then(|mut strides| {
                strides.try_for_each(|stride| {
                    before_populating();
                    self.kernel.populate(stride, chunk.write)
                })
            });
            if let Err(errno) = populated {
                debug!(memory = %chunk.memory, %errno, "memory is left to be made present as it is mapped");
                self.next.fetch_max(self.chunks.len(), Ordering::Relaxed);
                return;
            }
            let done = chunk.memory.len() as u64;
            self.done.fetch_add(done, Ordering::Relaxed);
            after_one();
        }
    }

    /// The strides of a chunk in which a page is not there. `pages` is room for what the kernel says.
    fn absent<'p>(
        &self,
        chunk: Chunk,
        pages: &'p mut Vec<u8>,
    ) -> Result<impl Iterator<Item = HostRange> + 'p> {
        let (memory, page) = (whole_pages(chunk.memory, self.page), self.page);
        pages.resize(memory.len().div_ceil(page), 0);
        self.kernel.resident(memory, pages)?;
        let mut pages = &pages[..];
        Ok(parts(memory, STRIDE).filter(move |stride| {
            let here;
            (here, pages) = pages.split_at(stride.len().div_ceil(page).min(pages.len()));
            here.iter().fold(u8::MAX, |all, page| all & page) & 1 == 0 // without a way out: many bytes at a time
        }))
    }
}

/// Has those that follow each other be of different pages, as large as these may be: threads that do chunks of one page
/// wait for each other.
fn spread(chunks: &mut [Chunk]) {
    chunks.sort_by_key(|chunk| chunk.memory.addr() % LARGEST_PAGE);
}

/// The parts of memory between multiples of `size`, a power of two.
fn parts(memory: HostRange, size: usize) -> impl Iterator<Item = HostRange> {
    let mut next = Some(memory.addr());
    std::iter::from_fn(move || {
        let start = next?;
        let last = memory.last().min(start | (size - 1));
        next = last.checked_add(1).filter(|_| last < memory.last());
        HostRange::new(start, last - start + 1)
    })
}

/// The pages that have a byte of it: an IOMMU's can be smaller.
fn whole_pages(memory: HostRange, page: usize) -> HostRange {
    let start = memory.addr() & !(page - 1);
    let last = memory.last() | (page - 1);
    HostRange::new(start, (last - start).saturating_add(1)).unwrap_or(memory)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(addr: usize, len: usize) -> HostRange {
        HostRange::new(addr, len).unwrap()
    }

    #[test]
    fn parts_end_at_multiples_and_leave_nothing_out() {
        let all: Vec<_> = parts(memory(0x1800, 0x2900), 0x1000).collect();
        let expected = [
            memory(0x1800, 0x800),
            memory(0x2000, 0x1000),
            memory(0x3000, 0x1000),
            memory(0x4000, 0x100),
        ];
        assert_eq!(all, expected);
        let end = memory(usize::MAX - 0x1fff, 0x2000);
        assert_eq!(parts(end, 0x1000).count(), 2);
        assert_eq!(parts(memory(0x10, 1), 0x1000).count(), 1);
    }

    #[test]
    fn threads_begin_in_different_pages() {
        let all = parts(memory(7 * LARGEST_PAGE, 3 * LARGEST_PAGE), CHUNK);
        let mut chunks: Vec<_> = all
            .map(|memory| Chunk {
                memory,
                write: true,
            })
            .collect();
        spread(&mut chunks);
        assert_eq!(chunks.len(), 96);
        for turn in chunks.chunks(3) {
            let pages: Vec<_> = turn
                .iter()
                .map(|it| it.memory.addr() / LARGEST_PAGE)
                .collect();
            assert_eq!(pages, [7, 8, 9]);
        }
    }

    #[test]
    fn pages_are_whole() {
        assert_eq!(
            whole_pages(memory(0x1234, 1), 0x1000),
            memory(0x1000, 0x1000)
        );
        assert_eq!(
            whole_pages(memory(0x1fff, 2), 0x1000),
            memory(0x1000, 0x2000)
        );
        let all = memory(0x1000, 0x3000);
        assert_eq!(whole_pages(all, 0x1000), all);
    }
}
