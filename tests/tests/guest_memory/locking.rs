//! What may be locked is compared with what would be.
#![allow(unsafe_code)] // memory of a file

use std::ptr;

use iommu_type1::TYPE1_V2;
use rustix::mm::{MapFlags, ProtFlags};
use vfio_core::address::HostRange;
use vfio_core::guest::{self, Block, Edit};
use vfio_core::kernel::Errno;
use vfio_core::{Error, ErrorKind};
use vfio_sim::Rights;
use vfio_tests::guest::{Change, Kind, Model, Section};

use crate::rig::{Asked, MIB, PAGE, Rig, place, ram};
use crate::world::World;

fn has_mapped(rig: &Rig) -> bool {
    let map = Asked::Ioctl("VFIO_IOMMU_MAP_DMA".to_owned());
    rig.take().contains(&map)
}

/// It names the limit, and the diagnosis does.
fn names(error: &Error, rig: &Rig, enough: usize) {
    assert_eq!(error.kind(), ErrorKind::Exhausted, "{error}");
    assert_eq!(error.memlock(), Some(enough as u64), "{error}");
    let diagnosis = error.diagnose(&*rig.kernel).unwrap();
    assert_eq!(diagnosis.code, "VFIO-04");
    let remedy = format!("raise the limit to {enough} bytes");
    assert!(
        diagnosis.remedies[0].what.contains(&remedy),
        "{diagnosis:?}"
    );
}

#[test]
fn a_limit_that_is_too_low_is_named_before_anything_is_done() {
    let rig = Rig::new();
    let before = rig.block(fastrand::usize(1..100) * PAGE);
    let _ = rig.space.edit().insert(ram(0, &before)).commit().unwrap();
    let (one, two) = (rig.block(40 * MIB), rig.block(24 * MIB));
    rig.take();
    let enough = before.range().len() + one.range().len() + two.range().len();
    let edit = || rig.space.edit().insert(ram(1, &one)).insert(ram(2, &two));

    rig.sim.set_rights(Rights::user(enough as u64 - 1));
    let error = edit().commit().unwrap_err();
    names(&error, &rig, enough);
    assert_eq!(rig.take(), []);

    rig.sim.set_rights(Rights::user(enough as u64));
    let _ = edit().commit().unwrap();
    assert_eq!(rig.sim.locked(), enough as u64);
}

#[test]
fn each_mapping_counts_and_so_does_what_goes_afterwards() {
    let rig = Rig::new();
    let (old, new) = (rig.block(40 * MIB), rig.block(40 * MIB));
    let edit = rig.space.edit().insert(ram(1, &old)).insert(ram(2, &old));
    rig.sim.set_rights(Rights::user(80 * MIB as u64 - 1));
    names(&edit.commit().unwrap_err(), &rig, 80 * MIB);
    rig.sim.set_rights(Rights::ROOT);
    let _ = rig.space.edit().insert(ram(1, &old)).commit().unwrap();
    // What comes is mapped before the other goes.
    let exchange = || rig.space.edit().remove(place(1, &old)).insert(ram(2, &new));
    rig.sim.set_rights(Rights::user(80 * MIB as u64 - 1));
    names(&exchange().commit().unwrap_err(), &rig, 80 * MIB);
    rig.sim.set_rights(Rights::user(80 * MIB as u64));
    let _ = exchange().commit().unwrap();
    // In its place it is mapped when the other has gone.
    rig.sim.set_rights(Rights::user(40 * MIB as u64));
    let in_place = rig.space.edit().remove(place(2, &new)).insert(ram(2, &old));
    let _ = in_place.commit().unwrap();
}

#[test]
fn who_may_lock_all_is_not_held_up() {
    let rig = Rig::new();
    let block = rig.block(64 * MIB);
    for rights in [
        Rights {
            ipc_lock: true,
            ..Rights::user(0)
        },
        Rights {
            memlock: None,
            ..Rights::user(0)
        },
    ] {
        rig.sim.set_rights(rights);
        let _ = rig.space.edit().insert(ram(1, &block)).commit().unwrap();
        let _ = rig.space.edit().remove(place(1, &block)).commit().unwrap();
    }
}

#[test]
fn the_limit_is_enough_for_what_is_undone() {
    // In each of two domains eight pages come and four go; the second has no room for the last four.
    let world = World::new(TYPE1_V2, 2);
    let page = |n: usize| n * PAGE;
    let ram = |at| Section {
        at,
        len: 4,
        block: 0,
        offset: at,
        kind: Kind::Ram,
        unit: None,
    };
    let of = |removed, inserted| Change { removed, inserted };
    let first = of(vec![], vec![ram(0)]);
    let _ = world.commit(&Model::default(), &first).unwrap();
    let model = Model::default().after(&first).unwrap();
    let locked = world.sim.locked();
    assert_eq!(locked, page(8) as u64);
    let limit = locked + page(11) as u64;
    world.sim.set_rights(Rights::user(limit));
    let change = of(vec![ram(0)], vec![ram(8), ram(12)]);
    let error = world.commit(&model, &change).unwrap_err();
    assert_eq!(error.errno(), Some(Errno::NOMEM), "{error}");
    assert_eq!(world.space.torn().len(), 0);
    world.check(&model);

    world.sim.set_rights(Rights::user(limit + PAGE as u64));
    let _ = world.commit(&model, &change).unwrap();
    world.check(&model.after(&change).unwrap());
    world.end();
}

#[test]
fn in_doubt_the_kernel_is_asked_and_the_limit_named_afterwards() {
    let rig = Rig::new();
    let len = 40 * MIB;
    let file = tempfile::tempfile().unwrap();
    file.set_len(len as u64).unwrap();
    let rights = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: no address is asked for, so that nothing of this process is replaced.
    let start =
        unsafe { rustix::mm::mmap(ptr::null_mut(), len, rights, MapFlags::SHARED, &file, 0) };
    let memory = HostRange::new(start.unwrap() as usize, len).unwrap();
    // SAFETY: it is never unmapped.
    let of_file = unsafe { Block::new(memory, ()) };
    let (anonymous, small) = (rig.block(len), rig.block(MIB));
    let rom = || guest::Section::rom(place(2, &anonymous), &anonymous, 0).unwrap();
    for (surely, sections) in [
        (0, vec![ram(1, &of_file)]),
        (0, vec![rom()]),
        (MIB, vec![ram(1, &small)]),
        (len, vec![ram(1, &anonymous), rom()]),
    ] {
        let sizes = sections.iter().map(|it| it.range().size());
        let enough = usize::try_from(sizes.sum::<u64>()).unwrap();
        let edit = || {
            let edit = rig.space.edit();
            sections.iter().cloned().fold(edit, Edit::insert)
        };
        let too_low = surely.min(enough - PAGE);
        rig.sim.set_rights(Rights::user(too_low as u64));
        rig.take();
        let error = edit().commit().unwrap_err();
        assert_eq!(error.errno(), Some(Errno::NOMEM));
        assert!(has_mapped(&rig));
        names(&error, &rig, enough);
        rig.sim.set_rights(Rights::user(enough as u64));
        let _ = edit().commit().unwrap();
        let edit = rig.space.edit();
        let all = sections.iter().map(guest::Section::range);
        let _ = all.fold(edit, Edit::remove).commit().unwrap();
    }
}
