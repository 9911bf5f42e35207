//! B21, B22, B24: what can be mapped where.

use vfio_core::kernel::Errno;
use vfio_core::uapi::DMA_MAP_FLAG_VADDR;
use vfio_sim::Machine;

use super::reach::Engine;
use super::{entries_left, put, rig};
use crate::conformance::clause::Needs::{Device, Type1};
use crate::conformance::clause::{Clause, Trait, both, simulated};
use crate::conformance::host::Host;
use crate::conformance::raw::{BOTH, READ, WRITE, map};

pub(super) const CLAUSES: &[Clause] = &[
    both(
        &["B21"],
        "a mapping without any right is refused",
        &[Type1],
        |host| {
            assert_eq!(tried(host, |page, at| (0, at, page), 0), Err(Errno::INVAL));
        },
    ),
    both(
        &["B21"],
        "a mapping with one right is made",
        &[Type1],
        |host| {
            for right in [READ, WRITE, BOTH] {
                assert_eq!(tried(host, |page, at| (0, at, page), right), Ok(0));
            }
        },
    ),
    both(
        &["B21", "B32"],
        "a new address with rights is refused",
        &[Type1],
        |host| {
            for rights in [READ, WRITE, BOTH] {
                let flags = rights | DMA_MAP_FLAG_VADDR;
                assert_eq!(
                    tried(host, |page, at| (0, at, page), flags),
                    Err(Errno::INVAL)
                );
            }
        },
    ),
    both(&["B21"], "size 0 is refused", &[Type1], |host| {
        assert_eq!(tried(host, |_, at| (0, at, 0), BOTH), Err(Errno::INVAL));
    }),
    both(
        &["B21"],
        "an IOVA that is not whole pages is refused",
        &[Type1],
        |host| {
            assert_eq!(
                tried(host, |page, at| (1, at, page), BOTH),
                Err(Errno::INVAL)
            );
            assert_eq!(
                tried(host, |page, at| (page / 2, at, page), BOTH),
                Err(Errno::INVAL)
            );
        },
    ),
    both(
        &["B21"],
        "an address that is not whole pages is refused",
        &[Type1],
        |host| {
            assert_eq!(
                tried(host, |page, at| (0, at + 1, page), BOTH),
                Err(Errno::INVAL)
            );
            assert_eq!(
                tried(host, |page, at| (0, at + page / 2, page), BOTH),
                Err(Errno::INVAL)
            );
        },
    ),
    both(
        &["B21"],
        "a size that is not whole pages is refused",
        &[Type1],
        |host| {
            assert_eq!(
                tried(host, |page, at| (0, at, page + 1), BOTH),
                Err(Errno::INVAL)
            );
            assert_eq!(
                tried(host, |page, at| (0, at, page / 2), BOTH),
                Err(Errno::INVAL)
            );
        },
    ),
    both(
        &["B21"],
        "an IOVA that wraps is refused",
        &[Type1],
        |host| {
            let wraps = |page: u64, at| (page.wrapping_neg(), at, 2 * page);
            assert_eq!(tried(host, wraps, BOTH), Err(Errno::INVAL));
        },
    ),
    both(
        &["B21"],
        "an address that wraps is refused",
        &[Type1],
        |host| {
            let wraps = |page: u64, _| (0, page.wrapping_neg(), 2 * page);
            assert_eq!(tried(host, wraps, BOTH), Err(Errno::INVAL));
        },
    ),
    simulated(
        &["B21"],
        "from 6.18 on a wrap is EOVERFLOW",
        "the lab runs 6.12",
        || {
            let machine = Machine {
                release: "6.18.1".into(),
                ..Machine::x86_64()
            };
            let host = Host::simulated(machine);
            for wraps in [
                (|page: u64, at| (page.wrapping_neg(), at, 2 * page)) as Range,
                |page: u64, _| (0, page.wrapping_neg(), 2 * page),
            ] {
                assert_eq!(tried(&host, wraps, BOTH), Err(Errno::OVERFLOW));
            }
        },
    ),
    both(
        &["B21"],
        "what is refused takes no entry",
        &[Type1],
        |host| {
            let (rig, memory) = rig(host, 1);
            let before = entries_left(&rig);
            for (range, flags) in [
                ((0, memory.at(), host.page()), 0),
                ((1, memory.at(), host.page()), BOTH),
            ] {
                map(rig.kernel(), &rig.container, range, flags).unwrap_err();
            }
            assert_eq!(entries_left(&rig), before);
        },
    ),
    both(
        &["B21", "B22"],
        "what is wrong in itself is refused before what is there is looked at",
        &[Type1],
        |host| {
            let (rig, memory) = rig(host, 2);
            put(&rig, 0, &memory, host.page()).unwrap();
            let ask = |range, flags| map(rig.kernel(), &rig.container, range, flags);
            assert_eq!(
                ask((0, memory.at() + 1, host.page()), BOTH),
                Err(Errno::INVAL)
            );
            assert_eq!(ask((0, memory.at(), host.page()), 0), Err(Errno::INVAL));
            assert_eq!(ask((0, memory.at(), 0), BOTH), Err(Errno::INVAL));
            let vaddr = host.page().wrapping_neg();
            assert_eq!(ask((0, vaddr, 2 * host.page()), BOTH), Err(Errno::INVAL));
        },
    ),
    both(
        &["B21"],
        "what is mapped to be read cannot be written",
        &[Type1, Device(Trait::Engine)],
        |host| {
            let (engine, memory) = (Engine::new(host), host.memory(1));
            let range = (0, memory.at(), memory.len());
            map(engine.rig.kernel(), &engine.rig.container, range, READ).unwrap();
            assert!(engine.reads(0, &memory, 0));
            assert!(!engine.writes(0, &memory, 0));
        },
    ),
    both(
        &["B21"],
        "what is mapped to be written can be",
        &[Type1, Device(Trait::Engine)],
        |host| {
            let (engine, memory) = (Engine::new(host), host.memory(1));
            let range = (0, memory.at(), memory.len());
            map(engine.rig.kernel(), &engine.rig.container, range, WRITE).unwrap();
            assert!(engine.writes(0, &memory, 0));
        },
    ),
    both(
        &["B21"],
        "what is mapped to be written alone can be read, unless the IOMMU has that right",
        &[Type1, Device(Trait::Engine)],
        |host| {
            let (engine, memory) = (Engine::new(host), host.memory(1));
            let range = (0, memory.at(), memory.len());
            map(engine.rig.kernel(), &engine.rig.container, range, WRITE).unwrap();
            let can = !host.machine().has_write_only();
            assert_eq!(engine.reads(0, &memory, 0), can);
        },
    ),
    both(
        &["B21"],
        "what is mapped is reached, whole and in its order",
        &[Type1, Device(Trait::Engine)],
        |host| {
            let (engine, memory) = (Engine::new(host), host.memory(3));
            let page = usize::try_from(host.page()).unwrap();
            let second = (0, memory.at() + host.page(), 2 * host.page());
            map(engine.rig.kernel(), &engine.rig.container, second, BOTH).unwrap();
            assert!(engine.reaches(0, &memory, page));
            assert!(engine.reaches(2 * host.page() - 64, &memory, 3 * page - 64));
            assert!(
                engine.reaches(host.page() - 32, &memory, 2 * page - 32),
                "across pages"
            );
        },
    ),
    both(
        &["B21"],
        "what is beside a mapping is not reached",
        &[Type1, Device(Trait::Engine)],
        |host| {
            let (engine, memory) = (Engine::new(host), host.memory(3));
            let page = usize::try_from(host.page()).unwrap();
            let second = (host.page(), memory.at() + host.page(), host.page());
            map(engine.rig.kernel(), &engine.rig.container, second, BOTH).unwrap();
            assert!(engine.reaches(host.page(), &memory, page));
            assert!(!engine.reaches(0, &memory, 0));
            assert!(!engine.reaches(2 * host.page(), &memory, 2 * page));
        },
    ),
    both(
        &["B22"],
        "a mapping over any part of another is EEXIST",
        &[Type1],
        |host| {
            let (rig, memory) = rig(host, 8);
            let page = host.page();
            put(&rig, 4 * page, &memory, 4 * page).unwrap();
            for (first, pages, how) in [
                (4, 4, "the same"),
                (4, 1, "its first page"),
                (7, 1, "its last page"),
                (5, 2, "inside"),
                (3, 2, "over its start"),
                (7, 2, "over its end"),
                (3, 6, "around it"),
            ] {
                assert_eq!(
                    put(&rig, first * page, &memory, pages * page),
                    Err(Errno::EXIST),
                    "{how}"
                );
            }
            assert_eq!(put(&rig, 3 * page, &memory, page), Ok(0), "before it");
            assert_eq!(put(&rig, 8 * page, &memory, page), Ok(0), "behind it");
        },
    ),
    both(
        &["B22"],
        "a mapping over another leaves it as it was",
        &[Type1, Device(Trait::Engine)],
        |host| {
            let (engine, memory, other) = (Engine::new(host), host.memory(1), host.memory(1));
            engine.rig.map(0, &memory).unwrap();
            assert_eq!(engine.rig.map(0, &other), Err(Errno::EXIST));
            assert!(engine.reaches(0, &memory, 0));
        },
    ),
    both(
        &["B22", "B26"],
        "a mapping over another is EEXIST before its memory is looked at",
        &[Type1],
        |host| {
            let (rig, memory) = rig(host, 1);
            rig.map(0, &memory).unwrap();
            let nothing = (0, host.page(), host.page());
            assert_eq!(
                map(rig.kernel(), &rig.container, nothing, BOTH),
                Err(Errno::EXIST)
            );
        },
    ),
    both(
        &["B24"],
        "a hole between the ranges cannot be mapped",
        &[Type1],
        |host| {
            let (rig, memory) = rig(host, 1);
            let (before, after) = hole(host);
            assert_eq!(
                put(&rig, before + 1, &memory, host.page()),
                Err(Errno::INVAL)
            );
            assert_eq!(
                put(&rig, after - host.page(), &memory, host.page()),
                Err(Errno::INVAL)
            );
        },
    ),
    both(
        &["B24"],
        "what reaches into a hole, or over it, cannot be mapped",
        &[Type1],
        |host| {
            let (rig, memory) = rig(host, 2);
            let ((before, after), page) = (hole(host), host.page());
            assert_eq!(
                put(&rig, before + 1 - page, &memory, 2 * page),
                Err(Errno::INVAL)
            );
            assert_eq!(
                put(&rig, after - page, &memory, 2 * page),
                Err(Errno::INVAL)
            );
            assert_eq!(
                put(
                    &rig,
                    before + 1 - page,
                    &memory,
                    after - before - 1 + 2 * page
                ),
                Err(Errno::INVAL)
            );
        },
    ),
    both(
        &["B24"],
        "the pages beside a hole can be mapped",
        &[Type1],
        |host| {
            let (rig, memory) = rig(host, 1);
            let (before, after) = hole(host);
            assert_eq!(
                put(&rig, before + 1 - host.page(), &memory, host.page()),
                Ok(0)
            );
            assert_eq!(put(&rig, after, &memory, host.page()), Ok(0));
        },
    ),
    both(
        &["B24"],
        "nothing above the last range can be mapped",
        &[Type1],
        |host| {
            let (rig, memory) = rig(host, 2);
            let (last, page) = (host.type1().unwrap().ranges.last().unwrap().1, host.page());
            assert_eq!(put(&rig, last + 1, &memory, page), Err(Errno::INVAL));
            assert_eq!(
                put(&rig, last + 1 - page, &memory, 2 * page),
                Err(Errno::INVAL)
            );
            assert_eq!(
                put(&rig, page.wrapping_neg(), &memory, page),
                Err(Errno::INVAL),
                "the very last page"
            );
            assert_eq!(
                put(&rig, last + 1 - page, &memory, page),
                Ok(0),
                "the last page of the range"
            );
        },
    ),
    both(
        &["B24", "B22"],
        "what is mapped in part is EEXIST, also where it reaches into a hole",
        &[Type1],
        |host| {
            let (rig, memory) = rig(host, 2);
            let ((before, _), page) = (hole(host), host.page());
            put(&rig, before + 1 - page, &memory, page).unwrap();
            assert_eq!(
                put(&rig, before + 1 - page, &memory, 2 * page),
                Err(Errno::EXIST)
            );
        },
    ),
    both(
        &["B24", "B26"],
        "a hole is refused before the memory is looked at",
        &[Type1],
        |host| {
            let (rig, _memory) = rig(host, 1);
            let nothing = (hole(host).0 + 1, host.page(), host.page());
            assert_eq!(
                map(rig.kernel(), &rig.container, nothing, BOTH),
                Err(Errno::INVAL)
            );
        },
    ),
    both(
        &["B24"],
        "the last page that can be mapped is reached",
        &[Type1, Device(Trait::Engine)],
        |host| {
            let (engine, memory) = (Engine::new(host), host.memory(1));
            let last = host.type1().unwrap().ranges.last().unwrap().1 + 1 - host.page();
            engine.rig.map(last, &memory).unwrap();
            assert!(engine.reaches(last, &memory, 0));
        },
    ),
];

/// IOVA, address and size, by the size of a page and where memory is.
type Range = fn(u64, u64) -> (u64, u64, u64);

/// What a mapping answers that is the only one.
fn tried(host: &Host, range: Range, flags: u32) -> vfio_core::kernel::Result<u32> {
    let (rig, memory) = rig(host, 2);
    let range = range(host.page(), memory.at());
    map(rig.kernel(), &rig.container, range, flags)
}

/// The last address before the first hole, and the first behind it.
fn hole(host: &Host) -> (u64, u64) {
    let ranges = &host.type1().unwrap().ranges;
    (ranges[0].1, ranges[1].0)
}
