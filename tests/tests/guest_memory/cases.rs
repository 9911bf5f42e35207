//! What the page of guest memory says, one by one.

use std::sync::Arc;

use iommu_spapr::{SPAPR_V1, SPAPR_V2};
use iommu_type1::TYPE1_V2;
use vfio_core::ErrorKind;
use vfio_core::address::{Access, Iova, IovaRange};
use vfio_core::guest::{self, Edit};
use vfio_core::kernel::{Errno, Kernel};
use vfio_sim::wrap::Mode;
use vfio_tests::guest::{Change, Kind, Model, Ram, Section};

use crate::world::{World, pages_of, range};

const MAP: &str = "VFIO_IOMMU_MAP_DMA";
const UNMAP: &str = "VFIO_IOMMU_UNMAP_DMA";

/// RAM of block 0, where it is in the guest too.
fn ram(at: usize, len: usize) -> Section {
    Section {
        at,
        len,
        block: 0,
        offset: at,
        kind: Kind::Ram,
        unit: None,
    }
}

fn in_unit(section: Section) -> Section {
    Section {
        unit: Some(1),
        ..section
    }
}

fn rom(section: Section) -> Section {
    Section {
        kind: Kind::Rom,
        ..section
    }
}

/// A world whose one device reaches some sections.
struct Case {
    world: World,
    model: Model,
}

impl Case {
    fn of(sections: impl IntoIterator<Item = Section>) -> Self {
        Self::on(World::new(TYPE1_V2, 1), sections)
    }

    fn on(world: World, sections: impl IntoIterator<Item = Section>) -> Self {
        let mut case = Self {
            world,
            model: Model::default(),
        };
        case.exchange([], sections);
        case
    }

    /// Removes and inserts; answers which ioctls that took, and what was interrupted.
    fn exchange(
        &mut self,
        removed: impl IntoIterator<Item = Section>,
        inserted: impl IntoIterator<Item = Section>,
    ) -> (Vec<String>, Vec<IovaRange>) {
        let change = Change {
            removed: removed.into_iter().collect(),
            inserted: inserted.into_iter().collect(),
        };
        self.world.failing.disarm();
        let committed = self.world.commit(&self.model, &change).unwrap();
        let calls = self.world.failing.seen();
        assert!(
            self.world
                .lost()
                .is_subset(&pages_of(&committed.interrupted))
        );
        self.model = self.model.after(&change).unwrap();
        self.world.check(&self.model);
        let calls = calls.into_iter().map(|name| name.to_string());
        (calls.collect(), committed.interrupted)
    }
}

#[test]
fn sections_that_leave_together_are_one_mapping() {
    let mut case = Case::of([]);
    let parts: Vec<_> = (0..20).map(|at| in_unit(ram(at, 1))).collect();
    assert_eq!(case.exchange([], parts.clone()).0, [MAP]);
    assert_eq!(case.exchange(parts, []).0, [UNMAP]);
}

#[test]
fn a_section_that_may_leave_alone_has_a_mapping_of_its_own() {
    let mut case = Case::of([]);
    let parts = [ram(0, 4), ram(4, 4)];
    assert_eq!(case.exchange([], parts).0, [MAP, MAP]);
    assert_eq!(case.exchange([parts[0]], []), (vec![UNMAP.into()], vec![]));
}

#[test]
fn what_does_not_follow_in_memory_is_not_joined() {
    let mut case = Case::of([]);
    let apart = Section {
        offset: 9,
        ..ram(4, 4)
    };
    let parts = [ram(0, 4), apart].map(in_unit);
    assert_eq!(case.exchange([], parts).0, [MAP, MAP]);
    let read_only = [ram(10, 2), rom(ram(12, 2))].map(in_unit);
    assert_eq!(case.exchange([], read_only).0, [MAP, MAP]);
}

#[test]
fn a_section_that_grows_keeps_what_it_has() {
    let mut case = Case::of([ram(0, 4)]);
    let grown = case.exchange([ram(0, 4)], [ram(0, 9)]);
    assert_eq!(grown, (vec![MAP.into()], vec![]));
    let shrunk = case.exchange([ram(0, 9)], [ram(0, 4)]);
    assert_eq!(
        shrunk,
        (vec![UNMAP.into()], vec![]),
        "what it grew by was a mapping"
    );
}

#[test]
fn what_is_cut_is_mapped_again_and_reported() {
    let mut case = Case::of([ram(0, 9)]);
    let (calls, interrupted) = case.exchange([ram(0, 9)], [ram(0, 4)]);
    assert_eq!(calls, [UNMAP, MAP]);
    assert_eq!(interrupted, [range(0, 4)]);
}

/// Windows are mapped page by page: what stays is not touched (C45).
#[test]
fn what_is_cut_in_a_window_stays_mapped() {
    for backend in [SPAPR_V1, SPAPR_V2] {
        let world = World::new(backend, 1);
        let mut case = Case::on(world, [ram(3, 5), ram(8, 2)].map(in_unit));
        let cut = case.exchange([ram(3, 5)].map(in_unit), [ram(3, 2)].map(in_unit));
        assert_eq!(cut, (vec![UNMAP.to_owned()], vec![]), "{}", backend.name);
    }
}

#[test]
fn other_rights_are_an_interruption() {
    let mut case = Case::of([ram(0, 4), ram(4, 4)]);
    let (calls, interrupted) = case.exchange([ram(4, 4)], [rom(ram(4, 4))]);
    assert_eq!(calls, [UNMAP, MAP]);
    assert_eq!(interrupted, [range(4, 4)]);
}

#[test]
fn what_comes_is_mapped_before_what_goes_is_unmapped() {
    let mut case = Case::of([ram(0, 4)]);
    assert_eq!(case.exchange([ram(0, 4)], [ram(8, 4)]).0, [MAP, UNMAP]);
}

#[test]
fn what_goes_together_is_unmapped_at_once() {
    let parts = [ram(0, 4), ram(4, 4), rom(ram(12, 2))];
    let mut case = Case::of(parts);
    assert_eq!(case.exchange(parts, []).0, [UNMAP]);
    let _ = case.exchange([], parts);
    assert_eq!(
        case.exchange([parts[0], parts[2]], []).0,
        [UNMAP, UNMAP],
        "one is left between"
    );
}

#[test]
fn somebody_elses_buffer_is_left_between() {
    let parts = [ram(0, 4), ram(8, 4)];
    let mut case = Case::of(parts);
    let domain = case.world.domains().next().unwrap().clone();
    let between = range(5, 1).first();
    let buffer = domain.buffer(4096, between, Access::ReadWrite).unwrap();
    let change = Change {
        removed: parts.to_vec(),
        inserted: vec![],
    };
    case.world.failing.disarm();
    let _ = case
        .world
        .space
        .edit()
        .remove(range(0, 4))
        .remove(range(8, 4))
        .commit()
        .unwrap();
    assert_eq!(case.world.failing.seen(), [UNMAP, UNMAP]);
    let left = case.world.sim.mappings();
    assert_eq!(
        left.iter().map(|it| it.iova).collect::<Vec<_>>(),
        [between.0]
    );
    drop(buffer);
    case.model = case.model.after(&change).unwrap();
    case.world.check(&case.model);
}

#[test]
fn what_devices_do_not_reach_takes_no_call() {
    let mut case = Case::of([]);
    let of = |kind, at| Section { kind, ..ram(at, 2) };
    let sections = [of(Kind::Registers, 0), of(Kind::Protected, 4)];
    assert_eq!(case.exchange([], sections).0, [""; 0]);
    assert_eq!(case.exchange(sections, []).0, [""; 0]);
}

#[test]
fn another_devices_memory_with_a_part_of_a_page_is_left_out() {
    let world = World::new(TYPE1_V2, 1);
    let kernel: Arc<dyn Kernel> = Arc::new(world.sim.clone());
    let bar = Ram::new(&kernel, 1 << 16).unwrap();
    let peer = |first: u64, size: u64, offset| {
        let range = IovaRange::new(Iova(range(0, 1).first().0 + first), size).unwrap();
        guest::Section::peer(range, bar.block(), offset).unwrap()
    };
    let partly = [
        peer(0x0, 0x100, 0),
        peer(0x1000, 0x1800, 0),
        peer(0x4800, 0x1000, 0),
        peer(0x8000, 0x1000, 0x800),
    ];
    let edit = world.space.edit().insert(peer(0x6000, 0x1000, 0x2000));
    let edit = partly.iter().cloned().fold(edit, Edit::insert);
    let committed = edit.commit().unwrap();
    assert!(committed.unreachable.is_empty(), "{committed:?}");
    let mapped = world.sim.mappings();
    let mapped: Vec<_> = mapped.iter().map(|it| (it.iova, it.size)).collect();
    assert_eq!(mapped, [(range(6, 1).first().0, 0x1000)]);

    let hole =
        guest::Section::peer(range((0xfee0_0000 - 0x10_0000) / 4096, 1), bar.block(), 0).unwrap();
    let committed = world.space.edit().insert(hole.clone()).commit().unwrap();
    let (named, why) = &committed.unreachable[0];
    assert_eq!((*named, why.kind()), (hole.range(), ErrorKind::OutOfReach));

    world.failing.disarm();
    let edit = partly
        .iter()
        .fold(world.space.edit(), |edit, it| edit.remove(it.range()));
    let _ = edit.commit().unwrap();
    assert_eq!(world.failing.seen(), [""; 0]);
    drop(bar);
    world.end();
}

#[test]
fn an_edit_that_is_dropped_is_none() {
    let case = Case::of([ram(0, 4)]);
    drop(case.world.space.edit().remove(range(0, 4)));
    case.world.check(&case.model);
}

#[test]
fn an_edit_is_refused_as_a_whole() {
    let case = Case::of([ram(0, 4)]);
    let refused = |removed: &[Section], inserted: &[Section]| {
        let change = Change {
            removed: removed.to_vec(),
            inserted: inserted.to_vec(),
        };
        case.world.failing.disarm();
        let error = case.world.commit(&case.model, &change).unwrap_err();
        assert_eq!(case.world.failing.seen().len(), 0, "the kernel was asked");
        case.world.check(&case.model);
        error
    };
    let there = refused(&[], &[ram(8, 2), ram(3, 1)]);
    assert_eq!(there.kind(), ErrorKind::Overlap);
    assert!(
        there
            .to_string()
            .contains("[0x100000-0x103fff] of RAM is there"),
        "{there}"
    );
    assert_eq!(
        refused(&[], &[ram(8, 2), ram(9, 2)]).kind(),
        ErrorKind::Overlap
    );
    assert_eq!(refused(&[ram(0, 3)], &[]).kind(), ErrorKind::Invalid);
    assert_eq!(
        refused(&[ram(0, 4), ram(0, 4)], &[]).kind(),
        ErrorKind::Invalid
    );
    let hole = Section {
        at: (0xfee0_0000 - 0x10_0000) / 4096,
        ..ram(0, 1)
    };
    let outside = refused(&[], &[hole]);
    assert_eq!(outside.kind(), ErrorKind::OutOfReach);
    assert!(
        outside
            .to_string()
            .contains("section [0xfee00000-0xfee00fff] of RAM"),
        "{outside}"
    );
}

#[test]
fn somebody_elses_buffer_is_left_alone() {
    let case = Case::of([]);
    let domain = case.world.domains().next().unwrap();
    let start = range(0, 1).first();
    let buffer = domain.buffer(4096, start, Access::ReadWrite).unwrap();
    let change = Change {
        removed: vec![],
        inserted: vec![ram(0, 4)],
    };
    let error = case.world.commit(&case.model, &change).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Overlap, "{error}");
    drop(buffer);
    let _ = case.world.commit(&case.model, &change).unwrap();
}

#[test]
fn who_joins_gets_everything_and_who_leaves_nothing() {
    let world = World::new(TYPE1_V2, 2);
    let change = Change {
        removed: vec![],
        inserted: vec![ram(0, 4), rom(ram(6, 1))],
    };
    let _ = world.commit(&Model::default(), &change).unwrap();
    let second = world.domains().nth(1).unwrap();
    let count = world.sim.mappings().len();
    world.space.unfollow(second).unwrap();
    assert_eq!(world.sim.mappings().len() * 2, count);
    let _ = world.space.follow(second).unwrap();
    let _ = world.space.follow(second).unwrap();
    assert_eq!(world.sim.mappings().len(), count);
    world.end();
}

#[test]
fn too_many_mappings_are_counted_before_the_first_is_made() {
    let parts: Vec<_> = (0..4).map(|at| ram(at, 1)).collect();
    let mut case = Case::on(World::with_mappings(5, 1), parts.clone());
    let change = Change {
        removed: vec![parts[0]],
        inserted: vec![ram(8, 1), ram(9, 1), ram(10, 1), ram(12, 1)],
    };
    case.world.failing.disarm();
    let error = case.world.commit(&case.model, &change).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exhausted);
    let text = error.to_string();
    assert!(
        text.contains("it takes 3 more mappings, and the kernel has 1 left"),
        "{text}"
    );
    assert!(text.contains("2 fewer if sections"), "{text}");
    assert_eq!(case.world.failing.seen(), [""; 0]);
    case.world.check(&case.model);

    let together = change.inserted.iter().copied().map(in_unit);
    assert_eq!(
        case.exchange([parts[0]], together).0,
        [UNMAP, MAP, MAP],
        "room is made first"
    );
}

#[test]
fn a_context_that_has_ended_is_in_nobodys_way() {
    let mut world = World::new(TYPE1_V2, 2);
    let of = |inserted| Change {
        removed: vec![],
        inserted,
    };
    let _ = world
        .commit(&Model::default(), &of(vec![ram(0, 4)]))
        .unwrap();
    world.close_devices();
    assert_eq!(world.sim.mappings(), []);
    let _ = world.space.edit().remove(range(0, 4)).commit().unwrap();
    assert_eq!(world.space.torn().len(), 0);
    world.end();
}

#[test]
fn who_cannot_join_reaches_nothing() {
    let world = World::new(TYPE1_V2, 2);
    let second = world.domains().nth(1).unwrap();
    world.space.unfollow(second).unwrap();
    let change = Change {
        removed: vec![],
        inserted: vec![ram(0, 4), ram(6, 2)],
    };
    let _ = world.commit(&Model::default(), &change).unwrap();
    let follow = |mode| {
        world.failing.arm(1, Errno::NOMEM.into(), mode);
        let error = world.space.follow(second).unwrap_err();
        world.failing.disarm();
        error
    };
    let error = follow(Mode::Once);
    assert!(error.to_string().contains("nothing has changed"), "{error}");
    assert_eq!(world.sim.mappings().len(), 2);
    assert_eq!(follow(Mode::AndAllLater).kind(), ErrorKind::Torn);
    assert_eq!(world.sim.mappings().len(), 3);
    world.space.repair().unwrap();
    assert_eq!(world.sim.mappings().len(), 2);
    let _ = world.space.follow(second).unwrap();
    assert_eq!(world.sim.mappings().len(), 4);
    world.end();
}

#[test]
fn places_are_where_every_device_can_reach() {
    let case = Case::of([ram(0, 4)]);
    let space = &case.world.space;
    let hole = range((0xfee0_0000 - 0x10_0000) / 4096, 256);
    let usable = space.usable_ranges().unwrap();
    assert!(!usable.iter().any(|it| it.overlaps(hole)), "{usable:?}");
    assert_eq!(space.place(4096, 4096, range(0, 9)).unwrap(), range(4, 1));
    assert_eq!(
        space.place(4096, 1 << 16, range(0, 99)).unwrap(),
        range(16, 1)
    );
    let before_hole = IovaRange::inclusive(range(0, 1).first(), hole.last()).unwrap();
    let full = space.place(1 << 32, 4096, before_hole).unwrap_err();
    assert_eq!(full.kind(), ErrorKind::Exhausted, "{full}");
    for (size, align) in [(0, 4096), (4096, 0), (4096, 3)] {
        let error = space.place(size, align, before_hole).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    }
}
