//! What is asked of a backend that knows which pages are dirty, and what comes of its answers.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use vfio_core::address::{Access, HostRange, Iova, IovaRange};
use vfio_core::iommu::{
    DirtyBitmap, DirtyLimits, DirtyTracking, Domain, IommuBackend, Reach, Registration,
};
use vfio_core::uapi::TYPE1V2_IOMMU;
use vfio_core::{Container, Device, Error, ErrorKind, Result};

use crate::setup::{BDF, Idle, alone, boot, open, v2};

const PAGE: u64 = 4096;
/// In a word.
const PAGES: u64 = 64;

thread_local! {
    /// What the backend of this test says of itself.
    static LIMITS: Cell<DirtyLimits> = const { Cell::new(DirtyLimits { page_size: PAGE, largest_bitmap: 1 << 28 }) };
    static FAILS: Cell<Option<&'static str>> = const { Cell::new(None) };
    /// The pages that are dirty.
    static DIRTY: RefCell<BTreeSet<u64>> = const { RefCell::new(BTreeSet::new()) };
    static LOG: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// What was called since this was last asked.
fn logged() -> Vec<String> {
    LOG.take()
}

/// What every call of the backend does first.
fn call(name: &'static str, line: String) -> Result<()> {
    LOG.with_borrow_mut(|log| log.push(line));
    match FAILS.get() == Some(name) {
        true => Err(Error::new(ErrorKind::Kernel, name, "what the test forbids")),
        false => Ok(()),
    }
}

#[derive(Debug)]
struct Tracks;

impl DirtyTracking for Tracks {
    fn limits(&self) -> Result<DirtyLimits> {
        Ok(LIMITS.get())
    }

    fn start(&self) -> Result<()> {
        call("start", "start".into())
    }

    fn stop(&self) -> Result<()> {
        call("stop", "stop".into())
    }

    fn read(&self, range: IovaRange, page_size: u64, words: &mut [u64]) -> Result<()> {
        let (first, last) = (range.first().0 / page_size, range.last().0 / page_size);
        assert!(words.iter().all(|word| *word == 0));
        assert_eq!(words.len() as u64, (last - first + 1).div_ceil(PAGES));
        call("read", format!("{first}-{last}"))?;
        DIRTY.with_borrow(|dirty| {
            for page in dirty.range(first..=last) {
                let n = page - first;
                words[usize::try_from(n / PAGES).unwrap()] |= 1 << (n % PAGES);
            }
        });
        Ok(())
    }
}

fn attach(container: Container) -> Result<Box<dyn IommuBackend>> {
    Ok(Box::new(Idle::tracking(container, &Tracks)))
}

/// A device over that backend, which takes bitmaps of so many bytes.
fn device(largest_bitmap: u64) -> Device {
    FAILS.set(None);
    DIRTY.take();
    logged();
    LIMITS.set(DirtyLimits {
        page_size: PAGE,
        largest_bitmap,
    });
    let tracks = Registration {
        name: "tracks",
        preference: 1,
        reach: Reach::Container {
            extension: TYPE1V2_IOMMU,
            attach,
        },
    };
    let (_, vfio) = boot(alone(), [tracks]);
    open(&vfio, BDF).unwrap()
}

fn pages(first: u64, count: u64) -> IovaRange {
    IovaRange::new(Iova(first * PAGE), count * PAGE).unwrap()
}

#[allow(unsafe_code)] // nothing is mapped
fn map(domain: &Domain, first: u64, count: u64) {
    let range = pages(first, count);
    let memory = HostRange::new(0x10_0000, usize::try_from(range.size()).unwrap()).unwrap();
    // SAFETY: the backend maps nothing.
    unsafe { domain.map(range, memory, Access::Read) }.unwrap();
}

fn bitmap(first: u64, count: u64) -> DirtyBitmap {
    DirtyBitmap::new(pages(first, count), PAGE).unwrap()
}

/// What is asked for a bitmap of these pages, where these are mapped.
fn asked(largest_bitmap: u64, mapped: &[(u64, u64)], (first, count): (u64, u64)) -> Vec<String> {
    let device = device(largest_bitmap);
    for &(first, count) in mapped {
        map(device.domain(), first, count);
    }
    let dirty = device.domain().dirty_pages().unwrap();
    logged();
    dirty.read_into(&mut bitmap(first, count)).unwrap();
    logged()
}

#[test]
fn mappings_are_asked_for_together_as_long_as_the_bitmap_is_small() {
    let tiny = [(1, 1), (2, 1), (5, 3), (70, 1)];
    assert_eq!(asked(1 << 28, &tiny, (0, 100)), ["1-70"]);
    assert_eq!(asked(16, &tiny, (0, 100)), ["1-70"]);
    assert_eq!(asked(8, &tiny, (0, 100)), ["1-7", "70-70"]);
    assert_eq!(
        asked(15, &tiny, (0, 100)),
        ["1-7", "70-70"],
        "a bitmap is words"
    );
}

#[test]
fn a_bitmap_of_one_mebibyte_is_enough_whatever_the_kernel_takes() {
    let device = device(1 << 28);
    let small = 256; // so that there are addresses enough
    LIMITS.set(DirtyLimits {
        page_size: small,
        ..LIMITS.get()
    });
    let (domain, half) = (device.domain(), (1 << 31) / PAGE);
    let dirty = domain.dirty_pages().unwrap();
    let mut bitmap = DirtyBitmap::new(pages(0, 2 * half), small).unwrap();
    map(domain, 0, 1);
    for (at, pieces) in [(half - 1, 1), (half, 2)] {
        map(domain, at, 1);
        logged();
        dirty.read_into(&mut bitmap).unwrap();
        assert_eq!(logged().len(), pieces);
        domain.unmap(pages(at, 1)).unwrap();
    }
    // What is one mapping is one question.
    map(domain, 1, 2 * half - 1);
    logged();
    dirty.read_into(&mut bitmap).unwrap();
    assert_eq!(logged().len(), 2);
}

#[test]
fn a_mapping_is_asked_for_whole_whatever_part_is_wanted() {
    let mapped = [(10, 100), (200, 10), (210, 10)];
    assert_eq!(asked(1 << 28, &mapped, (50, 1)), ["10-109"]);
    assert_eq!(asked(1 << 28, &mapped, (109, 92)), ["10-209"]);
    assert_eq!(asked(1 << 28, &mapped, (110, 90)), [""; 0]);
    assert_eq!(asked(1 << 28, &mapped, (0, 10)), [""; 0]);
    assert_eq!(asked(1 << 28, &mapped, (220, 10)), [""; 0]);
}

#[test]
fn a_mapping_that_the_kernel_has_no_bits_for_is_refused() {
    let device = device(8);
    let domain = device.domain();
    map(domain, 0, PAGES);
    map(domain, 100, PAGES + 1);
    let dirty = domain.dirty_pages().unwrap();
    logged();
    let error = dirty.read_into(&mut bitmap(0, 200)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(error.iova(), Some(pages(100, PAGES + 1)));
    assert_eq!(logged(), ["0-63"]);
}

#[test]
fn pages_of_another_size_are_not_read() {
    let device = device(8);
    let dirty = device.domain().dirty_pages().unwrap();
    assert_eq!(dirty.page_size(), PAGE);
    let mut other = DirtyBitmap::new(pages(0, 4), 2 * PAGE).unwrap();
    let error = dirty.read_into(&mut other).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

#[test]
fn one_at_a_time_tracks_until_it_stops_or_is_dropped() {
    let device = device(8);
    let domain = device.domain();
    let first = domain.dirty_pages().unwrap();
    assert_eq!(domain.dirty_pages().unwrap_err().kind(), ErrorKind::Busy);
    drop(first);
    let second = domain.dirty_pages().unwrap();
    second.stop().unwrap();
    let _third = domain.dirty_pages().unwrap();
    assert_eq!(logged(), ["start", "stop", "start", "stop", "start"]);
}

#[test]
fn what_could_not_be_started_is_not_stopped() {
    let device = device(8);
    let domain = device.domain();
    FAILS.set(Some("start"));
    assert_eq!(domain.dirty_pages().unwrap_err().operation(), "start");
    FAILS.set(None);
    drop(domain.dirty_pages().unwrap());
    assert_eq!(logged(), ["start", "start", "stop"]);
}

#[test]
fn what_could_not_be_stopped_is_asked_once_more() {
    let device = device(8);
    let domain = device.domain();
    FAILS.set(Some("stop"));
    let dirty = domain.dirty_pages().unwrap();
    assert_eq!(dirty.stop().unwrap_err().operation(), "stop");
    assert_eq!(logged(), ["start", "stop", "stop"]);
    FAILS.set(None);
    domain.dirty_pages().unwrap().stop().unwrap();
}

#[test]
fn what_was_read_before_a_failure_stays() {
    let device = device(8);
    let domain = device.domain();
    map(domain, 0, 2);
    DIRTY.set(BTreeSet::from([1]));
    let dirty = domain.dirty_pages().unwrap();
    let mut so_far = bitmap(0, 2);
    dirty.read_into(&mut so_far).unwrap();
    FAILS.set(Some("read"));
    assert!(dirty.read_into(&mut so_far).is_err());
    assert_eq!(so_far.dirty_ranges().collect::<Vec<_>>(), [pages(1, 1)]);
}

#[test]
fn after_the_end_nothing_is_asked() {
    let device = device(8);
    let domain = device.domain().clone();
    let [first, second] = [(); 2].map(|()| bitmap(0, 1));
    let dirty = domain.dirty_pages().unwrap();
    device.close().unwrap();
    logged();
    for mut bitmap in [first, second] {
        let error = dirty.read_into(&mut bitmap).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Gone);
    }
    dirty.stop().unwrap(); // it has ended
    assert_eq!(domain.dirty_pages().unwrap_err().kind(), ErrorKind::Gone);
    assert_eq!(logged(), [""; 0]);
}

#[test]
fn limits_that_make_no_sense_are_not_believed() {
    let device = device(8);
    for page_size in [0, 3] {
        LIMITS.set(DirtyLimits {
            page_size,
            largest_bitmap: 8,
        });
        let error = device.domain().dirty_pages().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Kernel);
    }
    LIMITS.set(DirtyLimits {
        page_size: PAGE,
        largest_bitmap: 7,
    });
    let dirty = device.domain().dirty_pages().unwrap();
    map(device.domain(), 0, 1);
    let error = dirty.read_into(&mut bitmap(0, 1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[test]
fn a_backend_that_keeps_no_track_says_so() {
    let (_, vfio) = boot(alone(), [v2()]);
    let device = open(&vfio, BDF).unwrap();
    let error = device.domain().dirty_pages().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

proptest! {
    #[test]
    fn any_range_is_read(
        gaps in vec((0..200u64, 1..100u64), 0..40),
        dirty in btree_set(0..4000u64, 0..200),
        (first, count) in (0..3000u64, 1..3000u64),
        largest_bitmap in 16..64u64,
        before in 0..3000u64,
    ) {
        let device = device(largest_bitmap);
        let domain = device.domain();
        let mut mapped = Vec::new();
        let mut at = 0;
        for (gap, count) in gaps {
            at += gap.saturating_sub(120); // many follow each other
            map(domain, at, count);
            mapped.push(at..at + count);
            at += count;
        }
        let is_mapped = |page: &u64| mapped.iter().any(|it| it.contains(page));
        let dirty: BTreeSet<_> = dirty.into_iter().filter(is_mapped).collect();
        DIRTY.set(dirty.clone());
        let tracking = domain.dirty_pages().unwrap();
        let mut read = bitmap(first, count);
        read.mark(pages(before, 1));
        logged();
        tracking.read_into(&mut read).unwrap();

        for line in logged() {
            let (from, to) = line.split_once('-').unwrap();
            let (from, to): (u64, u64) = (from.parse().unwrap(), to.parse().unwrap());
            prop_assert!((to - from + 1).div_ceil(PAGES) * 8 <= largest_bitmap, "{}", line);
            prop_assert!(mapped.iter().any(|it| it.start == from), "{} begins with no mapping", line);
            prop_assert!(mapped.iter().any(|it| it.end == to + 1), "{} ends with no mapping", line);
        }
        for page in first..first + count {
            let expected = page == before || dirty.contains(&page);
            prop_assert_eq!(read.is_dirty(Iova(page * PAGE)), expected, "page {}", page);
        }
    }
}
