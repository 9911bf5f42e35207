//! B32: UNMAP with VADDR, which forgets addresses.

use vfio_core::kernel::Errno;
use vfio_core::uapi::{DMA_UNMAP_FLAG_ALL, DMA_UNMAP_FLAG_VADDR as FORGET, TYPE1_IOMMU};

use super::reach::Engine;
use super::{entries_left, put, refused, rig, take};
use crate::conformance::clause::Needs::{Device, TwoGroups, Type1};
use crate::conformance::clause::{Clause, Trait, both};
use crate::conformance::raw::join;

pub(super) const CLAUSES: &[Clause] = &[
    both(
        &["B32"],
        "a forgotten address is answered like an unmapping, and the mapping stays",
        &[Type1],
        |host| {
            let (rig, memory) = rig(host, 2);
            rig.map(0, &memory).unwrap();
            assert_eq!(take(&rig, (0, memory.len()), FORGET), (Ok(0), memory.len()));
            assert_eq!(rig.map(0, &memory), Err(Errno::EXIST));
            assert_eq!((host.locked(), entries_left(&rig)), (memory.len(), 65534));
        },
    ),
    both(
        &["B32"],
        "a range with holes forgets what is there, and answers how much",
        &[Type1],
        |host| {
            let (rig, memory) = rig(host, 1);
            for n in [1, 3, 6] {
                rig.map(n * host.page(), &memory).unwrap();
            }
            assert_eq!(
                take(&rig, (0, 16 * host.page()), FORGET),
                (Ok(0), 3 * host.page())
            );
        },
    ),
    both(
        &["B32"],
        "where nothing is, nothing is forgotten",
        &[Type1, TwoGroups],
        |host| {
            let (rig, memory) = rig(host, 1);
            rig.map(0, &memory).unwrap();
            assert_eq!(take(&rig, (host.page(), host.page()), FORGET), (Ok(0), 0));
            let second = host.group(1);
            assert_eq!(
                join(rig.kernel(), &second, &rig.container),
                Ok(0),
                "H7 does not count"
            );
        },
    ),
    both(&["B32"], "an address is forgotten once", &[Type1], |host| {
        let (rig, memory) = rig(host, 1);
        rig.map(0, &memory).unwrap();
        take(&rig, (0, host.page()), FORGET).0.unwrap();
        assert_eq!(take(&rig, (0, host.page()), FORGET), refused(host.page()));
    }),
    both(
        &["B32"],
        "if one of a range was forgotten, the others stay valid, and it stays forgotten",
        &[Type1],
        |host| {
            let (rig, memory) = rig(host, 1);
            let page = host.page();
            for n in 0..3 {
                rig.map(n * page, &memory).unwrap();
            }
            take(&rig, (page, page), FORGET).0.unwrap();
            assert_eq!(take(&rig, (0, 3 * page), FORGET), refused(3 * page));
            assert_eq!(
                take(&rig, (0, page), FORGET),
                (Ok(0), page),
                "that before it"
            );
            assert_eq!(
                take(&rig, (2 * page, page), FORGET),
                (Ok(0), page),
                "that behind it"
            );
            assert_eq!(take(&rig, (page, page), FORGET), refused(page), "itself");
        },
    ),
    both(
        &["B32"],
        "if one was forgotten, ALL is refused and forgets no other",
        &[Type1],
        |host| {
            let (rig, memory) = rig(host, 1);
            rig.map(0, &memory).unwrap();
            rig.map(1 << 24, &memory).unwrap();
            take(&rig, (1 << 24, host.page()), FORGET).0.unwrap();
            assert_eq!(take(&rig, (0, 0), FORGET | DMA_UNMAP_FLAG_ALL), refused(0));
            assert_eq!(take(&rig, (0, host.page()), FORGET), (Ok(0), host.page()));
        },
    ),
    both(
        &["B32", "B28"],
        "version 2 does not forget a part",
        &[Type1],
        |host| {
            let (rig, memory) = rig(host, 2);
            rig.map(0, &memory).unwrap();
            let page = host.page();
            assert_eq!(take(&rig, (0, page), FORGET), refused(page));
            assert_eq!(take(&rig, (page, page), FORGET), refused(page));
            assert_eq!(
                take(&rig, (0, 2 * page), FORGET),
                (Ok(0), 2 * page),
                "all of it was valid"
            );
        },
    ),
    both(
        &["B32", "B29"],
        "version 1 forgets the whole for its first page",
        &[Type1],
        |host| {
            let (rig, memory) = (host.rig_of(TYPE1_IOMMU), host.memory(2));
            rig.map(0, &memory).unwrap();
            let page = host.page();
            assert_eq!(take(&rig, (page, page), FORGET), (Ok(0), 0));
            assert_eq!(take(&rig, (0, page), FORGET), (Ok(0), 2 * page));
        },
    ),
    both(
        &["B32", "B30"],
        "a range that is wrong in itself is refused, and its size stays",
        &[Type1],
        |host| {
            let (rig, memory) = rig(host, 1);
            rig.map(0, &memory).unwrap();
            let page = host.page();
            for (iova, size) in [
                (0, 0),
                (1, page),
                (0, page + 1),
                (2 * page, page.wrapping_neg()),
            ] {
                assert_eq!(take(&rig, (iova, size), FORGET), refused(size));
            }
        },
    ),
    both(
        &["B32"],
        "a mapping whose address was forgotten can be unmapped",
        &[Type1],
        |host| {
            let (rig, memory) = rig(host, 2);
            rig.map(0, &memory).unwrap();
            take(&rig, (0, memory.len()), FORGET).0.unwrap();
            assert_eq!(rig.unmap(0, memory.len()), (Ok(0), memory.len()));
            assert_eq!((host.locked(), entries_left(&rig)), (0, 65535));
            assert_eq!(rig.map(0, &memory), Ok(0));
        },
    ),
    both(
        &["B32"],
        "others can be mapped and unmapped meanwhile",
        &[Type1],
        |host| {
            let (rig, memory) = rig(host, 1);
            rig.map(0, &memory).unwrap();
            take(&rig, (0, host.page()), FORGET).0.unwrap();
            assert_eq!(put(&rig, host.page(), &memory, host.page()), Ok(0));
            assert_eq!(rig.unmap(host.page(), host.page()), (Ok(0), host.page()));
        },
    ),
    both(
        &["B32", "B22"],
        "what is forgotten is mapped still: MAP over it is EEXIST",
        &[Type1],
        |host| {
            let (rig, memory) = rig(host, 2);
            rig.map(0, &memory).unwrap();
            take(&rig, (0, memory.len()), FORGET).0.unwrap();
            assert_eq!(
                put(&rig, host.page(), &memory, host.page()),
                Err(Errno::EXIST)
            );
        },
    ),
    both(
        &["B32"],
        "a device reaches the memory whose address was forgotten",
        &[Type1, Device(Trait::Engine)],
        |host| {
            let (engine, memory) = (Engine::new(host), host.memory(1));
            engine.rig.map(0, &memory).unwrap();
            take(&engine.rig, (0, host.page()), FORGET).0.unwrap();
            assert!(engine.reaches(0, &memory, 0));
        },
    ),
];
