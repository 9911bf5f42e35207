//! Guest memory against a model: random edits, on the simulated kernel of x86_64.
//!
//! After each commit, devices reach exactly what the model says. At every call on the way, they reach what is in both
//! states, and nothing that is in neither. Every call of a commit fails in turn.
#![allow(clippy::unwrap_used, clippy::panic)] // a test that cannot be set up must fail

mod behind_iommu;
mod cases;
mod come_and_go;
mod hard_cases;
mod locking;
mod populating;
mod rig;
mod world;

use std::collections::BTreeSet;

use iommu_spapr::SPAPR_V2;
use iommu_type1::{TYPE1, TYPE1_V2};
use proptest::prelude::*;
use vfio_core::ErrorKind;
use vfio_core::iommu::Registration;
use vfio_core::kernel::Errno;
use vfio_sim::wrap::Mode;
use vfio_tests::guest::{Model, Numbers, Op};

use world::{World, pages_of};

proptest! {
    #[test]
    fn devices_reach_what_the_guest_sees(edits in edits(12), followers in 0..3_usize, backend in 0..3_usize) {
        let world = World::new([TYPE1, TYPE1_V2, SPAPR_V2][backend], followers);
        let mut model = Model::default();
        for ops in &edits {
            model = step(&world, &model, ops).0;
        }
        world.end();
    }

    #[test]
    fn a_commit_that_fails_has_changed_nothing(edits in edits(5), backend in 0..2_usize) {
        let backend = [TYPE1_V2, SPAPR_V2][backend];
        let Some((last, before)) = edits.split_last() else {
            return Ok(());
        };
        let world = World::new(backend, 2);
        let model = replay(&world, before);
        world.failing.disarm();
        let (_, interrupted) = step(&world, &model, last);
        let calls = world.failing.seen().len();
        world.end();
        for n in 0..calls {
            for mode in [Mode::Once, Mode::AndAllLater] {
                fail(backend, (before, last), (n, mode), &interrupted);
            }
        }
    }
}

/// Edits, one after the other.
fn edits(count: usize) -> impl Strategy<Value = Vec<Vec<Op>>> {
    let op = any::<Numbers>().prop_map(Op::of);
    prop::collection::vec(prop::collection::vec(op, 1..6), 1..count)
}

/// Makes an edit, checks what came of it, and answers the state, and what devices did not reach all the time.
fn step(world: &World, model: &Model, ops: &[Op]) -> (Model, BTreeSet<u64>) {
    let change = model.change(ops);
    let after = model.after(&change);
    match (world.commit(model, &change), after) {
        (Ok(committed), Some(after)) => {
            assert_eq!(committed.unreachable.len(), 0);
            let interrupted = pages_of(&committed.interrupted);
            let lost = world.lost();
            assert!(
                lost.is_subset(&interrupted),
                "{lost:x?} of {interrupted:x?}"
            );
            world.check(&after);
            (after, interrupted)
        }
        (Err(error), None) => {
            let kind = error.kind();
            assert!(
                [ErrorKind::Overlap, ErrorKind::Invalid].contains(&kind),
                "{error}"
            );
            world.check(model);
            (model.clone(), BTreeSet::new())
        }
        (Ok(_), None) => panic!("{change:?} was made"),
        (Err(error), Some(_)) => panic!("{change:?}: {error}"),
    }
}

fn replay(world: &World, edits: &[Vec<Op>]) -> Model {
    let first = Model::default();
    edits
        .iter()
        .fold(first, |model, ops| step(world, &model, ops).0)
}

/// Has one call of the last edit fail.
fn fail(
    backend: Registration,
    (before, last): (&[Vec<Op>], &[Op]),
    (n, mode): (usize, Mode),
    interrupted: &BTreeSet<u64>,
) {
    let world = World::new(backend, 2);
    let model = replay(&world, before);
    let change = model.change(last);
    world.failing.arm(n, Errno::NOMEM.into(), mode);
    let result = world.commit(&model, &change);
    let failed = world.failing.failed();
    world.failing.disarm();
    let failed = failed.unwrap_or_else(|| panic!("call {n} was not made"));
    let lost = world.lost();
    match result {
        // No device reaches what stays registered.
        Ok(_) if failed == "VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY" => {}
        Ok(committed) => assert!(
            !committed.unreachable.is_empty(),
            "nobody says that it failed"
        ),
        Err(error) if error.kind() == ErrorKind::Torn => {
            let refused = world.commit(&model, &change).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Torn, "{refused}");
            assert_ne!(world.space.torn().len(), 0);
            world.space.repair().unwrap();
            world.check(&model);
            step(&world, &model, last);
        }
        Err(error) => {
            assert!(error.to_string().contains("nothing has changed"), "{error}");
            assert!(lost.is_subset(interrupted), "{lost:x?} of {interrupted:x?}");
            world.check(&model);
            step(&world, &model, last);
        }
    }
    assert_eq!(world.domains().count(), 2);
    world.end();
}
