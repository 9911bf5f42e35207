//! Drops in any order release in the order that the kernel accepts.

use std::collections::BTreeSet;

use vfio_core::iommu::Domain;
use vfio_core::{Device, ErrorKind, Vfio};
use vfio_sim::machine::{self, Group};
use vfio_sim::{Machine, Object, SimKernel};

use crate::setup::{BDF, alone, boot, changes, host, open, v2};

const SECOND: &str = "0000:00:05.0";

/// What a program holds: each can be dropped at any time.
struct Held {
    vfio: Option<Vfio>,
    device: Option<Device>,
    clone: Option<Device>,
    domain: Option<Domain>,
}

impl Held {
    const PARTS: usize = 4;

    fn new() -> (SimKernel, Self) {
        let (sim, vfio) = boot(alone(), [v2()]);
        let device = open(&vfio, BDF).unwrap();
        let held = Self {
            vfio: Some(vfio),
            clone: Some(device.clone()),
            domain: Some(device.domain().clone()),
            device: Some(device),
        };
        (sim, held)
    }

    fn drop_part(&mut self, part: usize) {
        match part {
            0 => self.vfio = None,
            1 => self.device = None,
            2 => self.clone = None,
            _ => self.domain = None,
        }
    }
}

/// Every order of the numbers below `n`.
fn orders(n: usize) -> Vec<Vec<usize>> {
    if n == 0 {
        return vec![Vec::new()];
    }
    let shorter = orders(n - 1);
    let longer = shorter.iter().flat_map(|order| {
        (0..n).map(move |place| {
            let mut order = order.clone();
            order.insert(place, n - 1);
            order
        })
    });
    longer.collect()
}

#[test]
fn drops_in_any_order_end_in_the_order_of_release() {
    let orders = orders(Held::PARTS);
    assert_eq!(orders.iter().collect::<BTreeSet<_>>().len(), 24);
    for order in orders {
        let (sim, mut held) = Held::new();
        changes(&sim);
        let mut calls = Vec::new();
        for part in &order {
            held.drop_part(*part);
            calls.extend(changes(&sim));
        }
        let expected = [
            "device 0000:00:04.0: close",
            "group 2: VFIO_GROUP_UNSET_CONTAINER",
            "group 2: close",
            "container 0: close",
        ];
        assert_eq!(calls, expected, "dropped in the order {order:?}");
        assert!(sim.is_idle(), "dropped in the order {order:?}");
    }
}

#[test]
fn the_device_stays_while_a_clone_is_left() {
    let (sim, vfio) = boot(alone(), [v2()]);
    let device = open(&vfio, BDF).unwrap();
    let clone = device.clone();
    changes(&sim);
    drop((device, vfio));
    assert!(changes(&sim).is_empty());
    clone.domain().capabilities().unwrap();
}

#[test]
fn a_second_open_after_a_release_works() {
    let (sim, vfio) = boot(alone(), [v2()]);
    for _ in 0..2 {
        open(&vfio, BDF).unwrap();
        assert!(sim.is_idle());
    }
}

#[test]
fn a_domain_that_outlives_its_device_is_gone() {
    let (sim, vfio) = boot(alone(), [v2()]);
    let domain = open(&vfio, BDF).unwrap().domain().clone();
    assert_eq!(domain.capabilities().unwrap_err().kind(), ErrorKind::Gone);
    assert_eq!(
        sim.open_objects(),
        [Object::Container(0)],
        "it holds nothing but the container"
    );

    let next = open(&vfio, BDF).unwrap();
    next.domain().capabilities().unwrap();
    assert_eq!(
        domain.capabilities().unwrap_err().kind(),
        ErrorKind::Gone,
        "the next life is another"
    );
}

#[test]
fn devices_of_one_group_share_it_and_dropping_one_disturbs_nothing() {
    let (sim, vfio) = boot(
        host([machine::Device::edu(BDF), machine::Device::nvme(SECOND)]),
        [v2()],
    );
    let first = open(&vfio, BDF).unwrap();
    changes(&sim);
    let second = open(&vfio, SECOND).unwrap();
    let opened = [
        "device 0000:00:05.0: open",
        "group 2: VFIO_GROUP_GET_DEVICE_FD",
    ];
    assert_eq!(changes(&sim), opened);

    drop(first);
    assert_eq!(changes(&sim), ["device 0000:00:04.0: close"]);
    second.domain().capabilities().unwrap();
    let again = open(&vfio, BDF).unwrap();
    drop((second, again));
    assert!(sim.is_idle());
}

#[test]
fn devices_of_different_groups_are_released_apart() {
    let (sim, vfio) = boot(
        Machine {
            groups: vec![
                Group::new(2, [machine::Device::edu(BDF)]),
                Group::new(3, [machine::Device::nvme(SECOND)]),
            ],
            ..alone()
        },
        [v2()],
    );
    let (first, second) = (open(&vfio, BDF).unwrap(), open(&vfio, SECOND).unwrap());
    drop(first);
    second.domain().capabilities().unwrap();
    drop(second);
    assert!(sim.is_idle());
}

#[test]
fn opening_a_device_that_fails_leaves_its_neighbour_alone() {
    let unbound = machine::Device::nvme(SECOND).unbound();
    let (sim, vfio) = boot(host([machine::Device::edu(BDF), unbound]), [v2()]);
    let device = open(&vfio, BDF).unwrap();
    let before = sim.open_objects();
    assert_eq!(open(&vfio, SECOND).unwrap_err().kind(), ErrorKind::NotBound);
    assert_eq!(sim.open_objects(), before);
    device.domain().capabilities().unwrap();
}

#[test]
fn threads_that_open_and_drop_one_device_never_meet_its_closing() {
    let (sim, vfio) = boot(alone(), [v2()]);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..2_000 {
                    open(&vfio, BDF).unwrap();
                }
            });
        }
    });
    assert!(sim.is_idle());
}
