//! B23: how many mappings there can be.

use vfio_core::kernel::Errno;
use vfio_core::uapi::{DMA_MAP_FLAG_VADDR, DMA_UNMAP_FLAG_ALL, DMA_UNMAP_FLAG_VADDR, TYPE1_IOMMU};

use super::{entries_left, put, rig, take};
use crate::conformance::clause::Needs::{TwoGroups, Type1};
use crate::conformance::clause::{Clause, both};
use crate::conformance::host::Host;
use crate::conformance::raw::{BOTH, READ, join, map};

pub(super) const CLAUSES: &[Clause] = &[
    both(
        &["B23"],
        "65535 mappings can be made unless the module says otherwise",
        &[Type1],
        |host| {
            assert_eq!(entries_left(&host.rig()), 65535);
            assert_eq!(entries_left(&host.rig_of(TYPE1_IOMMU)), 65535);
        },
    ),
    both(
        &["B23"],
        "a mapping takes one entry, however large it is",
        &[Type1],
        |host| {
            let (rig, memory) = rig(host, 8);
            rig.map(0, &memory).unwrap();
            assert_eq!(entries_left(&rig), 65534);
            put(&rig, memory.len(), &memory, host.page()).unwrap();
            assert_eq!(entries_left(&rig), 65533);
        },
    ),
    both(
        &["B23"],
        "with no entry left, MAP is ENOSPC",
        &[Type1],
        |host| {
            with_entries(host, 2, |host| {
                let (rig, memory) = rig(host, 1);
                assert_eq!(
                    [0, 1].map(|n| rig.map(n * host.page(), &memory)),
                    [Ok(0), Ok(0)]
                );
                assert_eq!(entries_left(&rig), 0);
                assert_eq!(rig.map(2 * host.page(), &memory), Err(Errno::NOSPC));
                assert_eq!(host.locked(), 2 * host.page(), "nothing of it is pinned");
            });
        },
    ),
    both(
        &["B23"],
        "the module's limit counts for containers that are set up later",
        &[Type1],
        |host| {
            let before = (host.rig(), host.memory(1));
            with_entries(host, 1, |_| {
                let (rig, memory) = &before;
                assert_eq!(entries_left(rig), 65535);
                assert_eq!(
                    [0, 1].map(|n| rig.map(n * host.page(), memory)),
                    [Ok(0), Ok(0)]
                );
            });
        },
    ),
    both(
        &["B23"],
        "each container has entries of its own",
        &[Type1, TwoGroups],
        |host| {
            with_entries(host, 1, |host| {
                let (rig, memory) = rig(host, 1);
                rig.map(0, &memory).unwrap();
                let other = crate::conformance::rig::Rig::new(
                    host.kernel(),
                    host.group_id(1),
                    host.iommu(),
                );
                assert_eq!(other.map(0, &memory), Ok(0));
            });
        },
    ),
    both(&["B23"], "a limit of none is one", &[Type1], |host| {
        with_entries(host, 0, |host| {
            let (rig, memory) = rig(host, 1);
            assert_eq!(entries_left(&rig), 0);
            assert_eq!(rig.map(0, &memory), Err(Errno::NOSPC));
        });
    }),
    both(
        &["B23", "B22"],
        "what is mapped is EEXIST, also with no entry left",
        &[Type1],
        |host| {
            with_entries(host, 1, |host| {
                let (rig, memory) = rig(host, 1);
                rig.map(0, &memory).unwrap();
                assert_eq!(rig.map(0, &memory), Err(Errno::EXIST));
            });
        },
    ),
    both(
        &["B23", "B24"],
        "with no entry left MAP is ENOSPC, also outside the ranges",
        &[Type1],
        |host| {
            with_entries(host, 1, |host| {
                let (rig, memory) = rig(host, 1);
                rig.map(0, &memory).unwrap();
                let hole = host.type1().unwrap().ranges[0].1 + 1;
                assert_eq!(rig.map(hole, &memory), Err(Errno::NOSPC));
            });
        },
    ),
    both(
        &["B23", "B26"],
        "with no entry left MAP is ENOSPC, also of memory that is not there",
        &[Type1],
        |host| {
            with_entries(host, 1, |host| {
                let (rig, memory) = rig(host, 1);
                rig.map(0, &memory).unwrap();
                let nothing = (host.page(), host.page(), host.page());
                assert_eq!(
                    map(rig.kernel(), &rig.container, nothing, READ),
                    Err(Errno::NOSPC)
                );
            });
        },
    ),
    both(
        &["B23", "B21"],
        "with no entry left, what is wrong in itself is EINVAL",
        &[Type1],
        |host| {
            with_entries(host, 1, |host| {
                let (rig, memory) = rig(host, 1);
                rig.map(0, &memory).unwrap();
                assert_eq!(put(&rig, host.page(), &memory, 1), Err(Errno::INVAL));
            });
        },
    ),
    both(
        &["B23"],
        "an unmap gives the entry back",
        &[Type1],
        |host| {
            with_entries(host, 1, |host| {
                let (rig, memory) = rig(host, 1);
                rig.map(0, &memory).unwrap();
                rig.unmap(0, host.page()).0.unwrap();
                assert_eq!(rig.map(host.page(), &memory), Ok(0));
            });
        },
    ),
    both(
        &["B23", "B31"],
        "unmapping all gives every entry back",
        &[Type1],
        |host| {
            let (rig, memory) = rig(host, 1);
            for n in 0..5 {
                rig.map(2 * n * host.page(), &memory).unwrap();
            }
            assert_eq!(entries_left(&rig), 65530);
            take(&rig, (0, 0), DMA_UNMAP_FLAG_ALL).0.unwrap();
            assert_eq!(entries_left(&rig), 65535);
        },
    ),
    both(
        &["B23", "B26"],
        "a MAP of memory that is not there gives its entry back",
        &[Type1],
        |host| {
            let (rig, memory) = rig(host, 2);
            let page = usize::try_from(host.page()).unwrap();
            memory.lose(page..2 * page);
            assert_eq!(rig.map(0, &memory), Err(Errno::FAULT));
            assert_eq!(entries_left(&rig), 65535);
        },
    ),
    both(
        &["B23", "B25"],
        "a MAP over the limit of locked memory gives its entry back",
        &[Type1],
        |host| {
            let (rig, memory) = rig(host, 2);
            let _limit = host.limit(host.page());
            assert_eq!(rig.map(0, &memory), Err(Errno::NOMEM));
            assert_eq!(entries_left(&rig), 65535);
        },
    ),
    both(
        &["B23", "B24"],
        "a MAP outside the ranges takes no entry",
        &[Type1],
        |host| {
            let (rig, memory) = rig(host, 1);
            let hole = host.type1().unwrap().ranges[0].1 + 1;
            assert_eq!(rig.map(hole, &memory), Err(Errno::INVAL));
            assert_eq!(entries_left(&rig), 65535);
        },
    ),
    both(
        &["B23", "B32"],
        "a new address takes no entry, and needs none",
        &[Type1],
        |host| {
            with_entries(host, 1, |host| {
                let (rig, memory) = rig(host, 1);
                rig.map(0, &memory).unwrap();
                take(&rig, (0, host.page()), DMA_UNMAP_FLAG_VADDR)
                    .0
                    .unwrap();
                assert_eq!(entries_left(&rig), 0, "the mapping is there still");
                let range = (0, memory.at(), host.page());
                assert_eq!(
                    map(rig.kernel(), &rig.container, range, DMA_MAP_FLAG_VADDR),
                    Ok(0)
                );
            });
        },
    ),
    both(
        &["B23", "B19"],
        "a group that joins takes no entry",
        &[Type1, TwoGroups],
        |host| {
            with_entries(host, 1, |host| {
                let (rig, memory) = rig(host, 1);
                rig.map(0, &memory).unwrap();
                let second = host.group(1);
                assert_eq!(join(rig.kernel(), &second, &rig.container), Ok(0));
            });
        },
    ),
    both(
        &["B23"],
        "as many mappings as the limit says can be made",
        &[Type1],
        |host| {
            let (rig, memory) = rig(host, 1);
            let at = |n: u32| {
                (
                    0x1_0000_0000 + u64::from(n) * host.page(),
                    memory.at(),
                    host.page(),
                )
            };
            for n in 0..65535 {
                map(rig.kernel(), &rig.container, at(n), BOTH).unwrap();
            }
            assert_eq!(
                map(rig.kernel(), &rig.container, at(65535), BOTH),
                Err(Errno::NOSPC)
            );
        },
    ),
];

/// With containers that have so many entries.
fn with_entries(host: &Host, entries: u32, ask: impl FnOnce(&Host)) {
    host.with_parameter(
        ("dma_entry_limit", &entries.to_string()),
        |type1| type1.entry_limit = entries,
        ask,
    );
}
