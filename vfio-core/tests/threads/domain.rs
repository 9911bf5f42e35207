//! A domain: overlaps, and its end.

use shuttle::thread;
use vfio_core::address::{Access, DmaMask, HostRange, Iova, IovaRange};
use vfio_core::iommu::{DirtyBitmap, Domain};
use vfio_core::{ErrorKind, Result};

use crate::check;
use crate::watch::{BDF, PAGE, boot, open};

fn pages(first: u64, count: u64) -> IovaRange {
    IovaRange::new(Iova(first * PAGE), count * PAGE).unwrap()
}

#[allow(unsafe_code)] // nothing is mapped
fn map(domain: &Domain, iova: IovaRange) -> Result<()> {
    let len = usize::try_from(iova.size()).unwrap();
    let memory = HostRange::new(0x10_0000, len).unwrap();
    // SAFETY: the backend maps nothing.
    unsafe { domain.map(iova, memory, Access::Read) }
}

/// Whether it went well; otherwise it is one of those that may happen.
fn done<T>(answer: Result<T>, otherwise: &[ErrorKind]) -> bool {
    match answer {
        Ok(_) => true,
        Err(error) => {
            assert!(otherwise.contains(&error.kind()), "{error}");
            false
        }
    }
}

/// How many bytes are unmapped: none, if another thread is at it.
fn unmap_or_busy(domain: &Domain, range: IovaRange) -> u64 {
    let answer = domain.unmap(range);
    answer.unwrap_or_else(|error| {
        assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
        0
    })
}

#[test]
fn of_overlapping_maps_at_most_one_succeeds_at_a_time() {
    check(|| {
        let (vfio, _) = boot();
        let device = open(&vfio, BDF).unwrap();
        let threads = [pages(1, 2), pages(2, 2), pages(2, 1)].map(|range| {
            let domain = device.domain().clone();
            thread::spawn(move || {
                for _ in 0..2 {
                    if done(map(&domain, range), &[ErrorKind::Overlap]) {
                        // Its backend would tell if it was not there, or not alone.
                        let bytes = domain.unmap(range).unwrap();
                        assert_eq!(bytes, range.size());
                    }
                }
            })
        });
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(device.domain().unmap(pages(0, 16)).unwrap(), 0);
    });
}

#[test]
fn one_mapping_is_unmapped_once() {
    check(|| {
        let (vfio, _) = boot();
        let device = open(&vfio, BDF).unwrap();
        map(device.domain(), pages(1, 1)).unwrap();
        map(device.domain(), pages(3, 2)).unwrap();
        let threads = [pages(1, 1), pages(3, 2), pages(0, 16)].map(|range| {
            let domain = device.domain().clone();
            thread::spawn(move || unmap_or_busy(&domain, range))
        });
        let bytes: u64 = threads.map(|thread| thread.join().unwrap()).iter().sum();
        let left = device.domain().unmap(pages(0, 16)).unwrap();
        assert_eq!(bytes + left, 3 * PAGE);
    });
}

#[test]
fn a_mapping_is_not_unmapped_while_it_is_made() {
    check(|| {
        let (vfio, _) = boot();
        let device = open(&vfio, BDF).unwrap();
        let domain = device.domain().clone();
        let maps = thread::spawn(move || map(&domain, pages(1, 1)).unwrap());
        let domain = device.domain().clone();
        let unmaps = thread::spawn(move || {
            let all = [pages(1, 1), pages(0, 16)];
            all.map(|range| unmap_or_busy(&domain, range))
        });
        maps.join().unwrap();
        let bytes: u64 = unmaps.join().unwrap().iter().sum();
        let left = device.domain().unmap(pages(1, 1)).unwrap();
        assert_eq!(bytes + left, PAGE);
    });
}

#[test]
fn no_mapping_is_cut_by_a_question_for_dirty_pages() {
    check(|| {
        let (vfio, _) = boot();
        let device = open(&vfio, BDF).unwrap();
        let threads = [pages(1, 2), pages(2, 2)].map(|range| {
            let domain = device.domain().clone();
            thread::spawn(move || {
                for _ in 0..2 {
                    if done(map(&domain, range), &[ErrorKind::Overlap]) {
                        assert_eq!(domain.unmap(range).unwrap(), range.size());
                    }
                }
            })
        });
        let dirty = device.domain().dirty_pages().unwrap();
        let mut read = DirtyBitmap::new(pages(0, 16), PAGE).unwrap();
        for _ in 0..3 {
            dirty.read_into(&mut read).unwrap();
        }
        dirty.stop().unwrap();
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

#[test]
fn one_thread_at_a_time_tracks_dirty_pages() {
    check(|| {
        let (vfio, watch) = boot();
        let device = open(&vfio, BDF).unwrap();
        let threads = [(); 2].map(|()| {
            let domain = device.domain().clone();
            thread::spawn(move || {
                let refusals = [ErrorKind::Busy, ErrorKind::Gone];
                for _ in 0..2 {
                    done(domain.dirty_pages(), &refusals);
                }
            })
        });
        device.close().unwrap();
        watch.is_over();
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

#[test]
fn after_the_end_of_a_life_nothing_is_called() {
    check(|| {
        let (vfio, watch) = boot();
        let device = open(&vfio, BDF).unwrap();
        let threads = [1, 2].map(|page| {
            let domain = device.domain().clone();
            thread::spawn(move || {
                let gone = [ErrorKind::Gone];
                for _ in 0..3 {
                    let mapped = done(map(&domain, pages(page, 1)), &gone);
                    if !mapped || !done(domain.unmap(pages(page, 1)), &gone) {
                        break;
                    }
                }
            })
        });
        device.close().unwrap();
        watch.is_over();
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

#[test]
fn addresses_are_given_out_once() {
    check(|| {
        let (vfio, _) = boot();
        let device = open(&vfio, BDF).unwrap();
        let threads = [None, None, Some(pages(2, 1).first())].map(|start| {
            let domain = device.domain().clone();
            thread::spawn(move || match start {
                None => domain.alloc(2 * PAGE, DmaMask::bits(32)).ok(),
                Some(start) => domain.alloc_at(start, PAGE).ok(),
            })
        });
        let given = threads.map(|thread| thread.join().unwrap());
        for (i, one) in given.iter().flatten().enumerate() {
            let mut others = given.iter().flatten().skip(i + 1);
            assert!(others.all(|other| !other.range().overlaps(one.range())));
        }
        assert!(given[0].is_some() && given[1].is_some());
    });
}
