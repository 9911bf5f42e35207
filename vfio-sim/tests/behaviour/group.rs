//! A10 to A17: groups of machines that the lab does not have, and who is open.

use vfio_core::host;
use vfio_core::kernel::Errno;
use vfio_core::uapi::{GROUP_FLAGS_CONTAINER_SET, GROUP_FLAGS_VIABLE, SPAPR_TCE_IOMMU};
use vfio_sim::machine::{Device, Group};
use vfio_sim::{Machine, Object, SimKernel};

use crate::door::{joined, open_device, open_group, set_iommu, status};

const EDU: &std::ffi::CStr = c"0000:00:00.0";

fn pseries_with(devices: impl IntoIterator<Item = Device>) -> SimKernel {
    SimKernel::new(Machine {
        groups: vec![Group::new(0, devices)],
        ..Machine::pseries()
    })
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
fn a_group_whose_last_member_has_left_is_another_object() {
    let sim = SimKernel::new(Machine::x86_64());
    let group = open_group(&sim, 2).unwrap();
    sim.unbind("0000:00:04.0").unwrap();
    assert_eq!(sim.open_objects(), [Object::GroupThatWas(2)]);
    assert_eq!(open_group(&sim, 2).unwrap_err(), Errno::NOENT);
    sim.bind("0000:00:04.0", "vfio-pci").unwrap();
    let again = open_group(&sim, 2).unwrap();
    let both = [Object::Group(2), Object::GroupThatWas(2)];
    assert_eq!(sim.open_objects(), both);
    drop((group, again));
    assert!(sim.is_idle());
}

#[test]
fn a_device_has_one_driver_and_sysfs_says_which() {
    const EDU: &str = "0000:00:04.0";
    let sim = SimKernel::new(Machine::x86_64());
    let driver = || host::device(&sim, EDU.parse().unwrap()).unwrap().driver;
    assert_eq!(sim.bind(EDU, "pci-stub"), Err(Errno::BUSY));
    assert_eq!(sim.unbind(EDU), Ok(()));
    assert_eq!(driver(), None);
    assert_eq!(sim.unbind(EDU), Err(Errno::NODEV));
    assert_eq!(sim.bind(EDU, "pci-stub"), Ok(()));
    assert_eq!(driver().as_deref(), Some("pci-stub"));
    assert_eq!(sim.bind("0000:00:1e.0", "pci-stub"), Err(Errno::NODEV));
}
