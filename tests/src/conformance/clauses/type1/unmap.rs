//! B28, B30, B31: unmapping, version 2.

use vfio_core::kernel::Errno;
use vfio_core::uapi::{
    DMA_UNMAP_FLAG_ALL as ALL, DMA_UNMAP_FLAG_GET_DIRTY_BITMAP as DIRTY,
    DMA_UNMAP_FLAG_VADDR as FORGET, TYPE1_IOMMU,
};
use vfio_sim::Machine;

use super::reach::Engine;
use super::{put, refused, rig, take};
use crate::conformance::clause::Needs::{Device, Type1};
use crate::conformance::clause::{Clause, Trait, both, simulated};
use crate::conformance::host::Host;
use crate::conformance::rig::Rig;

pub(super) const CLAUSES: &[Clause] = &[
    both(
        &["B28"],
        "a range that begins inside a mapping is refused",
        &[Type1],
        |host| {
            let (rig, page) = two_of_two(host);
            assert_eq!(rig.unmap(3 * page, page), refused(page), "and ends with it");
            assert_eq!(
                rig.unmap(3 * page, 2 * page),
                refused(2 * page),
                "and ends behind it"
            );
            assert_eq!(
                rig.unmap(3 * page, 5 * page),
                refused(5 * page),
                "and covers another"
            );
            all_there(&rig, page);
        },
    ),
    both(
        &["B28"],
        "a range that ends inside a mapping is refused",
        &[Type1],
        |host| {
            let (rig, page) = two_of_two(host);
            assert_eq!(
                rig.unmap(2 * page, page),
                refused(page),
                "and begins with it"
            );
            assert_eq!(
                rig.unmap(0, 3 * page),
                refused(3 * page),
                "and begins before it"
            );
            assert_eq!(
                rig.unmap(2 * page, 5 * page),
                refused(5 * page),
                "and covers another"
            );
            all_there(&rig, page);
        },
    ),
    both(
        &["B28"],
        "a range inside a mapping is refused",
        &[Type1],
        |host| {
            let (rig, memory) = rig(host, 3);
            rig.map(0, &memory).unwrap();
            assert_eq!(rig.unmap(host.page(), host.page()), refused(host.page()));
        },
    ),
    both(
        &["B28"],
        "exactly a mapping goes, and its neighbours stay",
        &[Type1],
        |host| {
            let (rig, memory) = rig(host, 1);
            let page = host.page();
            for n in 0..3 {
                rig.map(n * page, &memory).unwrap();
            }
            assert_eq!(rig.unmap(page, page), (Ok(0), page));
            assert_eq!(rig.unmap(0, 3 * page), (Ok(0), 2 * page));
        },
    ),
    both(
        &["B28"],
        "a range with holes takes what is there, and answers how much",
        &[Type1],
        |host| {
            let (rig, page) = two_of_two(host);
            assert_eq!(rig.unmap(0, 16 * page), (Ok(0), 4 * page));
            assert_eq!(host.locked(), 0);
        },
    ),
    both(
        &["B28"],
        "a range may begin and end where mappings do",
        &[Type1],
        |host| {
            let (rig, page) = two_of_two(host);
            assert_eq!(rig.unmap(2 * page, 6 * page), (Ok(0), 4 * page));
        },
    ),
    both(
        &["B28"],
        "where nothing is, nothing is unmapped, and that is success",
        &[Type1],
        |host| {
            let (rig, page) = two_of_two(host);
            assert_eq!(rig.unmap(4 * page, 2 * page), (Ok(0), 0), "between");
            assert_eq!(rig.unmap(0, 2 * page), (Ok(0), 0), "before");
            assert_eq!(rig.unmap(8 * page, 8 * page), (Ok(0), 0), "behind");
            all_there(&rig, page);
        },
    ),
    both(
        &["B28"],
        "the same again unmaps nothing",
        &[Type1],
        |host| {
            let (rig, memory) = rig(host, 1);
            rig.map(0, &memory).unwrap();
            assert_eq!(rig.unmap(0, host.page()), (Ok(0), host.page()));
            assert_eq!(rig.unmap(0, host.page()), (Ok(0), 0));
        },
    ),
    both(
        &["B28", "B24"],
        "a range may reach over addresses that cannot be mapped",
        &[Type1],
        |host| {
            let (rig, memory) = rig(host, 1);
            let ranges = &host.type1().unwrap().ranges;
            let (first, second) = (ranges[0].1 + 1 - host.page(), ranges[1].0);
            rig.map(first, &memory).unwrap();
            rig.map(second, &memory).unwrap();
            let size = second + host.page() - first;
            assert_eq!(rig.unmap(first, size), (Ok(0), 2 * host.page()));
            let above = ranges[1].1 + 1;
            assert_eq!(rig.unmap(above, host.page()), (Ok(0), 0), "above them all");
        },
    ),
    both(
        &["B28"],
        "what is unmapped is not reached",
        &[Type1, Device(Trait::Engine)],
        |host| {
            let (engine, memory) = (Engine::new(host), host.memory(1));
            engine.rig.map(0, &memory).unwrap();
            assert!(engine.reaches(0, &memory, 0));
            engine.rig.unmap(0, host.page()).0.unwrap();
            assert!(!engine.reaches(0, &memory, 0));
        },
    ),
    both(
        &["B28"],
        "what could not be cut is reached whole",
        &[Type1, Device(Trait::Engine)],
        |host| {
            let (engine, memory) = (Engine::new(host), host.memory(2));
            let page = usize::try_from(host.page()).unwrap();
            engine.rig.map(0, &memory).unwrap();
            engine.rig.unmap(0, host.page()).0.unwrap_err();
            assert!(engine.reaches(0, &memory, 0) && engine.reaches(host.page(), &memory, page));
        },
    ),
    both(
        &["B28"],
        "what is mapped anew is reached, and what was there before is not",
        &[Type1, Device(Trait::Engine)],
        |host| {
            let (engine, memory, other) = (Engine::new(host), host.memory(1), host.memory(1));
            engine.rig.map(0, &memory).unwrap();
            assert!(engine.reaches(0, &memory, 0));
            engine.rig.unmap(0, host.page()).0.unwrap();
            engine.rig.map(0, &other).unwrap();
            assert!(engine.reaches(0, &other, 0));
            assert!(!engine.writes(0, &memory, 0));
        },
    ),
    both(&["B30"], "size 0 is refused, and stays", &[Type1], |host| {
        let (rig, memory) = rig(host, 1);
        rig.map(0, &memory).unwrap();
        assert_eq!(rig.unmap(0, 0), refused(0));
    }),
    both(
        &["B30"],
        "an IOVA that is not whole pages is refused, and the size stays",
        &[Type1],
        |host| {
            let (rig, memory) = rig(host, 1);
            rig.map(0, &memory).unwrap();
            assert_eq!(rig.unmap(1, host.page()), refused(host.page()));
            assert_eq!(
                rig.unmap(host.page() / 2, host.page()),
                refused(host.page())
            );
        },
    ),
    both(
        &["B30"],
        "a size that is not whole pages is refused, and stays",
        &[Type1],
        |host| {
            let (rig, memory) = rig(host, 1);
            rig.map(0, &memory).unwrap();
            for size in [1, host.page() / 2, host.page() + 1] {
                assert_eq!(rig.unmap(0, size), refused(size));
            }
        },
    ),
    both(
        &["B30"],
        "a range that wraps is refused, and the size stays",
        &[Type1],
        |host| {
            let (rig, memory) = rig(host, 1);
            rig.map(0, &memory).unwrap();
            let size = host.page().wrapping_neg();
            assert_eq!(rig.unmap(2 * host.page(), size), refused(size));
        },
    ),
    simulated(
        &["B30"],
        "from 6.18 on a wrap is EOVERFLOW",
        "the lab runs 6.12",
        || {
            let machine = Machine {
                release: "6.18.1".into(),
                ..Machine::x86_64()
            };
            let host = Host::simulated(machine);
            let size = host.page().wrapping_neg();
            assert_eq!(
                host.rig().unmap(2 * host.page(), size),
                (Err(Errno::OVERFLOW), size)
            );
        },
    ),
    both(&["B30"], "version 1 refuses the same", &[Type1], |host| {
        let (rig, memory) = (host.rig_of(TYPE1_IOMMU), host.memory(1));
        rig.map(0, &memory).unwrap();
        let (page, wraps) = (host.page(), host.page().wrapping_neg());
        for (iova, size) in [(0, 0), (1, page), (0, page + 1), (2 * page, wraps)] {
            assert_eq!(rig.unmap(iova, size), refused(size));
        }
        assert_eq!(rig.unmap(0, page), (Ok(0), page), "it is there still");
    }),
    both(
        &["B30"],
        "on success the size is what was unmapped, not what was asked",
        &[Type1],
        |host| {
            let (rig, memory) = rig(host, 1);
            rig.map(5 * host.page(), &memory).unwrap();
            assert_eq!(rig.unmap(0, 1 << 32), (Ok(0), host.page()));
        },
    ),
    both(
        &["B31"],
        "ALL with an IOVA or a size is refused",
        &[Type1],
        |host| {
            let (rig, page) = two_of_two(host);
            assert_eq!(take(&rig, (0, page), ALL), refused(page));
            assert_eq!(take(&rig, (page, 0), ALL), refused(0));
            assert_eq!(take(&rig, (2 * page, 2 * page), ALL), refused(2 * page));
            all_there(&rig, page);
        },
    ),
    both(
        &["B31"],
        "ALL takes every mapping and answers the sum",
        &[Type1],
        |host| {
            for version in [TYPE1_IOMMU, host.iommu()] {
                let (rig, memory) = (host.rig_of(version), host.memory(2));
                for iova in [0, 1 << 24, 1 << 40] {
                    rig.map(iova, &memory).unwrap();
                }
                assert_eq!(take(&rig, (0, 0), ALL), (Ok(0), 3 * memory.len()));
                assert_eq!(host.locked(), 0);
                rig.map(0, &memory).unwrap();
            }
        },
    ),
    both(
        &["B31"],
        "ALL of nothing is success, of 0 bytes",
        &[Type1],
        |host| {
            assert_eq!(take(&host.rig(), (0, 0), ALL), (Ok(0), 0));
        },
    ),
    both(
        &["B31"],
        "nothing is reached after ALL",
        &[Type1, Device(Trait::Engine)],
        |host| {
            let (engine, memory) = (Engine::new(host), host.memory(1));
            engine.rig.map(0, &memory).unwrap();
            take(&engine.rig, (0, 0), ALL).0.unwrap();
            engine.map_own();
            assert!(!engine.reaches(0, &memory, 0));
        },
    ),
    both(
        &["B31", "B32"],
        "ALL with VADDR forgets every address and keeps every mapping",
        &[Type1],
        |host| {
            let (rig, page) = two_of_two(host);
            assert_eq!(take(&rig, (0, 0), ALL | FORGET), (Ok(0), 4 * page));
            assert_eq!(host.locked(), 4 * page);
            assert_eq!(take(&rig, (0, 0), ALL | FORGET), refused(0), "once");
            all_there(&rig, page);
        },
    ),
    both(
        &["B31", "B34"],
        "ALL or VADDR together with a bitmap is refused",
        &[Type1],
        |host| {
            let (rig, page) = two_of_two(host);
            for flags in [ALL | DIRTY, FORGET | DIRTY, ALL | FORGET | DIRTY] {
                let size = if flags & ALL == 0 { 16 * page } else { 0 };
                assert_eq!(take(&rig, (0, size), flags), refused(size));
            }
            all_there(&rig, page);
        },
    ),
];

/// Mappings of two pages each, at pages 2 and 6; and the size of a page.
fn two_of_two(host: &Host) -> (Rig, u64) {
    let (rig, memory) = rig(host, 2);
    let page = host.page();
    put(&rig, 2 * page, &memory, 2 * page).unwrap();
    put(&rig, 6 * page, &memory, 2 * page).unwrap();
    (rig, page)
}

/// Both mappings are there.
fn all_there(rig: &Rig, page: u64) {
    assert_eq!(rig.unmap(2 * page, 2 * page), (Ok(0), 2 * page));
    assert_eq!(rig.unmap(6 * page, 2 * page), (Ok(0), 2 * page));
}
