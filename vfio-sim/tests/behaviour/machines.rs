//! The lab's machines.

use vfio_core::host;
use vfio_core::kernel::{Errno, Kernel};
use vfio_core::uapi::{SPAPR_TCE_IOMMU, SPAPR_TCE_V2_IOMMU, TYPE1_IOMMU, TYPE1V2_IOMMU};
use vfio_sim::machine::{Bar, Device};
use vfio_sim::{Machine, SimKernel};

use crate::door::{extension, join, open_container, open_group, set_iommu};

/// The machines, with their architecture and the types that can be set.
fn machines() -> [(Machine, &'static str, [u32; 2]); 4] {
    const TYPE1: [u32; 2] = [TYPE1_IOMMU, TYPE1V2_IOMMU];
    const SPAPR: [u32; 2] = [SPAPR_TCE_IOMMU, SPAPR_TCE_V2_IOMMU];
    [
        (Machine::x86_64(), "x86_64", TYPE1),
        (Machine::aarch64(), "aarch64", TYPE1),
        (Machine::pseries(), "ppc64le", SPAPR),
        (Machine::powernv9(), "ppc64le", SPAPR),
    ]
}

/// A fresh container with the machine's first group: what SET_IOMMU answers.
fn set(sim: &SimKernel, iommu: u32) -> Result<u32, Errno> {
    let container = open_container(sim);
    let group = host::groups(sim).unwrap().remove(0);
    let group = open_group(sim, group.id).unwrap();
    join(sim, &group, &container).unwrap();
    set_iommu(sim, &container, iommu)
}

#[test]
fn each_takes_the_iommus_of_its_architecture_and_no_other() {
    for (machine, arch, settable) in machines() {
        let sim = SimKernel::new(machine);
        assert_eq!(sim.identity().0, arch);
        let taken: Vec<_> = (0..12).filter(|iommu| set(&sim, *iommu).is_ok()).collect();
        assert_eq!(taken, settable, "{arch}");
        assert!(sim.is_idle());
    }
}

#[test]
fn b18_nesting_is_advertised_and_refused() {
    let sim = SimKernel::new(Machine::x86_64());
    assert_eq!(extension(&sim, &open_container(&sim), 6), 1);
    assert_eq!(set(&sim, 6), Err(Errno::INVAL));
}

#[test]
fn every_device_is_ready_for_use() {
    for (machine, arch, _) in machines() {
        let sim = SimKernel::new(machine);
        assert!(
            host::groups(&sim)
                .unwrap()
                .iter()
                .all(host::IommuGroup::is_ready),
            "{arch}"
        );
    }
}

#[test]
fn power_has_large_pages() {
    assert_eq!(SimKernel::new(Machine::powernv9()).page_size(), 65536);
    assert_eq!(SimKernel::new(Machine::aarch64()).page_size(), 4096);
}

#[test]
fn f76_a_small_bar_can_be_mapped_if_it_has_its_page_to_itself() {
    let small = |bdf: &str, address: u32| {
        let bars = [Some(Bar::registers(0x100)), None, None, None, None, None];
        let device = Device {
            bars,
            ..Device::bare(bdf, 0x1b36, 0x0007, 0x08_0501)
        };
        device.with_config([(0x10, address)])
    };
    let devices = [
        (small("0000:00:01.0", 0xfebd_0000), false), // the rest is another's
        (small("0000:00:02.0", 0xfebd_0100), false), // it does not start the page
        (small("0000:00:03.0", 0xfebd_1000), true),
        (small("0001:00:01.0", 0xfebd_1100), false),
        (small("0001:00:02.0", 0xfebd_2000), true), // of another domain than the next
        (small("0000:00:04.0", 0xfebd_2100), false),
        (small("0000:00:05.0", 0), true), // not described
    ];
    let machine = Machine::x86_64().with_devices(devices.iter().map(|(device, _)| device.clone()));
    for (device, expected) in &devices {
        let is_mappable = machine.is_mappable(device, 0);
        assert_eq!(is_mappable, *expected, "{}", device.bdf);
        assert!(!machine.is_mappable(device, 1), "no BAR");
    }
    let large_pages = Machine {
        page_size: 65536,
        ..machine
    };
    assert!(!large_pages.is_mappable(&devices[2].0, 0));
}

#[test]
fn f74_a_device_alone_on_a_bus_is_reset_with_it() {
    let on_bus = |bdf: &str, bus| Device::edu(bdf).on_reset_bus(bus);
    let devices = [
        on_bus("0000:01:00.0", 1),
        on_bus("0000:02:00.0", 2),
        on_bus("0000:02:01.0", 2),
        Device::edu("0000:00:01.0"),
        Device::nvme("0000:00:02.0"),
    ];
    let machine = Machine::x86_64().with_devices(devices.clone());
    let can_reset = devices.map(|device| machine.can_reset(&device));
    assert_eq!(can_reset, [true, false, false, false, true]);
}
