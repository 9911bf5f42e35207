//! B32: MAP with VADDR, which gives a new address.

use vfio_core::kernel::{Errno, Result};
use vfio_core::uapi::{DMA_MAP_FLAG_VADDR as RENEW, DMA_UNMAP_FLAG_VADDR as FORGET, TYPE1_IOMMU};

use super::reach::Engine;
use super::{rig, take};
use crate::conformance::clause::Needs::{Device, Type1};
use crate::conformance::clause::{Clause, Trait, both};
use crate::conformance::host::Host;
use crate::conformance::memory::Memory;
use crate::conformance::raw::{BOTH, map};
use crate::conformance::rig::Rig;

pub(super) const CLAUSES: &[Clause] = &[
    both(
        &["B32"],
        "a mapping whose address was forgotten gets a new one, and can be unmapped",
        &[Type1],
        |host| {
            let (rig, memory) = forgotten(host, 2);
            let other = host.memory(2);
            assert_eq!(renew(&rig, 0, other.at(), memory.len()), Ok(0));
            assert_eq!(rig.unmap(0, memory.len()), (Ok(0), memory.len()));
        },
    ),
    both(&["B32"], "a new address is given once", &[Type1], |host| {
        let (rig, memory) = forgotten(host, 1);
        renew(&rig, 0, memory.at(), memory.len()).unwrap();
        let again = renew(&rig, 0, memory.at(), memory.len());
        assert_eq!(again, Err(Errno::INVAL));
    }),
    both(
        &["B32"],
        "what has a new address can be forgotten again",
        &[Type1],
        |host| {
            let (rig, memory) = forgotten(host, 1);
            for _ in 0..3 {
                assert_eq!(renew(&rig, 0, memory.at(), memory.len()), Ok(0));
                assert_eq!(take(&rig, (0, memory.len()), FORGET), (Ok(0), memory.len()));
            }
        },
    ),
    both(
        &["B32"],
        "a new address for no mapping is ENOENT",
        &[Type1],
        |host| {
            let (rig, memory) = forgotten(host, 1);
            let answer = renew(&rig, host.page(), memory.at(), memory.len());
            assert_eq!(answer, Err(Errno::NOENT));
            let outside = host.type1().unwrap().ranges.last().unwrap().1 + 1;
            let answer = renew(&rig, outside, memory.at(), memory.len());
            assert_eq!(answer, Err(Errno::NOENT), "nor outside the ranges");
        },
    ),
    both(
        &["B32"],
        "a new address for a valid one is refused",
        &[Type1],
        |host| {
            let (rig, memory) = rig(host, 1);
            rig.map(0, &memory).unwrap();
            let answer = renew(&rig, 0, memory.at(), memory.len());
            assert_eq!(answer, Err(Errno::INVAL));
        },
    ),
    both(
        &["B32"],
        "a new address for a part is refused, and it stays forgotten",
        &[Type1],
        |host| {
            let (rig, memory) = forgotten(host, 3);
            let page = host.page();
            for (first, pages) in [(0, 1), (1, 1), (2, 1), (0, 2), (1, 2)] {
                let answer = renew(&rig, first * page, memory.at(), pages * page);
                assert_eq!(answer, Err(Errno::INVAL), "{pages} pages from {first}");
            }
            assert_eq!(renew(&rig, 0, memory.at(), 3 * page), Ok(0));
        },
    ),
    both(
        &["B32"],
        "a new address for more than a mapping is refused",
        &[Type1],
        |host| {
            let (rig, memory) = forgotten(host, 1);
            let page = host.page();
            assert_eq!(renew(&rig, 0, memory.at(), 2 * page), Err(Errno::INVAL));
        },
    ),
    both(
        &["B32"],
        "a new address for two mappings at once is refused",
        &[Type1],
        |host| {
            let (rig, memory) = rig(host, 2);
            let page = host.page();
            for n in 0..2 {
                map(
                    rig.kernel(),
                    &rig.container,
                    (n * page, memory.at(), page),
                    BOTH,
                )
                .unwrap();
            }
            take(&rig, (0, 2 * page), FORGET).0.unwrap();
            assert_eq!(renew(&rig, 0, memory.at(), 2 * page), Err(Errno::INVAL));
            assert_eq!(
                renew(&rig, page, memory.at(), page),
                Ok(0),
                "each has its own"
            );
            assert_eq!(renew(&rig, 0, memory.at() + page, page), Ok(0));
        },
    ),
    both(
        &["B32", "B21"],
        "a new address that is wrong in itself is refused",
        &[Type1],
        |host| {
            let (rig, memory) = forgotten(host, 1);
            let page = host.page();
            assert_eq!(renew(&rig, 0, memory.at() + 1, page), Err(Errno::INVAL));
            assert_eq!(renew(&rig, 0, memory.at(), 0), Err(Errno::INVAL));
            assert_eq!(renew(&rig, 1, memory.at(), page), Err(Errno::INVAL));
            assert_eq!(
                renew(&rig, 0, page.wrapping_neg(), 2 * page),
                Err(Errno::INVAL),
                "it wraps"
            );
            assert_eq!(
                renew(&rig, 0, memory.at(), page),
                Ok(0),
                "it was forgotten still"
            );
        },
    ),
    both(
        &["B32", "B21"],
        "what is wrong in itself is refused also where no mapping is",
        &[Type1],
        |host| {
            let (rig, memory) = rig(host, 1);
            assert_eq!(
                renew(&rig, 0, memory.at() + 1, host.page()),
                Err(Errno::INVAL)
            );
        },
    ),
    both(
        &["B32", "B26"],
        "nobody looks at what is at the new address",
        &[Type1],
        |host| {
            let (rig, memory) = forgotten(host, 1);
            assert_eq!(renew(&rig, 0, 0, memory.len()), Ok(0));
        },
    ),
    both(
        &["B32", "B27"],
        "a new address changes no account",
        &[Type1],
        |host| {
            let (rig, memory) = forgotten(host, 2);
            let other = host.memory(2);
            renew(&rig, 0, other.at(), memory.len()).unwrap();
            assert_eq!(host.locked(), memory.len());
            rig.unmap(0, memory.len()).0.unwrap();
            assert_eq!(host.locked(), 0);
        },
    ),
    both(
        &["B32", "B25"],
        "who is accounted already gets a new address although nothing more may be locked",
        &[Type1],
        |host| {
            let (rig, memory) = forgotten(host, 2);
            let _limit = host.limit(0);
            assert_eq!(renew(&rig, 0, memory.at(), memory.len()), Ok(0));
        },
    ),
    both(
        &["B32"],
        "version 1 gives new addresses too",
        &[Type1],
        |host| {
            let (rig, memory) = (host.rig_of(TYPE1_IOMMU), host.memory(1));
            rig.map(0, &memory).unwrap();
            take(&rig, (0, memory.len()), FORGET).0.unwrap();
            assert_eq!(renew(&rig, 0, memory.at(), memory.len()), Ok(0));
            assert_eq!(renew(&rig, 0, memory.at(), memory.len()), Err(Errno::INVAL));
        },
    ),
    both(
        &["B32"],
        "a device reaches the pages that were pinned, whatever is at the new address",
        &[Type1, Device(Trait::Engine)],
        |host| {
            let (engine, memory, other) = (Engine::new(host), host.memory(1), host.memory(1));
            engine.rig.map(0, &memory).unwrap();
            take(&engine.rig, (0, memory.len()), FORGET).0.unwrap();
            renew(&engine.rig, 0, other.at(), memory.len()).unwrap();
            assert!(engine.reaches(0, &memory, 0));
            assert!(!engine.writes(0, &other, 0));
        },
    ),
];

/// A mapping at 0 whose address was forgotten.
fn forgotten(host: &Host, pages: usize) -> (Rig, Memory) {
    let (rig, memory) = rig(host, pages);
    rig.map(0, &memory).unwrap();
    take(&rig, (0, memory.len()), FORGET).0.unwrap();
    (rig, memory)
}

fn renew(rig: &Rig, iova: u64, vaddr: u64, size: u64) -> Result<u32> {
    map(rig.kernel(), &rig.container, (iova, vaddr, size), RENEW)
}
