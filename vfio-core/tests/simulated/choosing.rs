//! The lowest preference that the kernel and the backend itself do not refuse.

use vfio_core::iommu::{IommuBackend, Reach, Registration};
use vfio_core::kernel::Errno;
use vfio_core::uapi::{TYPE1_IOMMU, TYPE1V2_IOMMU};
use vfio_core::{Container, Error, ErrorKind, Result};

use crate::setup::{BDF, alone, backend, boot, changes, open, v1, v2};

/// Gets the container with its IOMMU set, and fails.
fn broken() -> Registration {
    fn attach(_: Container) -> Result<Box<dyn IommuBackend>> {
        Err(Error::new(
            ErrorKind::Unsupported,
            "attach",
            "the broken backend",
        ))
    }
    Registration {
        name: "broken",
        preference: 10,
        reach: Reach::Container {
            extension: TYPE1V2_IOMMU,
            attach,
        },
    }
}

#[test]
fn the_lowest_preference_wins_in_whatever_order_they_are_registered() {
    for backends in [[v1(), v2()], [v2(), v1()]] {
        let (_, vfio) = boot(alone(), backends);
        assert_eq!(open(&vfio, BDF).unwrap().domain().name(), "v2");
    }
    // The preference decides, not the number of the extension.
    let turned = [
        backend("v1", 10, TYPE1_IOMMU),
        backend("v2", 20, TYPE1V2_IOMMU),
    ];
    let (_, vfio) = boot(alone(), turned);
    assert_eq!(open(&vfio, BDF).unwrap().domain().name(), "v1");
}

#[test]
fn the_chosen_one_is_set_and_no_other_is_tried() {
    let (sim, vfio) = boot(alone(), [v1(), v2()]);
    let _device = open(&vfio, BDF).unwrap();
    let expected = [
        "container 0: open",
        "group 2: open",
        "group 2: VFIO_GROUP_SET_CONTAINER",
        "container 0: VFIO_SET_IOMMU(3)",
        "device 0000:00:04.0: open",
        "group 2: VFIO_GROUP_GET_DEVICE_FD",
    ];
    assert_eq!(changes(&sim), expected);
}

#[test]
fn what_is_absent_is_not_set() {
    let (sim, vfio) = boot(alone(), [backend("spapr", 5, 7), v2()]);
    assert_eq!(open(&vfio, BDF).unwrap().domain().name(), "v2");
    assert!(
        !changes(&sim)
            .iter()
            .any(|call| call.contains("VFIO_SET_IOMMU(7)"))
    );
}

#[test]
fn a_type_that_was_advertised_and_refused_gives_way_to_the_next() {
    let (sim, vfio) = boot(alone().refuse(TYPE1V2_IOMMU, Errno::INVAL), [v1(), v2()]);
    let device = open(&vfio, BDF).unwrap();
    assert_eq!(device.domain().name(), "v1");
    device.domain().capabilities().unwrap();
    drop(device);
    assert!(sim.is_idle());
}

/// A5: the IOMMU of a container is set once; the group must leave and come back before the next.
#[test]
fn a_backend_that_fails_after_its_type_was_set_gives_way_to_the_next() {
    let (sim, vfio) = boot(alone(), [broken(), v1()]);
    let device = open(&vfio, BDF).unwrap();
    assert_eq!(device.domain().name(), "v1");
    let calls = changes(&sim);
    let expected = [
        "container 0: VFIO_SET_IOMMU(3)",
        "group 2: VFIO_GROUP_UNSET_CONTAINER",
        "group 2: VFIO_GROUP_SET_CONTAINER",
        "container 0: VFIO_SET_IOMMU(1)",
    ];
    assert_eq!(calls[3..7], expected, "{calls:?}");
    drop(device);
    assert!(sim.is_idle());
}

#[test]
fn when_none_works_each_is_named_with_its_reason() {
    let backends = [broken(), v1(), backend("spapr", 30, 7)];
    let (sim, vfio) = boot(alone().refuse(TYPE1_IOMMU, Errno::INVAL), backends);
    let error = open(&vfio, BDF).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoBackend);
    let text = error.to_string();
    for said in [
        "broken was refused (attach",
        "v1 was refused (VFIO_SET_IOMMU",
        "spapr is absent",
    ] {
        assert!(text.contains(said), "{said:?} in {text:?}");
    }
    assert!(text.contains("Invalid argument"), "{text:?}");
    assert_eq!((error.group(), error.device()), (Some(2), BDF.parse().ok()));
    assert!(sim.is_idle());
}

#[test]
fn a_refusal_for_want_of_permission_is_said_as_that() {
    let machine = alone()
        .refuse(TYPE1_IOMMU, Errno::PERM)
        .refuse(TYPE1V2_IOMMU, Errno::PERM);
    let (sim, vfio) = boot(machine, [v1(), v2()]);
    assert_eq!(
        open(&vfio, BDF).unwrap_err().kind(),
        ErrorKind::NotPermitted
    );
    assert!(sim.is_idle());
}

#[test]
fn after_a_failure_the_next_attempt_starts_afresh() {
    let (sim, vfio) = boot(alone().refuse(TYPE1V2_IOMMU, Errno::INVAL), [v2()]);
    for _ in 0..2 {
        assert_eq!(open(&vfio, BDF).unwrap_err().kind(), ErrorKind::NoBackend);
        assert!(sim.is_idle());
    }
}
