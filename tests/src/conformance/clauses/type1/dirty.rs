//! B34: asking for dirty pages.

use vfio_core::kernel::{Arg, Errno, Result};
use vfio_core::uapi::{
    IOMMU_DIRTY_PAGES, IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP as GET,
    IOMMU_DIRTY_PAGES_FLAG_START as START, IOMMU_DIRTY_PAGES_FLAG_STOP as STOP, TYPE1_IOMMU,
};

use zerocopy::IntoBytes;

use super::{put, rig};
use crate::conformance::clause::Needs::Type1;
use crate::conformance::clause::{Clause, both};
use crate::conformance::host::Host;
use crate::conformance::memory::Memory;
use crate::conformance::raw::ioctl;
use crate::conformance::rig::Rig;

/// The largest bitmap, in bytes.
const LARGEST: u64 = 1 << 28;
/// What is in a bitmap's bytes before.
pub(super) const BEFORE: u8 = 0xa5;

pub(super) const CLAUSES: &[Clause] = &[
    both(
        &["B34"],
        "version 1 answers EACCES to all of it, and before anything is looked at",
        &[Type1],
        |host| {
            let rig = host.rig_of(TYPE1_IOMMU);
            for flags in [START, STOP, GET, 0, 8] {
                assert_eq!(control(&rig, flags), Err(Errno::ACCESS));
            }
            let nowhere = ioctl(
                rig.kernel(),
                &rig.container,
                IOMMU_DIRTY_PAGES,
                Arg::Value(0),
            );
            assert_eq!(nowhere, Err(Errno::ACCESS));
        },
    ),
    both(
        &["B34"],
        "start and stop answer 0, also the second time",
        &[Type1],
        |host| {
            let rig = host.rig();
            for flags in [STOP, START, START, STOP, STOP, START] {
                assert_eq!(control(&rig, flags), Ok(0));
            }
        },
    ),
    both(
        &["B34"],
        "none of start, stop and get, or more than one, is refused",
        &[Type1],
        |host| {
            let rig = host.rig();
            for flags in [0, START | STOP, START | GET, STOP | GET, START | STOP | GET] {
                assert_eq!(control(&rig, flags), Err(Errno::INVAL), "{flags}");
            }
        },
    ),
    both(
        &["B34"],
        "flags that are not known are refused",
        &[Type1],
        |host| {
            let rig = host.rig();
            for bit in 3..32 {
                assert_eq!(control(&rig, 1 << bit), Err(Errno::INVAL));
                assert_eq!(control(&rig, START | 1 << bit), Err(Errno::INVAL));
            }
        },
    ),
    both(
        &["B34"],
        "argsz below the struct is refused",
        &[Type1],
        |host| {
            let rig = host.rig();
            for argsz in [0, 4, 7] {
                let head = [argsz, START];
                assert_eq!(raw(&rig, head.as_bytes()), Err(Errno::INVAL));
            }
            assert_eq!(control(&rig, START), Ok(0));
        },
    ),
    both(
        &["B34"],
        "a get without its range is refused",
        &[Type1],
        |host| {
            let (rig, memory) = started(host, 1);
            for argsz in [8, 16, 47] {
                let asked = Asked {
                    argsz,
                    ..Asked::of(host, (0, memory.len()), memory.at(), 8)
                };
                assert_eq!(asked.get(&rig), Err(Errno::INVAL), "{argsz}");
            }
        },
    ),
    both(
        &["B34"],
        "a get before a start is refused, and after a stop",
        &[Type1],
        |host| {
            let (rig, memory) = rig(host, 1);
            rig.map(0, &memory).unwrap();
            let bitmap = bitmap(host);
            let asked = Asked::of(host, (0, memory.len()), bitmap.at(), 8);
            assert_eq!(asked.get(&rig), Err(Errno::INVAL));
            control(&rig, START).unwrap();
            assert_eq!(asked.get(&rig), Ok(0));
            control(&rig, STOP).unwrap();
            assert_eq!(asked.get(&rig), Err(Errno::INVAL));
        },
    ),
    both(
        &["B34"],
        "a range that cuts a mapping is refused",
        &[Type1],
        |host| {
            let (rig, _memory) = started(host, 4);
            for range in [(0, 3), (1, 3), (1, 2), (1, 8)] {
                assert_eq!(get(host, &rig, range, 8).0, Err(Errno::INVAL), "{range:?}");
            }
            assert_eq!(get(host, &rig, (0, 8), 8).0, Ok(0));
        },
    ),
    both(
        &["B34"],
        "a range that is not whole pages is refused",
        &[Type1],
        |host| {
            let (rig, _memory) = started(host, 2);
            let bitmap = bitmap(host);
            for range in [
                (1, host.page()),
                (0, host.page() + 1),
                (host.page() / 2, host.page()),
            ] {
                let asked = Asked::of(host, range, bitmap.at(), 8);
                assert_eq!(asked.get(&rig), Err(Errno::INVAL), "{range:?}");
            }
        },
    ),
    both(
        &["B34"],
        "a range of nothing, or one that wraps, is refused",
        &[Type1],
        |host| {
            let (rig, _memory) = started(host, 2);
            let bitmap = bitmap(host);
            let last = host.page().wrapping_neg();
            for range in [(0, 0), (last, host.page()), (last, 2 * host.page())] {
                let asked = Asked::of(host, range, bitmap.at(), 8);
                assert_eq!(asked.get(&rig), Err(Errno::INVAL), "{range:?}");
            }
        },
    ),
    both(
        &["B34"],
        "pages of any size but the smallest are refused",
        &[Type1],
        |host| {
            let (rig, _memory) = started(host, 1);
            let bitmap = bitmap(host);
            for page in [
                1,
                host.page() / 2,
                host.page() * 2,
                2 << 20,
                host.page() + 1,
            ] {
                let asked = Asked {
                    page,
                    ..Asked::of(host, (0, 4 << 20), bitmap.at(), 4096)
                };
                assert_eq!(asked.get(&rig), Err(Errno::INVAL), "{page}");
            }
        },
    ),
    both(
        &["B34"],
        "a bitmap that is too small is refused, and it counts in words",
        &[Type1],
        |host| {
            let (rig, _memory) = started(host, 1);
            for (pages, room) in [(1, 0), (1, 1), (1, 7), (65, 8), (65, 15)] {
                assert_eq!(
                    get(host, &rig, (0, pages), room).0,
                    Err(Errno::INVAL),
                    "{pages} in {room}"
                );
            }
            assert_eq!(get(host, &rig, (0, 64), 8).0, Ok(0));
            assert_eq!(get(host, &rig, (0, 65), 16).0, Ok(0));
        },
    ),
    both(
        &["B34"],
        "a bitmap may be larger than it must, up to the largest",
        &[Type1],
        |host| {
            let (rig, _memory) = started(host, 1);
            let bitmap = bitmap(host);
            let with = |room| Asked::of(host, (0, host.page()), bitmap.at(), room).get(&rig);
            assert_eq!([9, 4096, LARGEST].map(with), [Ok(0); 3]);
            assert_eq!(with(LARGEST + 1), Err(Errno::INVAL));
        },
    ),
    both(
        &["B34"],
        "a bitmap that no process can have is refused",
        &[Type1],
        |host| {
            let (rig, _memory) = started(host, 1);
            let asked = Asked::of(host, (0, host.page()), 1 << 63, 8);
            assert_eq!(asked.get(&rig), Err(Errno::INVAL));
        },
    ),
    both(
        &["B34"],
        "a bitmap that is not there is EFAULT",
        &[Type1],
        |host| {
            let (rig, _memory) = started(host, 1);
            let bitmap = bitmap(host);
            bitmap.lose(0..usize::try_from(bitmap.len()).unwrap());
            let asked = Asked::of(host, (0, host.page()), bitmap.at(), 8);
            assert_eq!(asked.get(&rig), Err(Errno::FAULT));
            let asked = Asked::of(host, (16 * host.page(), host.page()), bitmap.at(), 8);
            assert_eq!(
                asked.get(&rig),
                Ok(0),
                "where nothing is mapped it is not touched"
            );
        },
    ),
    both(
        &["B34"],
        "tracking ends with the last group",
        &[Type1],
        |host| {
            let (rig, memory) = started(host, 1);
            crate::conformance::raw::leave(rig.kernel(), &rig.group).unwrap();
            crate::conformance::raw::join(rig.kernel(), &rig.group, &rig.container).unwrap();
            crate::conformance::raw::set_iommu(rig.kernel(), &rig.container, host.iommu()).unwrap();
            put(&rig, 0, &memory, host.page()).unwrap();
            assert_eq!(get(host, &rig, (0, 1), 8).0, Err(Errno::INVAL));
        },
    ),
];

/// What a get asks.
#[derive(Clone, Copy)]
struct Asked {
    argsz: u32,
    range: (u64, u64),
    page: u64,
    room: u64,
    bitmap: u64,
}

impl Asked {
    fn of(host: &Host, range: (u64, u64), bitmap: u64, room: u64) -> Self {
        Self {
            argsz: 48,
            range,
            page: host.page(),
            room,
            bitmap,
        }
    }

    fn get(&self, rig: &Rig) -> Result<u32> {
        let range = [
            self.range.0,
            self.range.1,
            self.page,
            self.room,
            self.bitmap,
        ];
        let bytes = [[self.argsz, GET].as_bytes(), range.as_bytes()].concat();
        raw(rig, &bytes)
    }
}

/// A container that tracks, with so many pages mapped at 0.
pub(super) fn started(host: &Host, pages: usize) -> (Rig, Memory) {
    let (rig, memory) = rig(host, pages);
    rig.map(0, &memory).unwrap();
    control(&rig, START).unwrap();
    (rig, memory)
}

pub(super) fn control(rig: &Rig, flags: u32) -> Result<u32> {
    raw(rig, [8, flags].as_bytes())
}

fn raw(rig: &Rig, bytes: &[u8]) -> Result<u32> {
    ioctl(
        rig.kernel(),
        &rig.container,
        IOMMU_DIRTY_PAGES,
        Arg::In(bytes),
    )
}

/// A page whose bytes are known.
pub(super) fn bitmap(host: &Host) -> Memory {
    let memory = host.memory(1);
    memory.put(0, &vec![BEFORE; usize::try_from(memory.len()).unwrap()]);
    memory
}

/// What is answered for a range of pages, and what is in the bitmap of so many bytes then.
pub(super) fn get(
    host: &Host,
    rig: &Rig,
    (first, pages): (u64, u64),
    room: u64,
) -> (Result<u32>, Vec<u8>) {
    let bitmap = bitmap(host);
    let range = (first * host.page(), pages * host.page());
    let answer = Asked::of(host, range, bitmap.at(), room).get(rig);
    (answer, bitmap.get(0..64))
}
