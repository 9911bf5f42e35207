//! B25 to B27: which memory can be mapped, and what is accounted.

use vfio_core::kernel::Errno;
use vfio_core::uapi::TYPE1_IOMMU;
use vfio_sim::machine::{Bar, BarKind};

use super::reach::Engine;
use super::{put, rig};
use crate::conformance::clause::Needs::{Device, Type1};
use crate::conformance::clause::{Clause, Trait, both};
use crate::conformance::host::Host;
use crate::conformance::memory::{Memory, random};
use crate::conformance::raw::{BOTH, READ, WRITE, map};
use crate::conformance::rig::{Open, Rig};

pub(super) const CLAUSES: &[Clause] = &[
    both(
        &["B25"],
        "as much as the limit can be mapped",
        &[Type1],
        |host| {
            let (rig, memory) = rig(host, 8);
            let _limit = host.limit(memory.len());
            assert_eq!((rig.map(0, &memory), host.locked()), (Ok(0), memory.len()));
        },
    ),
    both(
        &["B25"],
        "a page more is ENOMEM, and nothing of it stays",
        &[Type1],
        |host| {
            let (rig, memory) = rig(host, 8);
            let _limit = host.limit(memory.len() - host.page());
            assert_eq!((rig.map(0, &memory), host.locked()), (Err(Errno::NOMEM), 0));
            assert_eq!(rig.unmap(0, memory.len()), (Ok(0), 0), "nothing is mapped");
        },
    ),
    both(
        &["B25"],
        "what was mapped before counts",
        &[Type1],
        |host| {
            let (rig, memory) = rig(host, 4);
            let _limit = host.limit(memory.len());
            rig.map(0, &memory).unwrap();
            let more = put(&rig, memory.len(), &memory, host.page());
            assert_eq!((more, host.locked()), (Err(Errno::NOMEM), memory.len()));
            rig.unmap(0, memory.len()).0.unwrap();
            assert_eq!(
                put(&rig, memory.len(), &memory, host.page()),
                Ok(0),
                "until it is unmapped"
            );
        },
    ),
    both(
        &["B25"],
        "what was mapped by right before counts as well",
        &[Type1],
        |host| {
            let (rig, memory) = rig(host, 4);
            rig.map(0, &memory).unwrap();
            let _limit = host.limit(memory.len());
            assert_eq!(
                put(&rig, memory.len(), &memory, host.page()),
                Err(Errno::NOMEM)
            );
        },
    ),
    both(
        &["B25"],
        "the limit counts in whole pages",
        &[Type1],
        |host| {
            let (rig, memory) = rig(host, 2);
            let _limit = host.limit(2 * host.page() - 1);
            assert_eq!(rig.map(0, &memory), Err(Errno::NOMEM));
            assert_eq!(put(&rig, 0, &memory, host.page()), Ok(0));
        },
    ),
    both(
        &["B25"],
        "with a limit of nothing no page can be mapped",
        &[Type1],
        |host| {
            let (rig, memory) = rig(host, 1);
            let _limit = host.limit(0);
            assert_eq!(rig.map(0, &memory), Err(Errno::NOMEM));
        },
    ),
    both(
        &["B25"],
        "who may lock memory without limit maps more than it",
        &[Type1],
        |host| {
            let (rig, memory) = rig(host, 8);
            let _limit = host.limit_with_right(host.page());
            assert_eq!((rig.map(0, &memory), host.locked()), (Ok(0), memory.len()));
        },
    ),
    both(
        &["B25"],
        "over the limit it is ENOMEM in version 1 too",
        &[Type1],
        |host| {
            let (rig, memory) = (host.rig_of(TYPE1_IOMMU), host.memory(2));
            let _limit = host.limit(host.page());
            assert_eq!((rig.map(0, &memory), host.locked()), (Err(Errno::NOMEM), 0));
        },
    ),
    both(
        &["B25"],
        "what could not be pinned whole is not reached",
        &[Type1, Device(Trait::Engine)],
        |host| {
            let (engine, memory) = (Engine::new(host), host.memory(4));
            let _limit = host.limit(3 * host.page());
            assert_eq!(engine.rig.map(0, &memory), Err(Errno::NOMEM));
            assert!(!engine.reaches(0, &memory, 0));
        },
    ),
    both(
        &["B25", "B26"],
        "the first page that fails decides: one that is too many before one that is not there",
        &[Type1],
        |host| {
            let (rig, memory) = rig(host, 4);
            let page = usize::try_from(host.page()).unwrap();
            let _limit = host.limit(2 * host.page());
            memory.lose(3 * page..4 * page);
            assert_eq!((rig.map(0, &memory), host.locked()), (Err(Errno::NOMEM), 0));
        },
    ),
    both(
        &["B25", "B26"],
        "the first page that fails decides: one that is not there before one that is too many",
        &[Type1],
        |host| {
            let (rig, memory) = rig(host, 4);
            let page = usize::try_from(host.page()).unwrap();
            let _limit = host.limit(2 * host.page());
            memory.lose(2 * page..3 * page);
            assert_eq!((rig.map(0, &memory), host.locked()), (Err(Errno::FAULT), 0));
        },
    ),
    both(
        &["B26"],
        "memory that is not there is EFAULT",
        &[Type1],
        |host| {
            let (rig, memory) = rig(host, 1);
            memory.lose(0..usize::try_from(memory.len()).unwrap());
            for rights in [READ, WRITE, BOTH] {
                let range = (0, memory.at(), memory.len());
                let answer = map(rig.kernel(), &rig.container, range, rights);
                assert_eq!(answer, Err(Errno::FAULT), "{rights}");
            }
        },
    ),
    both(
        &["B26"],
        "addresses that no process has are EFAULT",
        &[Type1],
        |host| {
            let rig = host.rig();
            for address in [0, host.page(), 1 << 63] {
                let range = (0, address, host.page());
                let answer = map(rig.kernel(), &rig.container, range, BOTH);
                assert_eq!(answer, Err(Errno::FAULT), "{address:#x}");
            }
        },
    ),
    both(
        &["B26"],
        "of memory of which a part is not there nothing stays",
        &[Type1],
        |host| {
            let (rig, memory) = rig(host, 4);
            let page = usize::try_from(host.page()).unwrap();
            memory.lose(3 * page..4 * page);
            assert_eq!((rig.map(0, &memory), host.locked()), (Err(Errno::FAULT), 0));
            assert_eq!(rig.unmap(0, memory.len()), (Ok(0), 0), "nothing is mapped");
            assert_eq!(
                put(&rig, 0, &memory, 3 * host.page()),
                Ok(0),
                "the rest can be"
            );
        },
    ),
    both(
        &["B26"],
        "of memory of which a part is not there nothing is reached",
        &[Type1, Device(Trait::Engine)],
        |host| {
            let (engine, memory) = (Engine::new(host), host.memory(2));
            let page = usize::try_from(host.page()).unwrap();
            memory.lose(page..2 * page);
            assert_eq!(engine.rig.map(0, &memory), Err(Errno::FAULT));
            assert!(!engine.reaches(0, &memory, 0));
        },
    ),
    both(
        &["B26"],
        "what cannot be written is EFAULT if write is asked for",
        &[Type1],
        |host| {
            let (rig, memory) = rig(host, 1);
            memory.freeze(0..usize::try_from(memory.len()).unwrap());
            for rights in [WRITE, BOTH] {
                let range = (0, memory.at(), memory.len());
                let answer = map(rig.kernel(), &rig.container, range, rights);
                assert_eq!(answer, Err(Errno::FAULT), "{rights}");
            }
        },
    ),
    both(
        &["B26"],
        "what cannot be written can be mapped to be read",
        &[Type1],
        |host| {
            let (rig, memory) = rig(host, 1);
            memory.freeze(0..usize::try_from(memory.len()).unwrap());
            let range = (0, memory.at(), memory.len());
            assert_eq!(map(rig.kernel(), &rig.container, range, READ), Ok(0));
        },
    ),
    both(
        &["B26"],
        "a mapped BAR can be mapped, and is not accounted",
        &[Type1, Device(Trait::Memory)],
        |host| {
            let (bar, _open, rig) = with_bar(host);
            let _limit = host.limit(0);
            assert_eq!((rig.map(0, &bar), host.locked()), (Ok(0), 0));
            assert_eq!(rig.unmap(0, bar.len()), (Ok(0), bar.len()));
            assert_eq!(host.locked(), 0);
        },
    ),
    both(
        &["B26"],
        "a mapped BAR can be mapped with one right",
        &[Type1, Device(Trait::Memory)],
        |host| {
            let (bar, _open, rig) = with_bar(host);
            for (n, right) in [READ, WRITE].into_iter().enumerate() {
                let range = (n as u64 * bar.len(), bar.at(), bar.len());
                assert_eq!(map(rig.kernel(), &rig.container, range, right), Ok(0));
            }
        },
    ),
    both(
        &["B26"],
        "a BAR that is mapped is reached by another device",
        &[Type1, Device(Trait::Memory), Device(Trait::Engine)],
        |host| {
            let (bar, _open, rig) = with_bar(host);
            let (rig, _first) = host.with_the_engine(rig);
            let engine = Engine::inside(rig, host);
            engine.rig.map(0, &bar).unwrap();
            assert!(engine.reaches(0, &bar, 0));
        },
    ),
    both(
        &["B27"],
        "every page of a mapping is accounted",
        &[Type1],
        |host| {
            let (rig, memory) = rig(host, 8);
            rig.map(0, &memory).unwrap();
            assert_eq!(host.locked(), memory.len());
        },
    ),
    both(
        &["B27"],
        "a page that is mapped twice counts twice",
        &[Type1],
        |host| {
            let (rig, memory) = rig(host, 2);
            rig.map(0, &memory).unwrap();
            rig.map(memory.len(), &memory).unwrap();
            assert_eq!(host.locked(), 2 * memory.len());
        },
    ),
    both(
        &["B27", "B25"],
        "also against the limit",
        &[Type1],
        |host| {
            let (rig, memory) = rig(host, 2);
            let _limit = host.limit(3 * host.page());
            rig.map(0, &memory).unwrap();
            assert_eq!(rig.map(memory.len(), &memory), Err(Errno::NOMEM));
        },
    ),
    both(
        &["B27"],
        "an unmap gives back what its mapping had, and no more",
        &[Type1],
        |host| {
            let (rig, memory) = rig(host, 2);
            rig.map(0, &memory).unwrap();
            put(&rig, memory.len(), &memory, host.page()).unwrap();
            rig.unmap(0, memory.len()).0.unwrap();
            assert_eq!(host.locked(), host.page());
            rig.unmap(memory.len(), host.page()).0.unwrap();
            assert_eq!(host.locked(), 0);
        },
    ),
    both(
        &["B27"],
        "it is accounted alike, whatever the right and the version",
        &[Type1],
        |host| {
            for version in [TYPE1_IOMMU, host.iommu()] {
                let (rig, memory) = (host.rig_of(version), host.memory(2));
                for (n, rights) in [READ, WRITE, BOTH].into_iter().enumerate() {
                    let range = (n as u64 * memory.len(), memory.at(), memory.len());
                    map(rig.kernel(), &rig.container, range, rights).unwrap();
                    assert_eq!(host.locked(), (n as u64 + 1) * memory.len());
                }
            }
        },
    ),
    both(
        &["B27"],
        "memory that the process gives back stays pinned and accounted",
        &[Type1],
        |host| {
            let (rig, memory) = rig(host, 2);
            rig.map(0, &memory).unwrap();
            let len = memory.len();
            drop(memory);
            assert_eq!(host.locked(), len);
            assert_eq!(rig.unmap(0, len), (Ok(0), len));
            assert_eq!(host.locked(), 0);
        },
    ),
    both(
        &["B26", "B21"],
        "a device reaches the same memory by each of its mappings",
        &[Type1, Device(Trait::Engine)],
        |host| {
            let (engine, memory) = (Engine::new(host), host.memory(1));
            engine.rig.map(0, &memory).unwrap();
            engine.rig.map(host.page(), &memory).unwrap();
            assert!(engine.reaches(0, &memory, 0) && engine.reaches(host.page(), &memory, 0));
            memory.put(0, &random(64));
            engine.rig.unmap(0, host.page()).0.unwrap();
            assert!(!engine.reaches(0, &memory, 0));
            assert!(
                engine.reaches(host.page(), &memory, 0),
                "the other is there still"
            );
        },
    ),
];

/// A device with a BAR of memory in a container, and the start of that BAR, mapped.
fn with_bar(host: &Host) -> (Memory, Open, Rig) {
    let (rig, open) = host.open(Trait::Memory);
    let bars = &host.device(Trait::Memory).bars;
    let is_memory =
        |bar: &Option<Bar>| bar.is_some_and(|bar| matches!(bar.kind, BarKind::Memory { .. }));
    let bar = bars.iter().position(is_memory).unwrap();
    let page = usize::try_from(host.page()).unwrap();
    let memory = Memory::of_bar(host.kernel(), &open, u32::try_from(bar).unwrap(), page);
    (memory, open, rig)
}
