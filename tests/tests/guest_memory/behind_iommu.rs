//! What a guest maps in its own IOMMU, against a model: random requests, edits of its memory between them, and devices
//! that join.

use std::collections::{BTreeMap, BTreeSet};

use iommu_spapr::{SPAPR_V1, SPAPR_V2};
use iommu_type1::{TYPE1, TYPE1_V2};
use proptest::prelude::*;
use vfio_core::ErrorKind;
use vfio_core::address::{Access, Iova, IovaRange};
use vfio_core::guest::{GuestIommu, Request, Translation};
use vfio_core::iommu::Registration;
use vfio_core::kernel::Errno;
use vfio_sim::wrap::Mode;
use vfio_tests::guest::{Change, Kind, Model, Numbers, Op, PAGES, Page, Section};

use crate::world::{PAGE, Reached, World, mapped, pages_of, range};

const MAP: &str = "VFIO_IOMMU_MAP_DMA";
const UNMAP: &str = "VFIO_IOMMU_UNMAP_DMA";

/// The devices' addresses begin here.
const BASE: u64 = 1 << 28;
const DEVICE_PAGES: usize = 40;

#[derive(Debug, Clone)]
enum Step {
    Edit(Vec<Op>),
    Apply(Vec<Request>),
    Join,
}

/// By a page of the devices: that of the guest, and what the guest allows.
type Table = BTreeMap<usize, (usize, Access)>;

struct Behind {
    iommu: GuestIommu,
    world: World,
    memory: Model,
    table: Table,
    joined: usize,
    /// What stays of a mapping that is cut is not touched.
    takes_parts: bool,
}

impl Behind {
    fn new(registration: Registration) -> Self {
        let world = World::apart(registration, 2);
        Self {
            iommu: GuestIommu::of(&world.space),
            world,
            memory: Model::default(),
            table: Table::new(),
            joined: 0,
            takes_parts: [SPAPR_V1, SPAPR_V2]
                .iter()
                .any(|it| it.name == registration.name),
        }
    }

    /// What devices reach.
    fn reached(&self) -> Reached {
        let pages = self.memory.pages();
        let live = self.table.iter().filter(|_| self.joined > 0);
        let reached = live.map(|(at, (guest, access))| {
            let page = reach(&pages, *guest, *access).unwrap();
            (
                self.world.reached(device(*at, 1).first(), page),
                self.joined,
            )
        });
        reached.collect()
    }

    fn check(&self) {
        assert_eq!(mapped(&self.world.sim), self.reached());
        self.world.lost();
    }

    fn step(&mut self, step: &Step) -> vfio_core::Result<()> {
        match step {
            Step::Edit(ops) => self.edit(&self.memory.change(ops)),
            Step::Apply(requests) => self.apply(requests),
            Step::Join => self.join(),
        }
    }

    fn edit(&mut self, change: &Change) -> vfio_core::Result<()> {
        let Some(memory) = self.memory.after(change) else {
            return Ok(());
        };
        let (old, new) = (self.memory.pages(), memory.pages());
        let is_peer = |page: usize| {
            let mut sections = memory.sections.iter();
            sections.any(|it| it.kind == Kind::Peer && (it.at..it.at + it.len).contains(&page))
        };
        let mut table = self.table.clone();
        table.retain(|_, (guest, access)| {
            let is_alike = old.get(guest) == new.get(guest);
            reach(&new, *guest, *access).is_some() && (is_alike || !is_peer(*guest))
        });
        let before = self.reached();
        let (old_memory, old_table) = (self.memory.clone(), self.table.clone());
        (self.memory, self.table) = (memory, table);
        self.world.expect(before, self.reached());
        match self.world.edit(change) {
            Ok(committed) => {
                let interrupted = pages_of(&committed.interrupted);
                for at in self.world.lost() {
                    let at = usize::try_from(at - BASE).unwrap() / PAGE;
                    let guest = range(self.table[&at].0, 1).first().0;
                    assert!(interrupted.contains(&guest), "{guest:#x}: {interrupted:x?}");
                }
                Ok(())
            }
            Err(error) => {
                (self.memory, self.table) = (old_memory, old_table);
                Err(error)
            }
        }
    }

    /// Does all that can be done of the requests, as an emulator would.
    fn apply(&mut self, requests: &[Request]) -> vfio_core::Result<()> {
        let mut rest = requests;
        while !rest.is_empty() {
            let mut after = self.reached();
            let before = self.table.clone();
            for request in rest {
                self.note(request);
                let more = self.reached();
                if rest.len() > 1 {
                    after.extend(more); // what is reached on the way
                } else {
                    after = more;
                }
            }
            self.table = before;
            let before = self.reached();
            match rest {
                [Request::Map(_)] => self.world.expect(before, after),
                [_] if self.takes_parts => self.world.expect(before, after),
                // What is cut may be lost for a moment.
                _ => self
                    .world
                    .expect(before.into_iter().chain(after).collect(), Reached::new()),
            }
            let unmade = self.iommu.apply(rest).err();
            let made = unmade.as_ref().map_or(rest.len(), |it| it.made);
            for request in &rest[..made] {
                self.note(request);
            }
            rest = rest.get(made + 1..).unwrap_or_default();
            if let Some(unmade) = unmade {
                if unmade.error.kind() != ErrorKind::Overlap {
                    return Err(unmade.error);
                }
                let failed = &requests[requests.len() - rest.len() - 1];
                assert!(self.conflicts(failed), "{failed:?}: {}", unmade.error);
            }
        }
        assert_eq!(self.world.lost(), BTreeSet::new());
        Ok(())
    }

    /// The requested pages that devices can reach, by the device's page.
    fn wanted(&self, it: &Translation) -> Vec<(usize, (usize, Access))> {
        let pages = self.memory.pages();
        let at = usize::try_from(it.range.first().0 - BASE).unwrap() / PAGE;
        let guest = usize::try_from(it.to.0 - range(0, 1).first().0).unwrap() / PAGE;
        let len = usize::try_from(it.range.size()).unwrap() / PAGE;
        let all = (0..len).map(|n| (at + n, (guest + n, it.access)));
        all.filter(|(_, (guest, access))| reach(&pages, *guest, *access).is_some())
            .collect()
    }

    fn conflicts(&self, request: &Request) -> bool {
        match request {
            Request::Map(it) => {
                let mut wanted = self.wanted(it).into_iter();
                wanted.any(|(at, _)| self.table.contains_key(&at))
            }
            Request::Unmap(_) => false,
        }
    }

    /// Does a request in the model, if it can be done.
    fn note(&mut self, request: &Request) {
        match request {
            Request::Map(it) if !self.conflicts(request) => {
                let wanted = self.wanted(it);
                self.table.extend(wanted);
            }
            Request::Map(_) => {}
            Request::Unmap(gone) => self.table.retain(|at, _| !gone.contains(device(*at, 1))),
        }
    }

    fn join(&mut self) -> vfio_core::Result<()> {
        let translations: Vec<_> = self
            .table
            .iter()
            .map(|(at, (guest, access))| Translation {
                range: device(*at, 1),
                to: range(*guest, 1).first(),
                access: *access,
            })
            .collect();
        let before = self.reached();
        let Some(domain) = self.world.domains().nth(self.joined).cloned() else {
            return Ok(());
        };
        self.joined += 1;
        self.world.expect(before, self.reached());
        let joined = self.iommu.follow(&domain, translations);
        assert_eq!(self.world.lost(), BTreeSet::new());
        self.joined -= usize::from(joined.is_err());
        joined
    }

    fn end(self) {
        drop(self.iommu);
        assert_eq!(self.world.sim.mappings(), []);
        self.world.end();
    }
}

/// What a device finds behind a page of the guest, by such a translation.
fn reach(pages: &BTreeMap<usize, Page>, guest: usize, access: Access) -> Option<Page> {
    let (block, page, writes) = *pages.get(&guest)?;
    let memory = if writes {
        Access::ReadWrite
    } else {
        Access::Read
    };
    Some((block, page, memory.common(access)?.writes()))
}

fn device(at: usize, len: usize) -> IovaRange {
    IovaRange::new(Iova(BASE + (at * PAGE) as u64), (len * PAGE) as u64).unwrap()
}

fn translation(at: usize, len: usize, guest: usize, access: Access) -> Translation {
    Translation {
        range: device(at, len),
        to: range(guest, 1).first(),
        access,
    }
}

fn map(at: usize, len: usize, guest: usize) -> Request {
    Request::Map(translation(at, len, guest, Access::ReadWrite))
}

fn request([what, at, len, guest, access]: [u8; 5]) -> Request {
    let [at, len, guest] = [at, len, guest].map(usize::from);
    let (at, len) = (at % DEVICE_PAGES, 1 + len % 9);
    match what % 9 {
        0..5 => {
            let access = match access % 6 {
                0..4 => Access::ReadWrite,
                4 => Access::Read,
                _ => Access::Write,
            };
            Request::Map(translation(at, len, guest % PAGES, access))
        }
        5..8 => Request::Unmap(device(at, len)),
        _ => Request::Unmap(IovaRange::inclusive(Iova(0), Iova(u64::MAX)).unwrap()),
    }
}

fn steps(count: usize) -> impl Strategy<Value = Vec<Step>> {
    let op = any::<Numbers>().prop_map(Op::of);
    let edit = prop::collection::vec(op, 1..4).prop_map(Step::Edit);
    let request = any::<[u8; 5]>().prop_map(request);
    let step = prop_oneof![
        3 => edit,
        4 => prop::collection::vec(request.clone(), 1..=1).prop_map(Step::Apply),
        2 => prop::collection::vec(request, 1..6).prop_map(Step::Apply),
        1 => Just(Step::Join),
    ];
    prop::collection::vec(step, 1..count)
}

/// RAM of most of the guest's addresses, and a device: then the rest.
fn started(registration: Registration, steps: &[Step]) -> Behind {
    let mut behind = Behind::new(registration);
    let ram = |at, len, block| Section {
        at,
        len,
        block,
        offset: 0,
        kind: Kind::Ram,
        unit: None,
    };
    let inserted = vec![ram(0, 11, 0), ram(11, 8, 1), ram(24, 9, 2)];
    let change = Change {
        removed: vec![],
        inserted,
    };
    behind.edit(&change).unwrap();
    behind.join().unwrap();
    for step in steps {
        behind.step(step).unwrap();
        behind.check();
    }
    behind
}

proptest! {
    #[test]
    fn devices_reach_what_the_guest_has_mapped(steps in steps(25), backend in 0..3_usize) {
        started([TYPE1, TYPE1_V2, SPAPR_V2][backend], &steps).end();
    }

    #[test]
    fn what_fails_is_done_in_no_domain(steps in steps(8), backend in 0..2_usize) {
        let backend = [TYPE1_V2, SPAPR_V2][backend];
        let Some((last, before)) = steps.split_last() else {
            return Ok(());
        };
        let last = &match last {
            // Those before the one that fails are done: one is enough.
            Step::Apply(requests) => Step::Apply(requests[..1].to_vec()),
            other => other.clone(),
        };
        let mut before = before.to_vec();
        before.push(Step::Join);
        let mut behind = started(backend, &before);
        behind.world.failing.disarm();
        behind.step(last).unwrap();
        let calls = behind.world.failing.seen().len();
        behind.end();
        for n in 0..calls {
            for mode in [Mode::Once, Mode::AndAllLater] {
                fail(backend, (&before, last), (n, mode));
            }
        }
    }
}

/// Has one call of the last step fail.
fn fail(backend: Registration, (before, last): (&[Step], &Step), (n, mode): (usize, Mode)) {
    let mut behind = started(backend, before);
    behind.world.failing.disarm();
    behind.world.failing.arm(n, Errno::NOMEM.into(), mode);
    let result = behind.step(last);
    let failed = behind.world.failing.failed();
    behind.world.failing.disarm();
    let failed = failed.unwrap_or_else(|| panic!("call {n} was not made"));
    let is_unmap =
        matches!(last, Step::Apply(requests) if matches!(requests[..], [Request::Unmap(_)]));
    match result {
        // No device reaches what stays registered.
        Ok(()) if failed == "VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY" => return,
        Ok(()) => {
            // Other devices' memory, which need not be there.
            let peer = |it: &Section| it.kind == Kind::Peer;
            assert!(
                behind.memory.sections.iter().any(peer),
                "nobody says that it failed"
            );
            return;
        }
        Err(error) if error.kind() == ErrorKind::Torn => {
            assert_ne!(behind.world.space.torn().len(), 0);
            let refused = behind.step(last).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Torn, "{refused}");
            behind.world.space.repair().unwrap();
        }
        Err(_) => {}
    }
    if !is_unmap {
        behind.check(); // what was unmapped in one domain stays so
    }
    behind.step(last).unwrap();
    behind.check();
    behind.end();
}

fn calls(behind: &Behind, requests: &[Request]) -> Vec<String> {
    behind.world.failing.disarm();
    behind.iommu.apply(requests).unwrap();
    let seen = behind.world.failing.seen().into_iter();
    seen.map(|name| name.to_string()).collect()
}

#[test]
fn what_was_never_mapped_or_is_so_already_is_no_call() {
    let behind = started(TYPE1_V2, &[]);
    let everything = Request::Unmap(IovaRange::inclusive(Iova(0), Iova(u64::MAX)).unwrap());
    assert_eq!(
        calls(&behind, &[everything, Request::Unmap(device(3, 2))]),
        <[&str; 0]>::default()
    );
    assert_eq!(calls(&behind, &[map(0, 2, 5)]), [MAP]);
    assert_eq!(calls(&behind, &[map(0, 2, 5)]), <[&str; 0]>::default());
    let other = behind.iommu.apply(&[map(0, 2, 6)]).unwrap_err();
    assert_eq!((other.made, other.error.kind()), (0, ErrorKind::Overlap));
    assert_eq!(
        calls(&behind, &[Request::Unmap(device(4, 9))]),
        <[&str; 0]>::default()
    );
    behind.end();
}

#[test]
fn unmaps_that_follow_each_other_are_one_call() {
    let behind = started(TYPE1_V2, &[]);
    let maps: Vec<_> = (0..9).map(|n| map(n, 1, n)).collect();
    assert_eq!(calls(&behind, &maps), [MAP; 9]);
    let unmaps: Vec<_> = (0..9).map(|n| Request::Unmap(device(n, 1))).collect();
    assert_eq!(calls(&behind, &unmaps), [UNMAP]);
    behind.end();
}

#[test]
fn a_range_of_several_sections_is_as_many_mappings_and_goes_at_once() {
    let behind = started(TYPE1_V2, &[]);
    // Two sections, a gap, and a third one.
    assert_eq!(calls(&behind, &[map(0, 30, 2)]), [MAP; 3]);
    assert_eq!(calls(&behind, &[Request::Unmap(device(0, 30))]), [UNMAP]);
    behind.end();
}

#[test]
fn what_stays_of_a_mapping_that_is_cut_is_mapped_again() {
    let behind = started(TYPE1_V2, &[]);
    assert_eq!(calls(&behind, &[map(0, 9, 0)]), [MAP]);
    let cut = calls(&behind, &[Request::Unmap(device(3, 2))]);
    assert_eq!(cut, [UNMAP, MAP, MAP]);
    let pages: BTreeSet<_> = mapped(&behind.world.sim)
        .into_keys()
        .map(|it| it.0)
        .collect();
    assert_eq!(pages, pages_of(&[device(0, 3), device(5, 4)]));
    behind.end();
}

/// Windows are mapped page by page: what stays is not touched (C45).
#[test]
fn what_stays_of_a_mapping_in_a_window_is_not_mapped_again() {
    for backend in [SPAPR_V1, SPAPR_V2] {
        let mut behind = started(backend, &[]);
        let mut calls = |request| {
            behind.world.failing.disarm();
            behind.step(&Step::Apply(vec![request])).unwrap();
            let seen = behind.world.failing.seen().into_iter();
            let seen: Vec<_> = seen.map(|name| name.to_string()).collect();
            behind.check();
            seen
        };
        assert_eq!(calls(map(0, 9, 0)), [MAP]);
        assert_eq!(calls(Request::Unmap(device(3, 2))), [UNMAP]);
        // Several pieces, and what is between them, at once.
        assert_eq!(calls(Request::Unmap(device(1, 7))), [UNMAP]);
        assert_eq!(calls(map(20, 6, 0)), [MAP]);
        // Of memory that goes, too: the guest's first page, which the device's first one leads to.
        let section = behind.memory.sections[0];
        let rest = Section {
            at: section.at + 1,
            len: section.len - 1,
            offset: section.offset + 1,
            ..section
        };
        behind.world.failing.disarm();
        behind
            .edit(&Change {
                removed: vec![section],
                inserted: vec![rest],
            })
            .unwrap();
        let seen: Vec<_> = behind.world.failing.seen().into_iter().collect();
        assert!(seen.iter().all(|call| *call != MAP), "{seen:?}");
        assert_eq!(behind.world.lost(), BTreeSet::new());
        behind.check();
        behind.end();
    }
}

#[test]
fn a_device_is_behind_one_iommu_or_none() {
    let behind = started(TYPE1_V2, &[]);
    let domain = behind.world.domains().next().unwrap().clone();
    let error = behind.world.space.follow(&domain).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    let other = GuestIommu::of(&behind.world.space);
    let error = other.follow(&domain, []).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    behind.iommu.apply(&[map(0, 2, 5)]).unwrap();
    behind.iommu.unfollow(&domain).unwrap();
    assert_eq!(behind.world.sim.mappings(), []);
    // As a guest does that gives a device its own memory.
    let _ = behind.world.space.follow(&domain).unwrap();
    assert_eq!(behind.world.sim.mappings().len(), 3);
    let error = behind.iommu.follow(&domain, []).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    behind.world.space.unfollow(&domain).unwrap();
    behind.iommu.follow(&domain, []).unwrap();
    drop((other, domain));
    behind.end();
}

#[test]
fn what_somebody_else_has_mapped_is_left_alone() {
    let behind = started(TYPE1_V2, &[]);
    let domain = behind.world.domains().next().unwrap().clone();
    let buffer = domain
        .buffer(PAGE, device(2, 1).first(), Access::Read)
        .unwrap();
    let error = behind.iommu.apply(&[map(1, 3, 0)]).unwrap_err();
    assert_eq!((error.made, error.error.kind()), (0, ErrorKind::Overlap));
    let around = calls(&behind, &[map(0, 2, 0), map(3, 2, 0)]);
    assert_eq!(around, [MAP, MAP]);
    let gone = calls(&behind, &[Request::Unmap(device(0, 9))]);
    assert_eq!(gone, [UNMAP, UNMAP]);
    assert_eq!(
        calls(&behind, &[Request::Unmap(device(2, 1))]),
        <[&str; 0]>::default()
    );
    let left: Vec<_> = behind
        .world
        .sim
        .mappings()
        .iter()
        .map(|it| it.iova)
        .collect();
    assert_eq!(left, [buffer.iova().0]);
    drop((buffer, domain));
    behind.end();
}

#[test]
fn what_cannot_be_is_said_and_those_before_it_are_made() {
    let behind = started(TYPE1_V2, &[]);
    let everywhere = behind.iommu.usable_ranges().unwrap();
    let top = everywhere.last().unwrap().last().0;
    let at = |start: u64, to: u64, size: u64| {
        Request::Map(Translation {
            range: IovaRange::new(Iova(start), size).unwrap(),
            to: Iova(to),
            access: Access::ReadWrite,
        })
    };
    let page = PAGE as u64;
    let ram = range(0, 1).first().0;
    for (wrong, kind) in [
        (at(BASE + 1, ram, page), ErrorKind::Invalid),
        (at(BASE, ram + 8, page), ErrorKind::Invalid),
        (at(BASE, ram, page / 2), ErrorKind::Invalid),
        (at(BASE, u64::MAX - 1, page), ErrorKind::Invalid),
        (at(top + 1, ram, page), ErrorKind::OutOfReach),
    ] {
        let all = [map(0, 1, 0), wrong, map(1, 1, 1)];
        let unmade = behind.iommu.apply(&all).unwrap_err();
        assert_eq!((unmade.made, unmade.error.kind()), (1, kind), "{unmade}");
        assert_eq!(behind.world.sim.mappings().len(), 1);
    }
    assert_eq!(behind.iommu.page_size(), page);
    behind.end();
}
