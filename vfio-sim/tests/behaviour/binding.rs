//! Which driver a device has is changed by writing to sysfs, as on Linux.

use std::path::{Path, PathBuf};

use vfio_core::kernel::{Errno, Kernel, Result};
use vfio_sim::machine::{Device, Group};
use vfio_sim::{Machine, Rights, SimKernel};

const NVME: &str = "0000:00:05.0";

/// A disk that the kernel's own driver has.
fn boot(device: Device) -> SimKernel {
    let device = Device {
        own_driver: Some("nvme".into()),
        ..device
    };
    SimKernel::new(Machine {
        groups: vec![Group::new(3, [device])],
        ..Machine::x86_64()
    })
}

fn disk() -> SimKernel {
    boot(Device::nvme(NVME).driven_by("nvme"))
}

fn write(sim: &SimKernel, file: &str, text: &str) -> Result<()> {
    sim.write(&Path::new("/sys/bus/pci").join(file), text.as_bytes())
}

fn only(sim: &SimKernel, driver: &str) -> Result<()> {
    write(sim, &format!("devices/{NVME}/driver_override"), driver)
}

fn driver(sim: &SimKernel) -> Option<PathBuf> {
    let link = format!("/sys/bus/pci/devices/{NVME}/driver");
    let target = sim.read_link(link.as_ref()).ok()?;
    target.file_name().map(PathBuf::from)
}

fn has(sim: &SimKernel, wanted: Option<&str>) {
    assert_eq!(driver(sim).as_deref(), wanted.map(Path::new));
}

#[test]
fn a_device_goes_to_the_driver_of_its_override_and_back() {
    let sim = disk();
    only(&sim, "vfio-pci\n").unwrap();
    write(&sim, "drivers_probe", NVME).unwrap();
    has(&sim, Some("nvme")); // who has a driver is not probed
    write(&sim, &format!("devices/{NVME}/driver/unbind"), NVME).unwrap();
    has(&sim, None);
    write(&sim, "drivers_probe", NVME).unwrap();
    has(&sim, Some("vfio-pci"));
    only(&sim, "\n").unwrap();
    write(&sim, "drivers/vfio-pci/unbind", NVME).unwrap();
    write(&sim, "drivers_probe", NVME).unwrap();
    has(&sim, Some("nvme"));
}

#[test]
fn a_driver_that_is_not_loaded_takes_nothing() {
    let sim = boot(Device::nvme(NVME).unbound());
    only(&sim, "mlx5_vfio_pci").unwrap();
    write(&sim, "drivers_probe", NVME).unwrap();
    has(&sim, None);
    assert_eq!(
        write(&sim, "drivers/mlx5_vfio_pci/bind", NVME),
        Err(Errno::NOENT)
    );
}

#[test]
fn a_driver_that_is_named_takes_what_it_may() {
    let sim = boot(Device::nvme(NVME).unbound());
    only(&sim, "vfio-pci").unwrap();
    assert_eq!(write(&sim, "drivers/nvme/bind", NVME), Err(Errno::NODEV));
    only(&sim, "").unwrap();
    write(&sim, "drivers/nvme/bind", NVME).unwrap();
    has(&sim, Some("nvme"));
    assert_eq!(write(&sim, "drivers/vfio-pci/bind", NVME), Err(Errno::BUSY));
    assert_eq!(
        write(&sim, "drivers/vfio-pci/unbind", NVME),
        Err(Errno::NODEV)
    );
}

#[test]
fn a_driver_that_fails_leaves_the_device_alone() {
    let sim = boot(Device {
        refused_by: vec!["vfio-pci".into()],
        ..Device::nvme(NVME).unbound()
    });
    only(&sim, "vfio-pci").unwrap();
    write(&sim, "drivers_probe", NVME).unwrap();
    has(&sim, None);
    assert_eq!(
        write(&sim, "drivers/vfio-pci/bind", NVME),
        Err(Errno::INVAL)
    );
}

#[test]
fn only_root_writes() {
    let sim = disk();
    sim.set_rights(Rights::user(0));
    assert_eq!(only(&sim, "vfio-pci"), Err(Errno::ACCESS));
    assert_eq!(write(&sim, "drivers_probe", NVME), Err(Errno::ACCESS));
}
