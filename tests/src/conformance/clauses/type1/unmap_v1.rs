//! B29: unmapping, version 1.

use vfio_core::uapi::TYPE1_IOMMU;

use super::put;
use super::reach::Engine;
use crate::conformance::clause::Needs::{Device, Type1};
use crate::conformance::clause::{Clause, Trait, both};
use crate::conformance::host::Host;
use crate::conformance::rig::Rig;

pub(super) const CLAUSES: &[Clause] = &[
    both(
        &["B29"],
        "what covers the first page of a mapping takes all of it",
        &[Type1],
        |host| {
            let (rig, page) = two_of_two(host);
            assert_eq!(
                rig.unmap(2 * page, page),
                (Ok(0), 2 * page),
                "more than was asked"
            );
            assert_eq!(
                rig.unmap(3 * page, page),
                (Ok(0), 0),
                "the rest went with it"
            );
            assert_eq!(host.locked(), 2 * page);
        },
    ),
    both(
        &["B29"],
        "what begins before a mapping and ends inside takes all of it",
        &[Type1],
        |host| {
            let (rig, page) = two_of_two(host);
            assert_eq!(rig.unmap(page, 2 * page), (Ok(0), 2 * page));
        },
    ),
    both(
        &["B29"],
        "what covers the first pages of several takes all of them",
        &[Type1],
        |host| {
            let (rig, page) = two_of_two(host);
            assert_eq!(rig.unmap(0, 5 * page), (Ok(0), 4 * page));
            assert_eq!(host.locked(), 0);
        },
    ),
    both(
        &["B29"],
        "what does not cover the first page takes nothing",
        &[Type1],
        |host| {
            let (rig, page) = two_of_two(host);
            assert_eq!(rig.unmap(3 * page, page), (Ok(0), 0));
            assert_eq!(
                rig.unmap(5 * page, 11 * page),
                (Ok(0), 0),
                "and ends far behind"
            );
            all_there(&rig, page);
        },
    ),
    both(
        &["B29"],
        "what begins inside one mapping takes nothing of the next either",
        &[Type1],
        |host| {
            let (rig, page) = two_of_two(host);
            assert_eq!(rig.unmap(3 * page, 2 * page), (Ok(0), 0));
            assert_eq!(rig.unmap(3 * page, 3 * page), (Ok(0), 0), "all of the next");
            all_there(&rig, page);
        },
    ),
    both(
        &["B29"],
        "where nothing is, nothing is unmapped",
        &[Type1],
        |host| {
            let (rig, page) = two_of_two(host);
            assert_eq!(rig.unmap(0, 2 * page), (Ok(0), 0));
            assert_eq!(rig.unmap(6 * page, page), (Ok(0), 0));
            all_there(&rig, page);
        },
    ),
    both(&["B29"], "exactly a mapping goes", &[Type1], |host| {
        let (rig, page) = two_of_two(host);
        assert_eq!(rig.unmap(4 * page, 2 * page), (Ok(0), 2 * page));
        assert_eq!(rig.unmap(2 * page, 2 * page), (Ok(0), 2 * page));
    }),
    both(
        &["B29"],
        "what lies beyond the request is not reached any more",
        &[Type1, Device(Trait::Engine)],
        |host| {
            let (engine, memory) = (Engine::of(host, TYPE1_IOMMU), host.memory(2));
            let page = usize::try_from(host.page()).unwrap();
            engine.rig.map(0, &memory).unwrap();
            assert!(engine.reaches(host.page(), &memory, page));
            engine.rig.unmap(0, host.page()).0.unwrap();
            assert!(!engine.reaches(host.page(), &memory, page));
        },
    ),
    both(
        &["B29"],
        "what was not taken is reached whole",
        &[Type1, Device(Trait::Engine)],
        |host| {
            let (engine, memory) = (Engine::of(host, TYPE1_IOMMU), host.memory(2));
            let page = usize::try_from(host.page()).unwrap();
            engine.rig.map(0, &memory).unwrap();
            assert_eq!(engine.rig.unmap(host.page(), host.page()), (Ok(0), 0));
            assert!(engine.reaches(0, &memory, 0) && engine.reaches(host.page(), &memory, page));
        },
    ),
];

/// Mappings of two pages each, at pages 2 and 4, in version 1; and the size of a page.
fn two_of_two(host: &Host) -> (Rig, u64) {
    let (rig, memory) = (host.rig_of(TYPE1_IOMMU), host.memory(2));
    let page = host.page();
    put(&rig, 2 * page, &memory, 2 * page).unwrap();
    put(&rig, 4 * page, &memory, 2 * page).unwrap();
    (rig, page)
}

/// Both mappings are there.
fn all_there(rig: &Rig, page: u64) {
    assert_eq!(rig.unmap(2 * page, 2 * page), (Ok(0), 2 * page));
    assert_eq!(rig.unmap(4 * page, 2 * page), (Ok(0), 2 * page));
}
