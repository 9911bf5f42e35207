//! A10 to A17.

use std::os::fd::AsRawFd;

use vfio_core::kernel::{Arg, Errno, Kernel};
use vfio_core::uapi::{self, GROUP_FLAGS_CONTAINER_SET, GROUP_FLAGS_VIABLE, SPAPR_TCE_IOMMU};
use vfio_sim::machine::{Device, Group};
use vfio_sim::{Machine, Object, SimKernel};

use crate::door::{
    ioctl, join, join_number, joined, leave, open_container, open_device, open_group, set_iommu,
    status,
};

const EDU: &std::ffi::CStr = c"0000:00:00.0";

fn pseries_with(devices: impl IntoIterator<Item = Device>) -> SimKernel {
    SimKernel::new(Machine {
        groups: vec![Group::new(0, devices)],
        ..Machine::pseries()
    })
}

#[test]
fn a10_set_container() {
    let sim = SimKernel::new(Machine::powernv9());
    let (container, group) = joined(&sim);
    assert_eq!(
        join(&sim, &group, &container),
        Err(Errno::INVAL),
        "already set"
    );
    let other = open_group(&sim, 1).unwrap();
    assert_eq!(join_number(&sim, &other, -1), Err(Errno::BADF));
    assert_eq!(
        join_number(&sim, &other, i32::MAX),
        Err(Errno::BADF),
        "no such fd"
    );
    assert_eq!(
        join(&sim, &other, &group),
        Err(Errno::BADFD),
        "not a container"
    );
    let eventfd = sim.eventfd().unwrap();
    assert_eq!(
        join(&sim, &other, &eventfd),
        Err(Errno::BADFD),
        "not of VFIO"
    );
    let by_value = Arg::Value(container.as_raw_fd().try_into().unwrap());
    let answer = ioctl(&sim, &other, uapi::GROUP_SET_CONTAINER, by_value);
    assert_eq!(answer, Err(Errno::FAULT), "not an address");
}

#[test]
fn a10_a_group_that_a_kernel_driver_shares_is_not_let_in() {
    let sim = pseries_with([
        Device::edu("0000:00:00.0"),
        Device::nvme("0000:00:01.0").driven_by("nvme"),
    ]);
    let (container, group) = (open_container(&sim), open_group(&sim, 0).unwrap());
    assert_eq!(status(&sim, &group), Ok(0));
    assert_eq!(join(&sim, &group, &container), Err(Errno::PERM));
}

#[test]
fn drivers_that_do_no_dma_leave_the_group_viable() {
    let sim = pseries_with([
        Device::edu("0000:00:00.0").driven_by("mlx5-vfio-pci"),
        Device::edu("0000:00:01.0").driven_by("pcieport"),
        Device::edu("0000:00:02.0").driven_by("pci-stub"),
        Device::edu("0000:00:03.0").unbound(),
    ]);
    let (_container, group) = joined(&sim);
    assert_eq!(
        status(&sim, &group),
        Ok(GROUP_FLAGS_VIABLE | GROUP_FLAGS_CONTAINER_SET)
    );
}

#[test]
fn a11_unset_container() {
    let sim = SimKernel::new(Machine::pseries());
    let (container, group) = joined(&sim);
    set_iommu(&sim, &container, SPAPR_TCE_IOMMU).unwrap();
    let device = open_device(&sim, &group, EDU).unwrap();
    assert_eq!(leave(&sim, &group), Err(Errno::BUSY), "a device is open");
    drop(device);
    assert_eq!(leave(&sim, &group), Ok(0));
    assert_eq!(leave(&sim, &group), Err(Errno::INVAL), "none is set");
}

#[test]
fn a12_one_open_at_a_time() {
    let sim = SimKernel::new(Machine::pseries());
    let group = open_group(&sim, 0).unwrap();
    assert_eq!(open_group(&sim, 0).unwrap_err(), Errno::BUSY);
    drop(group);
    assert!(open_group(&sim, 0).is_ok());
}

#[test]
fn a12_a_group_without_a_member_bound_to_vfio_has_no_node() {
    let sim = pseries_with([Device::edu("0000:00:00.0").unbound()]);
    assert_eq!(open_group(&sim, 0).unwrap_err(), Errno::NOENT);
    assert_eq!(
        open_group(&sim, 7).unwrap_err(),
        Errno::NOENT,
        "no such group"
    );
}

#[test]
fn a13_status() {
    let sim = SimKernel::new(Machine::pseries());
    let group = open_group(&sim, 0).unwrap();
    assert_eq!(status(&sim, &group), Ok(GROUP_FLAGS_VIABLE));
    let ask = |bytes: &mut [u8]| ioctl(&sim, &group, uapi::GROUP_GET_STATUS, Arg::InOut(bytes));
    assert_eq!(ask(&mut [0; 4]), Err(Errno::FAULT));
    assert_eq!(ask(&mut [0; 8]), Err(Errno::INVAL), "argsz");
}

#[test]
fn a14_get_device_fd() {
    let sim = SimKernel::new(Machine::pseries());
    let group = open_group(&sim, 0).unwrap();
    let open = |name| open_device(&sim, &group, name).unwrap_err();
    assert_eq!(open(c"0000:00:07.0"), Errno::NODEV, "no such name");
    assert_eq!(open(EDU), Errno::INVAL, "no container");
    let container = open_container(&sim);
    join(&sim, &group, &container).unwrap();
    assert_eq!(open(EDU), Errno::INVAL, "no IOMMU");
    set_iommu(&sim, &container, SPAPR_TCE_IOMMU).unwrap();
    assert!(open_device(&sim, &group, EDU).is_ok());
}

#[test]
fn a14_a_member_that_is_not_bound_to_vfio_is_unknown() {
    let sim = pseries_with([
        Device::edu("0000:00:00.0"),
        Device::edu("0000:00:01.0").unbound(),
    ]);
    let (container, group) = joined(&sim);
    set_iommu(&sim, &container, SPAPR_TCE_IOMMU).unwrap();
    assert_eq!(
        open_device(&sim, &group, c"0000:00:01.0").unwrap_err(),
        Errno::NODEV
    );
}

#[test]
fn a15_a_device_opens_many_times_and_pins_its_group() {
    let sim = SimKernel::new(Machine::pseries());
    let (container, group) = joined(&sim);
    set_iommu(&sim, &container, SPAPR_TCE_IOMMU).unwrap();
    let devices = [EDU, EDU].map(|name| open_device(&sim, &group, name).unwrap());
    drop((group, container));
    let device = Object::Device {
        bdf: "0000:00:00.0".into(),
        group: 0,
    };
    let all = [
        device.clone(),
        device,
        Object::Group(0),
        Object::Container(0),
    ];
    assert_eq!(sim.open_objects(), all);
    assert_eq!(open_group(&sim, 0).unwrap_err(), Errno::BUSY);
    drop(devices);
    assert!(sim.is_idle());
}

#[test]
fn a16_other_calls() {
    let sim = SimKernel::new(Machine::pseries());
    let group = open_group(&sim, 0).unwrap();
    assert_eq!(
        ioctl(&sim, &group, uapi::DEVICE_RESET, Arg::None),
        Err(Errno::NOTTY)
    );
}

#[test]
fn a17_closing_a_group_takes_it_out() {
    let sim = SimKernel::new(Machine::pseries());
    let (container, group) = joined(&sim);
    set_iommu(&sim, &container, SPAPR_TCE_IOMMU).unwrap();
    drop(group);
    let group = open_group(&sim, 0).unwrap();
    assert_eq!(status(&sim, &group), Ok(GROUP_FLAGS_VIABLE));
    join(&sim, &group, &container).unwrap();
    assert_eq!(set_iommu(&sim, &container, SPAPR_TCE_IOMMU), Ok(0));
}
