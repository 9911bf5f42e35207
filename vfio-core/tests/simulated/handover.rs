//! A device that a broker opened, wherever the broker stopped.
#![allow(unsafe_code)] // the broker's own calls

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use vfio_core::iommu::Registry;
use vfio_core::kernel::{Arg, Errno, Kernel};
use vfio_core::uapi::{self, TYPE1_IOMMU, TYPE1V2_IOMMU};
use vfio_core::{
    AddressSpaceId, CONTAINER_NODE, ErrorKind, Handover, OpenOptions, Result, Vfio, group_node,
};
use vfio_sim::machine::{self, Group};
use vfio_sim::{Machine, SimKernel};

use crate::setup::{BDF, alone, open, v1, v2};

const OTHER: &str = "0000:00:06.0";

/// Who has the rights: makes the calls that it is told to, and keeps nothing.
struct Broker(SimKernel);

impl Broker {
    fn new() -> Self {
        Self(SimKernel::new(alone()))
    }

    /// [`OTHER`] is in group 3.
    fn of_two_groups() -> Self {
        Self(SimKernel::new(Machine {
            groups: vec![
                Group::new(2, [machine::Device::edu(BDF)]),
                Group::new(3, [machine::Device::nvme(OTHER)]),
            ],
            ..alone()
        }))
    }

    fn group(&self) -> OwnedFd {
        self.0.open(&group_node(2)).unwrap()
    }

    fn container(&self) -> OwnedFd {
        self.0.open(Path::new(CONTAINER_NODE)).unwrap()
    }

    fn joined(&self) -> (OwnedFd, OwnedFd) {
        let (group, container) = (self.group(), self.container());
        let fd = container.as_raw_fd().to_ne_bytes();
        // SAFETY: the calls of a broker, on fds that are open.
        unsafe {
            self.0
                .ioctl(group.as_fd(), uapi::GROUP_SET_CONTAINER, Arg::In(&fd))
                .unwrap();
        }
        (group, container)
    }

    fn with_iommu(&self) -> (OwnedFd, OwnedFd) {
        let (group, container) = self.joined();
        let iommu = Arg::Value(uapi::TYPE1V2_IOMMU as usize);
        // SAFETY: as above.
        unsafe {
            self.0
                .ioctl(container.as_fd(), uapi::SET_IOMMU, iommu)
                .unwrap();
        }
        (group, container)
    }

    fn device(&self, group: &OwnedFd) -> OwnedFd {
        let name = CString::new(BDF).unwrap();
        let name = Arg::In(name.as_bytes_with_nul());
        // SAFETY: as above.
        unsafe {
            self.0
                .ioctl_fd(group.as_fd(), uapi::GROUP_GET_DEVICE_FD, name)
                .unwrap()
        }
    }

    /// What the process without rights makes of it.
    fn hands(&self, handover: Handover) -> Result<vfio_core::Device> {
        let registry = Registry::of([v1(), v2()]).unwrap();
        let vfio = Vfio::on(Arc::new(self.0.clone()), registry);
        vfio.adopt(BDF.parse().unwrap(), handover)
    }
}

#[test]
fn a_device_is_taken_over_wherever_the_broker_stopped() {
    let broker = Broker::new();
    let opened = || Handover::of_group(broker.group());
    let iommu_set = || {
        let (group, container) = broker.with_iommu();
        Handover::of_group(group)
            .with_container(container)
            .with_iommu_of("v2")
    };
    let device_open = || {
        let (group, container) = broker.with_iommu();
        let device = broker.device(&group);
        Handover::of_group(group)
            .with_container(container)
            .with_iommu_of("v2")
            .with_device(device)
    };
    let stops: [&dyn Fn() -> Handover; 4] = [
        &opened,
        &|| opened().with_container(broker.container()),
        &iommu_set,
        &device_open,
    ];
    for stop in stops {
        let device = broker.hands(stop()).unwrap();
        assert_eq!(device.domain().name(), "v2");
        device.domain().capabilities().unwrap();
        device.close().unwrap();
        assert!(broker.0.is_idle());
    }
}

#[test]
fn what_does_not_fit_together_is_refused_and_closed() {
    let broker = Broker::new();
    let refused = |handover: Handover, word: &str| {
        let error = broker.hands(handover).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(error.to_string().contains(word), "{error}");
        assert!(broker.0.is_idle(), "{word}");
    };
    let (group, _) = broker.joined();
    refused(Handover::of_group(group), "no IOMMU is named");
    let alone = Handover::of_group(broker.group()).with_container(broker.container());
    refused(alone.with_iommu_of("v2"), "in no container");
    let (group, container) = broker.with_iommu();
    drop(container); // the group keeps it (A8)
    refused(
        Handover::of_group(group).with_iommu_of("v2"),
        "its container is missing",
    );
}

#[test]
fn a_backend_that_is_not_linked_is_named_and_everything_is_closed() {
    let broker = Broker::new();
    let (group, container) = broker.with_iommu();
    let device = broker.device(&group);
    let handover = Handover::of_group(group)
        .with_container(container)
        .with_iommu_of("v9")
        .with_device(device);
    let error = broker.hands(handover).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Registry);
    assert!(broker.0.is_idle());
}

#[test]
fn a_group_that_is_open_here_is_not_taken_over() {
    let broker = Broker::new();
    let vfio = Vfio::on(Arc::new(broker.0.clone()), Registry::of([v2()]).unwrap());
    let device = open(&vfio, BDF).unwrap();
    let other = broker.container(); // any fd
    let error = vfio
        .adopt(BDF.parse().unwrap(), Handover::of_group(other))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    device.domain().capabilities().unwrap();
}

#[test]
fn a_broker_hands_over_what_it_opened_by_name() {
    let broker = Broker::new();
    let vfio = Vfio::on(Arc::new(broker.0.clone()), Registry::of([v2()]).unwrap());
    let fds = vfio.hand_over(BDF.parse().unwrap()).unwrap().into_fds();
    let user = broker.0.process(vfio_sim::Rights::user(1 << 20));
    let registry = Registry::of([v2()]).unwrap();
    let other = Vfio::on(Arc::new(user), registry);
    assert_eq!(open(&other, BDF).unwrap_err().kind(), ErrorKind::Busy);
    assert!(fds.device.is_none() && fds.backend.is_none());
    let handover = Handover::of_group(fds.group).with_container(fds.container.unwrap());
    let device = other.adopt(BDF.parse().unwrap(), handover).unwrap();
    device.domain().capabilities().unwrap();
    device.close().unwrap();
    assert!(broker.0.is_idle());
    let missing = vfio.hand_over("0000:00:1f.0".parse().unwrap()).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NoSuchDevice);
}

/// Two groups in one container: the end of the one that is handed over is not the end of its mappings.
#[test]
fn a_group_that_is_not_alone_in_its_container_ends_nothing() {
    let broker = Broker::of_two_groups();
    let (group, container) = broker.with_iommu();
    let other = broker.0.open(&group_node(3)).unwrap();
    let fd = container.as_raw_fd().to_ne_bytes();
    // SAFETY: as above.
    unsafe {
        broker
            .0
            .ioctl(other.as_fd(), uapi::GROUP_SET_CONTAINER, Arg::In(&fd))
            .unwrap();
    }
    let handover = Handover::of_group(group)
        .with_container(container)
        .with_iommu_of("v2");
    let device = broker.hands(handover).unwrap();
    let domain = device.domain().clone();
    let error = device.close().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    assert!(error.to_string().contains("another group"), "{error}");
    // What was mapped may be mapped still: this is no end.
    assert_eq!(domain.capabilities().unwrap_err().kind(), ErrorKind::Busy);
    drop((domain, other));
    assert!(broker.0.is_idle());
}

#[test]
fn a_device_is_taken_over_into_an_address_space() {
    let broker = Broker::of_two_groups();
    let vfio = Vfio::on(Arc::new(broker.0.clone()), Registry::of([v2()]).unwrap());
    let options = OpenOptions::default().in_space(AddressSpaceId::unique());
    let first = vfio.open_with(OTHER.parse().unwrap(), options).unwrap();
    let second = vfio
        .adopt_with(
            BDF.parse().unwrap(),
            Handover::of_group(broker.group()),
            options,
        )
        .unwrap();
    assert_eq!(first.domain(), second.domain());
    let again = vfio.adopt_with(
        BDF.parse().unwrap(),
        Handover::of_group(broker.container()), // any fd
        options,
    );
    assert_eq!(again.unwrap_err().kind(), ErrorKind::Busy);
    drop((first, second));
    assert!(broker.0.is_idle());
}

#[test]
fn a_handover_that_no_backend_takes_names_the_group() {
    let machine = alone()
        .refuse(TYPE1V2_IOMMU, Errno::NODEV)
        .refuse(TYPE1_IOMMU, Errno::NODEV);
    let broker = Broker(SimKernel::new(machine));
    let error = broker
        .hands(Handover::of_group(broker.group()))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoBackend, "{error}");
    assert_eq!(error.group(), Some(2));
    assert!(broker.0.is_idle());
}
