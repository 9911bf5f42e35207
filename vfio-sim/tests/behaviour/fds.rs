//! Fds are real ones, and the log tells what became of them.

use rustix::io::{FdFlags, fcntl_getfd};
use vfio_core::kernel::{Arg, Errno, Kernel};
use vfio_core::uapi::{self, SPAPR_TCE_IOMMU};
use vfio_sim::{Machine, Object, SimKernel};

use crate::door::{ioctl, joined, leave, open_container, open_device, set_iommu};

#[test]
fn a_duplicate_is_the_same_object_and_the_last_one_closes_it() {
    let sim = SimKernel::new(Machine::pseries());
    let (container, group) = joined(&sim);
    let duplicate = container.try_clone().unwrap();
    drop(container);
    assert_eq!(
        set_iommu(&sim, &duplicate, SPAPR_TCE_IOMMU),
        Ok(0),
        "the group is in it"
    );
    drop(group);
    assert_eq!(sim.open_objects(), [Object::Container(0)]);
    drop(duplicate);
    assert!(sim.is_idle());
}

#[test]
fn a16_fds_are_close_on_exec() {
    let sim = SimKernel::new(Machine::pseries());
    let container = open_container(&sim);
    assert_eq!(fcntl_getfd(&container), Ok(FdFlags::CLOEXEC));
}

#[test]
fn an_fd_of_somebody_else_knows_no_call() {
    let sim = SimKernel::new(Machine::pseries());
    let eventfd = sim.eventfd().unwrap();
    let other = SimKernel::new(Machine::pseries());
    for fd in [eventfd, open_container(&other)] {
        assert_eq!(
            ioctl(&sim, &fd, uapi::GET_API_VERSION, Arg::None),
            Err(Errno::NOTTY)
        );
    }
}

#[test]
fn the_log_has_every_call_and_its_answer_in_order() {
    let sim = SimKernel::new(Machine::pseries());
    let (container, group) = joined(&sim);
    set_iommu(&sim, &container, 1).unwrap_err();
    set_iommu(&sim, &container, SPAPR_TCE_IOMMU).unwrap();
    let device = open_device(&sim, &group, c"0000:00:00.0").unwrap();
    leave(&sim, &group).unwrap_err();
    drop(device);
    leave(&sim, &group).unwrap();
    drop((container, group));

    let log: Vec<_> = sim.take_log().iter().map(ToString::to_string).collect();
    let expected = [
        "container 0: open",
        "group 0: open",
        "group 0: VFIO_GROUP_SET_CONTAINER",
        "container 0: VFIO_SET_IOMMU(1): No such device (os error 19)",
        "container 0: VFIO_SET_IOMMU(2)",
        "device 0000:00:00.0: open",
        "group 0: VFIO_GROUP_GET_DEVICE_FD",
        "group 0: VFIO_GROUP_UNSET_CONTAINER: Device or resource busy (os error 16)",
        "device 0000:00:00.0: close",
        "group 0: VFIO_GROUP_UNSET_CONTAINER",
        "group 0: close",
        "container 0: close",
    ];
    assert_eq!(log, expected);
    assert!(sim.take_log().is_empty(), "it was taken");
}
