//! B34: which pages are dirty: everything that a PCI device can reach, at every read.

use vfio_core::kernel::{Arg, Errno, Result};
use vfio_core::uapi::{
    DMA_UNMAP_FLAG_GET_DIRTY_BITMAP, IOMMU_DIRTY_PAGES_FLAG_START as START,
    IOMMU_DIRTY_PAGES_FLAG_STOP, IOMMU_UNMAP_DMA,
};
use zerocopy::IntoBytes;

use super::dirty::{BEFORE, bitmap, control, get, started};
use super::{entries_left, rig};
use crate::conformance::clause::Needs::Type1;
use crate::conformance::clause::{Clause, both};
use crate::conformance::host::Host;
use crate::conformance::raw::ioctl;
use crate::conformance::rig::Rig;

pub(super) const CLAUSES: &[Clause] = &[
    both(
        &["B34"],
        "every mapped page is dirty at every read",
        &[Type1],
        |host| {
            let (rig, _memory) = started(host, 5);
            for _ in 0..3 {
                let (answer, bytes) = get(host, &rig, (0, 5), 8);
                assert_eq!((answer, long(&bytes, 0)), (Ok(0), 0b11111));
            }
        },
    ),
    both(
        &["B34"],
        "what is mapped after the start is dirty too",
        &[Type1],
        |host| {
            let rig = host.rig();
            control(&rig, START).unwrap();
            let memory = host.memory(3);
            rig.map(0, &memory).unwrap();
            let (answer, bytes) = get(host, &rig, (0, 3), 8);
            assert_eq!((answer, long(&bytes, 0)), (Ok(0), 0b111));
        },
    ),
    both(
        &["B34"],
        "what can only be read is dirty too",
        &[Type1],
        |host| {
            let (rig, memory) = rig(host, 2);
            control(&rig, START).unwrap();
            let range = (0, memory.at(), memory.len());
            let read = crate::conformance::raw::READ;
            crate::conformance::raw::map(rig.kernel(), &rig.container, range, read).unwrap();
            assert_eq!(long(&get(host, &rig, (0, 2), 8).1, 0), 0b11);
        },
    ),
    both(
        &["B34"],
        "a bit is a page of the range, not of a mapping; between mappings nothing is dirty",
        &[Type1],
        |host| {
            let rig = host.rig();
            control(&rig, START).unwrap();
            let memory = host.memory(2);
            for n in [1, 5] {
                rig.map(n * host.page(), &memory).unwrap();
            }
            let (answer, bytes) = get(host, &rig, (0, 8), 8);
            assert_eq!((answer, long(&bytes, 0) & 0x7e), (Ok(0), 0b110_0110));
        },
    ),
    both(
        &["B34"],
        "the other bits of a word that a mapping begins inside of stay",
        &[Type1],
        |host| {
            let rig = host.rig();
            control(&rig, START).unwrap();
            let memory = host.memory(2);
            rig.map(8 * host.page(), &memory).unwrap();
            let (answer, bytes) = get(host, &rig, (0, 64), 8);
            let before = u64::from_ne_bytes([BEFORE; 8]);
            assert_eq!((answer, long(&bytes, 0)), (Ok(0), 0b11 << 8 | before));
        },
    ),
    both(
        &["B34b"],
        "what a read has shifted beyond a mapping is dirty at the next ones, until tracking stops",
        &[Type1],
        |host| {
            let rig = host.rig();
            control(&rig, START).unwrap();
            rig.map(5 * host.page(), &host.memory(3)).unwrap();
            let read = |first| {
                let (answer, bytes) = get(host, &rig, (first, 8 - first), 8);
                (answer, long(&bytes, 0))
            };
            let (pages, before) = (0b111, u64::from_ne_bytes([BEFORE; 8]));
            let first = pages << 5 | before;
            assert_eq!(read(0), (Ok(0), first));
            assert_eq!(
                read(2),
                (Ok(0), (first | pages) << 3 | before),
                "what was left"
            );
            control(&rig, IOMMU_DIRTY_PAGES_FLAG_STOP).unwrap();
            control(&rig, START).unwrap();
            assert_eq!(read(2), (Ok(0), pages << 3 | before), "forgotten");
        },
    ),
    both(
        &["B34"],
        "words of the bitmap where nothing is mapped are not written",
        &[Type1],
        |host| {
            let rig = host.rig();
            control(&rig, START).unwrap();
            let memory = host.memory(1);
            rig.map(64 * host.page(), &memory).unwrap();
            let (answer, bytes) = get(host, &rig, (0, 192), 24);
            let untouched = u64::from_ne_bytes([BEFORE; 8]);
            assert_eq!(answer, Ok(0));
            assert_eq!(
                [0, 8, 16].map(|at| long(&bytes, at)),
                [untouched, 1, untouched]
            );
        },
    ),
    both(
        &["B34"],
        "a mapping over the end of a word is dirty in both",
        &[Type1],
        |host| {
            let rig = host.rig();
            control(&rig, START).unwrap();
            let memory = host.memory(70);
            rig.map(62 * host.page(), &memory).unwrap();
            let (answer, bytes) = get(host, &rig, (0, 192), 24);
            let words = [0, 8, 16].map(|at| long(&bytes, at));
            let before = u64::from_ne_bytes([BEFORE; 8]) & ((1 << 62) - 1);
            assert_eq!(
                (answer, words),
                (Ok(0), [3 << 62 | before, u64::MAX, 0b1111])
            );
        },
    ),
    both(
        &["B34"],
        "a range where nothing is mapped answers 0 and writes nothing",
        &[Type1],
        |host| {
            let (rig, _memory) = started(host, 1);
            let (answer, bytes) = get(host, &rig, (16, 16), 8);
            assert_eq!(
                (answer, long(&bytes, 0)),
                (Ok(0), u64::from_ne_bytes([BEFORE; 8]))
            );
        },
    ),
    both(
        &["B34"],
        "what was unmapped is not said",
        &[Type1],
        |host| {
            let rig = host.rig();
            control(&rig, START).unwrap();
            let memory = host.memory(1);
            for n in 0..2 {
                rig.map(n * host.page(), &memory).unwrap();
            }
            rig.unmap(host.page(), host.page()).0.unwrap();
            assert_eq!(long(&get(host, &rig, (0, 64), 8).1, 0), 1);
        },
    ),
    both(
        &["B34"],
        "an unmap with a bitmap answers which pages were dirty: all of them",
        &[Type1],
        |host| {
            let (rig, memory) = started(host, 3);
            let (answer, size, bytes) = take_dirty(host, &rig, (0, 3), 8);
            assert_eq!(
                (answer, size, long(&bytes, 0)),
                (Ok(0), memory.len(), 0b111)
            );
            assert_eq!((host.locked(), entries_left(&rig)), (0, 65535));
        },
    ),
    both(
        &["B34"],
        "an unmap with a bitmap over holes says each mapping's place",
        &[Type1],
        |host| {
            let rig = host.rig();
            control(&rig, START).unwrap();
            let memory = host.memory(2);
            for n in [1, 5] {
                rig.map(n * host.page(), &memory).unwrap();
            }
            let (answer, size, bytes) = take_dirty(host, &rig, (0, 8), 8);
            assert_eq!(
                (answer, size, long(&bytes, 0) & 0x7e),
                (Ok(0), 2 * memory.len(), 0b110_0110)
            );
        },
    ),
    both(
        &["B34"],
        "an unmap with a bitmap is refused while nobody tracks, and takes nothing",
        &[Type1],
        |host| {
            let (rig, memory) = rig(host, 1);
            rig.map(0, &memory).unwrap();
            let (answer, size, _) = take_dirty(host, &rig, (0, 1), 8);
            assert_eq!((answer, size), (Err(Errno::INVAL), host.page()));
            assert_eq!(rig.unmap(0, host.page()), (Ok(0), host.page()));
        },
    ),
    both(
        &["B34"],
        "an unmap whose bitmap is too small is refused, and takes nothing",
        &[Type1],
        |host| {
            let (rig, _memory) = started(host, 1);
            assert_eq!(take_dirty(host, &rig, (0, 1), 7).0, Err(Errno::INVAL));
            assert_eq!(take_dirty(host, &rig, (0, 65), 8).0, Err(Errno::INVAL));
            assert_eq!(rig.unmap(0, host.page()), (Ok(0), host.page()));
        },
    ),
    both(
        &["B34", "B28"],
        "an unmap with a bitmap cuts nothing either",
        &[Type1],
        |host| {
            let (rig, _memory) = started(host, 2);
            assert_eq!(take_dirty(host, &rig, (0, 1), 8).0, Err(Errno::INVAL));
            assert_eq!(take_dirty(host, &rig, (1, 1), 8).0, Err(Errno::INVAL));
        },
    ),
    both(
        &["B34"],
        "an unmap with a bitmap needs room for it in its struct",
        &[Type1],
        |host| {
            let (rig, _memory) = started(host, 1);
            let flags = DMA_UNMAP_FLAG_GET_DIRTY_BITMAP;
            assert_eq!(
                super::take(&rig, (0, host.page()), flags),
                super::refused(host.page())
            );
        },
    ),
];

/// The same of an unmap, with the size that it answers.
fn take_dirty(
    host: &Host,
    rig: &Rig,
    (first, pages): (u64, u64),
    room: u64,
) -> (Result<u32>, u64, Vec<u8>) {
    let bitmap = bitmap(host);
    let head = [48, DMA_UNMAP_FLAG_GET_DIRTY_BITMAP];
    let range = [first * host.page(), pages * host.page()];
    let map = [host.page(), room, bitmap.at()];
    let mut bytes = [head.as_bytes(), range.as_bytes(), map.as_bytes()].concat();
    let answer = ioctl(
        rig.kernel(),
        &rig.container,
        IOMMU_UNMAP_DMA,
        Arg::InOut(&mut bytes),
    );
    (answer, long(&bytes, 16), bitmap.get(0..64))
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap())
}
