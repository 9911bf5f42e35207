//! Every way in which a device cannot be had: one clear error, and nothing left open.

use std::sync::Arc;

use vfio_core::iommu::Registry;
use vfio_core::kernel::Errno;
use vfio_core::{Error, ErrorKind, Vfio};
use vfio_sim::Machine;
use vfio_sim::machine::Device;

use crate::setup::{BDF, alone, boot, host, open, v2};

/// Opens [`BDF`] on a machine where that fails.
fn failure(machine: Machine) -> Error {
    let (sim, vfio) = boot(machine, [v2()]);
    let error = open(&vfio, BDF).unwrap_err();
    assert!(sim.is_idle(), "{:?} is left", sim.open_objects());
    assert_eq!(error.device(), BDF.parse().ok(), "{error}");
    error
}

/// The error of a machine whose group cannot be opened.
fn refused_node(errno: Errno) -> Error {
    let mut machine = alone();
    machine.groups[0].node = Err(errno);
    let error = failure(machine);
    assert_eq!((error.errno(), error.group()), (Some(errno), Some(2)));
    assert!(error.to_string().contains("/dev/vfio/2"), "{error}");
    error
}

#[track_caller]
fn says(error: &Error, words: &[&str]) {
    let text = error.to_string();
    for word in words {
        assert!(text.contains(word), "{word:?} in {text:?}");
    }
}

#[test]
fn a_device_that_does_not_exist() {
    let error = failure(host([]));
    assert_eq!(error.kind(), ErrorKind::NoSuchDevice);
    says(&error, &[BDF]);
}

#[test]
fn a_device_without_group() {
    let error = failure(Machine {
        ungrouped: vec![Device::edu(BDF)],
        ..host([])
    });
    assert_eq!(error.kind(), ErrorKind::NoGroup);
    says(&error, &[BDF, "no IOMMU group"]);
}

#[test]
fn a_device_that_is_not_bound_to_vfio() {
    let error = failure(host([Device::edu(BDF).unbound()]));
    assert_eq!(error.kind(), ErrorKind::NotBound);
    says(&error, &[BDF, "no driver"]);

    let error = failure(host([Device::edu(BDF).driven_by("e1000e")]));
    assert_eq!(error.kind(), ErrorKind::NotBound);
    says(&error, &[BDF, "e1000e"]);
}

#[test]
fn a_group_that_is_not_viable_names_who_is_in_the_way() {
    let error = failure(host([
        Device::edu(BDF),
        Device::nvme("0000:00:05.0").driven_by("nvme"),
        Device::nvme("0000:00:06.0").driven_by("pcieport"),
        Device::nvme("0000:00:07.0").driven_by("e1000e"),
    ]));
    assert_eq!(
        (error.kind(), error.group()),
        (ErrorKind::NotViable, Some(2))
    );
    says(
        &error,
        &["group 2", "0000:00:05.0 (nvme)", "0000:00:07.0 (e1000e)"],
    );
    assert!(
        !error.to_string().contains("pcieport"),
        "it is not in the way: {error}"
    );
}

#[test]
fn a_group_whose_node_may_not_be_opened() {
    for (errno, why) in [
        (Errno::ACCESS, "this user may not open"),
        (Errno::PERM, "the kernel forbids it"),
    ] {
        let error = refused_node(errno);
        assert_eq!(error.kind(), ErrorKind::NotPermitted);
        says(&error, &[&errno.to_string(), why]);
    }
}

#[test]
fn a_group_whose_node_is_busy() {
    let error = refused_node(Errno::BUSY);
    assert_eq!(error.kind(), ErrorKind::Busy);
    says(&error, &["has it open"]);
}

#[test]
fn a_group_whose_node_is_missing() {
    let error = refused_node(Errno::NOENT);
    assert_eq!(error.kind(), ErrorKind::Kernel);
    says(&error, &["not there"]);
}

/// A12, between two that do not know of each other.
#[test]
fn a_group_that_somebody_else_has_open() {
    let (sim, first) = boot(alone(), [v2()]);
    let second = Vfio::on(Arc::new(sim.clone()), Registry::of([v2()]).unwrap());
    let device = open(&first, BDF).unwrap();
    let before = sim.open_objects();
    assert_eq!(open(&second, BDF).unwrap_err().kind(), ErrorKind::Busy);
    assert_eq!(sim.open_objects(), before);
    drop(device);
    open(&second, BDF).unwrap();
}

#[test]
fn a_host_without_vfio() {
    for errno in [Errno::NOENT, Errno::NODEV, Errno::NXIO] {
        let error = failure(Machine {
            container_node: Err(errno),
            ..alone()
        });
        assert_eq!(error.kind(), ErrorKind::NoVfio);
        says(&error, &["/dev/vfio/vfio"]);
    }
}

#[test]
fn a_container_that_may_not_be_opened() {
    let error = failure(Machine {
        container_node: Err(Errno::ACCESS),
        ..alone()
    });
    assert_eq!(error.kind(), ErrorKind::NotPermitted);
    says(&error, &["/dev/vfio/vfio", "Permission denied"]);
}
