//! What `vfio_core::host` reads is what the description says.

use std::path::Path;

use vfio_core::host::{self, PciDevice};
use vfio_core::kernel::{Errno, Kernel};
use vfio_sim::machine::Device;
use vfio_sim::{Machine, SimKernel};

fn host() -> SimKernel {
    SimKernel::new(Machine {
        ungrouped: vec![Device::nvme("0000:02:00.0").unbound()],
        ..Machine::pseries()
    })
}

#[test]
fn a_device_is_what_was_described() {
    let bdf = "0000:00:01.0".parse().unwrap();
    let expected = PciDevice {
        bdf,
        vendor: 0x1b36,
        device: 0x0010,
        class: 0x01_0802,
        driver: Some("vfio-pci".into()),
        group: Some(0),
        numa_node: None,
    };
    assert_eq!(host::device(&host(), bdf).unwrap(), expected);
}

#[test]
fn a_device_without_group_and_driver_has_neither() {
    let device = host::device(&host(), "0000:02:00.0".parse().unwrap()).unwrap();
    assert_eq!((device.driver, device.group), (None, None));
}

#[test]
fn groups_have_their_members() {
    let groups = host::groups(&host()).unwrap();
    let members: Vec<_> = groups
        .iter()
        .map(|group| {
            (
                group.id,
                group
                    .devices
                    .iter()
                    .map(|d| d.bdf.to_string())
                    .collect::<Vec<_>>(),
            )
        })
        .collect();
    let both = ["0000:00:00.0", "0000:00:01.0"].map(String::from).to_vec();
    assert_eq!(members, [(0, both)]);
}

#[test]
fn links_lead_to_directories() {
    let sim = host();
    let link = Path::new("/sys/kernel/iommu_groups/0/devices/0000:00:00.0");
    let names = [
        "class",
        "config",
        "device",
        "driver",
        "driver_override",
        "iommu_group",
        "numa_node",
        "power",
        "power_state",
        "resource",
        "vendor",
    ];
    assert_eq!(sim.list(link).unwrap(), names);
    assert_eq!(sim.read(link), Err(Errno::ISDIR));
    assert_eq!(
        sim.read_link(&sim.read_link(link).unwrap()),
        Err(Errno::INVAL)
    );
}

#[test]
fn everything_else_is_not_there() {
    let sim = host();
    let path = Path::new("/proc/cpuinfo");
    assert_eq!(sim.read(path), Err(Errno::NOENT));
    assert_eq!(sim.list(path), Err(Errno::NOENT));
    assert_eq!(sim.read_link(path), Err(Errno::NOENT));
    assert_eq!(
        sim.list(Path::new("/sys/bus/pci/devices/0000:02:00.0/class")),
        Err(Errno::NOTDIR)
    );
}
