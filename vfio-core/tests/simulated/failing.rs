//! Single calls fail: what is asked again, what is left, and what is said.

use std::path::Path;
use std::sync::Arc;

use vfio_core::address::{Access, DmaMask};
use vfio_core::iommu::{Registration, Registry};
use vfio_core::kernel::{Errno, Kernel};
use vfio_core::{AddressSpaceId, Answer, Device, ErrorKind, OpenOptions, Result, Vfio};
use vfio_sim::machine::{self, Group};
use vfio_sim::wrap::{Call, Counting, FailNth, Mode, Request, Watch, Watched};
use vfio_sim::{Machine, Object, SimKernel};

use crate::setup::{BDF, alone, host, v1, v2};

const OTHER: &str = "0000:00:05.0";

/// A simulated kernel whose calls can fail.
struct Failing {
    sim: SimKernel,
    failing: Arc<FailNth>,
    counting: Arc<Counting>,
    vfio: Vfio,
}

impl Failing {
    fn new(machine: Machine, backends: impl IntoIterator<Item = Registration>) -> Self {
        let sim = SimKernel::new(machine);
        let failing = Arc::new(FailNth::default());
        let counting = Arc::new(Counting::default());
        let kernel: Arc<dyn Kernel> = Arc::new(sim.clone());
        let kernel: Arc<dyn Kernel> = Arc::new(Watched::new(kernel, counting.clone()));
        let kernel: Arc<dyn Kernel> = Arc::new(Watched::new(kernel, failing.clone()));
        Self {
            sim,
            failing,
            counting,
            vfio: Vfio::on(kernel, Registry::of(backends).unwrap()),
        }
    }

    fn open(&self, bdf: &str) -> Result<Device> {
        self.vfio.open(bdf.parse().unwrap())
    }

    /// How many ioctls come before the first of that name.
    fn before(&self, name: &str, scenario: impl FnOnce(&Self)) -> usize {
        self.failing.disarm();
        scenario(self);
        let seen = self.failing.seen();
        seen.iter().position(|call| call == name).unwrap()
    }
}

/// Leaving fails from now on.
fn nothing_leaves(failing: &Failing) {
    failing
        .failing
        .arm(0, Answer::Errno(Errno::BUSY), Mode::AndAllLater);
}

#[test]
fn what_is_refused_for_a_moment_is_asked_again() {
    let host = Failing::new(alone(), [v2()]);
    for (call, errno) in [
        ("VFIO_GROUP_GET_DEVICE_FD", Errno::NODEV),
        ("VFIO_GROUP_UNSET_CONTAINER", Errno::BUSY),
    ] {
        let n = host.before(call, |host| host.open(BDF).unwrap().close().unwrap());
        host.failing.arm(n, errno.into(), Mode::Once);
        host.counting.take();
        host.open(BDF).unwrap().close().unwrap();
        assert_eq!(host.failing.failed().as_deref(), Some(call));
        let seen = host.failing.seen();
        assert_eq!(seen.iter().filter(|one| *one == call).count(), 2, "{call}");

        host.failing.arm(n, Errno::IO.into(), Mode::Once);
        let outcome = host.open(BDF).and_then(Device::close);
        assert_eq!(outcome.unwrap_err().operation(), call);
        let seen = host.failing.seen();
        let times = seen.iter().filter(|one| *one == call).count();
        assert_eq!(times, 1, "{call}: only what passes is asked again");
    }
}

/// Opening a group's node fails a few times.
#[derive(Debug)]
struct Late(std::sync::Mutex<u32>);

impl Watch for Late {
    fn before(&self, call: &Call<'_>) -> std::result::Result<(), Answer> {
        let mut left = self.0.lock().unwrap();
        match call.request {
            Request::Open { path } if path == Path::new("/dev/vfio/2") && *left > 0 => {
                *left -= 1;
                Err(Answer::Errno(Errno::NODEV))
            }
            _ => Ok(()),
        }
    }
}

#[test]
fn a_group_that_was_bound_a_moment_ago_is_waited_for() {
    for (times, works) in [(3, true), (1000, false)] {
        let late = Arc::new(Late(std::sync::Mutex::new(times)));
        let kernel = Watched::new(Arc::new(SimKernel::new(alone())), late.clone());
        let vfio = Vfio::on(Arc::new(kernel), Registry::of([v2()]).unwrap());
        let opened = vfio.open(BDF.parse().unwrap());
        assert_eq!(opened.is_ok(), works);
        if let Err(error) = opened {
            assert_eq!(
                (error.errno(), error.group()),
                (Some(Errno::NODEV), Some(2))
            );
            assert!(*late.0.lock().unwrap() > 900, "bounded");
        }
    }
}

#[test]
fn a_group_that_cannot_leave_is_said_and_its_domain_knows() {
    let host = Failing::new(alone(), [v2()]);
    let device = host.open(BDF).unwrap();
    let domain = device.domain().clone();
    nothing_leaves(&host);
    let error = device.close().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert_eq!(error.operation(), "VFIO_GROUP_UNSET_CONTAINER");
    assert_eq!(error.group(), Some(2));
    assert!(error.object().contains("group 2"), "{error}");
    host.failing.disarm();
    let error = domain.capabilities().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(
        error.to_string().contains("mappings may still be there"),
        "{error}"
    );
    drop(domain);
    assert!(host.sim.is_idle(), "its fds were closed all the same");
    host.open(BDF).unwrap();
}

#[test]
fn a_buffer_of_a_domain_that_was_not_released_is_not_freed() {
    let host = Failing::new(alone(), [v2()]);
    let device = host.open(BDF).unwrap();
    let mut buffer = device
        .domain()
        .buffer(1, DmaMask::bits(32), Access::ReadWrite)
        .unwrap();
    nothing_leaves(&host);
    device.close().unwrap_err();
    assert_eq!(buffer.unmap().unwrap_err().kind(), ErrorKind::Busy);
    host.counting.take();
    drop(buffer);
    assert_eq!(host.counting.of("munmap"), 0, "a device may still reach it");
}

fn two_groups() -> Machine {
    Machine {
        groups: vec![
            Group::new(2, [machine::Device::edu(BDF)]),
            Group::new(3, [machine::Device::nvme(OTHER)]),
        ],
        ..host([])
    }
}

#[test]
fn a_group_of_several_that_cannot_leave_ends_nothing() {
    let host = Failing::new(two_groups(), [v2()]);
    let options = OpenOptions::default().in_space(AddressSpaceId::unique());
    let open = |bdf: &str| host.vfio.open_with(bdf.parse().unwrap(), options).unwrap();
    let (first, second) = (open(BDF), open(OTHER));
    let domain = second.domain().clone();
    assert_eq!(first.domain(), &domain);
    nothing_leaves(&host);
    first.close().unwrap_err();
    host.failing.disarm();
    domain.capabilities().unwrap();
    second.close().unwrap();
    // Nobody knows whether the first group is still there; so the context is not said to have ended by the second.
    drop(domain);
    assert!(host.sim.is_idle());
}

/// A kernel that says that the room is too small, and not how much it wants, is not asked for ever.
#[test]
fn a_kernel_that_never_has_room_enough_is_believed() {
    let on_bus = machine::Device::assorted(BDF).on_reset_bus(1);
    let host = Failing::new(host([on_bus]), [v2()]);
    let device = host.open(BDF).unwrap();
    for mode in [Mode::Once, Mode::AndAllLater] {
        host.failing.arm(0, Errno::NOSPC.into(), mode);
        let error = device.hot_reset_info().unwrap_err();
        assert_eq!(error.errno(), Some(Errno::NOSPC));
        assert_eq!(host.failing.seen().len(), 1);
    }
}

#[test]
fn an_error_in_the_middle_of_a_second_open_leaves_the_first_alone() {
    let host = Failing::new(
        host([machine::Device::edu(BDF), machine::Device::nvme(OTHER)]),
        [v2()],
    );
    let device = host.open(BDF).unwrap();
    let before = host.sim.open_objects();
    host.failing.arm(0, Errno::IO.into(), Mode::Once);
    let error = host.open(OTHER).unwrap_err();
    assert_eq!(error.operation(), "VFIO_GROUP_GET_DEVICE_FD");
    assert_eq!(host.sim.open_objects(), before);
    device.domain().capabilities().unwrap();
}

#[test]
fn whoever_interrupts_the_choice_of_a_backend_gets_no_other() {
    let host = Failing::new(alone(), [v1(), v2()]);
    let n = host.before("VFIO_SET_IOMMU", |host| drop(host.open(BDF).unwrap()));
    host.failing.arm(n, Errno::INTR.into(), Mode::Once);
    let error = host.open(BDF).unwrap_err();
    assert_eq!(
        (error.operation(), error.errno()),
        ("VFIO_SET_IOMMU", Some(Errno::INTR))
    );
    assert!(host.sim.is_idle());
    host.failing.arm(n, Errno::INVAL.into(), Mode::Once);
    assert_eq!(host.open(BDF).unwrap().domain().name(), "v1");
}

#[test]
fn a_newcomer_that_the_kernel_does_not_let_in_gets_a_container_of_its_own() {
    let host = Failing::new(two_groups(), [v2()]);
    let options = OpenOptions::default().in_space(AddressSpaceId::unique());
    let open = |bdf: &str| host.vfio.open_with(bdf.parse().unwrap(), options);
    let first = open(BDF).unwrap();
    host.failing.disarm();
    drop(open(OTHER).unwrap());
    let seen = host.failing.seen();
    let join = |call: &&str| *call == "VFIO_GROUP_SET_CONTAINER";
    let names: Vec<_> = seen.iter().map(|name| &**name).collect();
    let n = names.iter().position(join).unwrap();
    for errno in [Errno::INVAL, Errno::BUSY, Errno::PERM, Errno::NODEV] {
        host.failing.arm(n, errno.into(), Mode::Once);
        let second = open(OTHER).unwrap();
        assert_ne!(first.domain(), second.domain(), "{errno}");
    }
    for errno in [Errno::INTR, Errno::NOMEM, Errno::FAULT] {
        host.failing.arm(n, errno.into(), Mode::Once);
        let error = open(OTHER).unwrap_err();
        assert_eq!(error.errno(), Some(errno));
    }
    let containers = host.sim.open_objects();
    let containers = containers
        .iter()
        .filter(|it| matches!(it, Object::Container(_)));
    assert_eq!(containers.count(), 1);
}
