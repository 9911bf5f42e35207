//! Which devices share a context, and what ends it.

use std::sync::atomic::{AtomicU64, Ordering};

use vfio_core::address::{Access, HostRange, Iova, IovaRange};
use vfio_core::iommu::{Capabilities, IommuBackend, Reach, Registration};
use vfio_core::uapi::TYPE1V2_IOMMU;
use vfio_core::{AddressSpaceId, Container, ErrorKind, OpenOptions, Result, Vfio};
use vfio_sim::machine::{self, Group};
use vfio_sim::{Machine, SimKernel};

use crate::setup::{BDF, alone, boot, changes, idle_capabilities, open, v2};

const NEIGHBOUR: &str = "0000:00:05.0";
const OTHER: &str = "0000:00:06.0";

/// [`BDF`] and [`NEIGHBOUR`] in group 2, [`OTHER`] in group 3.
fn two_groups_machine() -> Machine {
    let both = [machine::Device::edu(BDF), machine::Device::nvme(NEIGHBOUR)];
    Machine {
        groups: vec![
            Group::new(2, both),
            Group::new(3, [machine::Device::nvme(OTHER)]),
        ],
        ..alone()
    }
}

fn two_groups() -> (SimKernel, Vfio) {
    boot(two_groups_machine(), [v2()])
}

fn open_in(vfio: &Vfio, bdf: &str, space: AddressSpaceId) -> vfio_core::Result<vfio_core::Device> {
    vfio.open_with(bdf.parse().unwrap(), OpenOptions::default().in_space(space))
}

#[test]
fn groups_of_one_address_space_share_a_context_until_the_last_has_left() {
    let (sim, vfio) = two_groups();
    let space = AddressSpaceId::unique();
    let first = open_in(&vfio, BDF, space).unwrap();
    changes(&sim);
    let second = open_in(&vfio, OTHER, space).unwrap();
    let joined = [
        "group 3: open",
        "group 3: VFIO_GROUP_SET_CONTAINER",
        "device 0000:00:06.0: open",
        "group 3: VFIO_GROUP_GET_DEVICE_FD",
    ];
    assert_eq!(changes(&sim), joined);
    assert_eq!(first.domain(), second.domain());

    let domain = first.domain().clone();
    drop(first);
    domain.capabilities().unwrap();
    drop(second);
    assert_eq!(domain.capabilities().unwrap_err().kind(), ErrorKind::Gone);
    drop(domain);
    assert!(sim.is_idle());
}

#[test]
fn address_spaces_are_apart() {
    let (_, vfio) = two_groups();
    let first = open_in(&vfio, BDF, AddressSpaceId::unique()).unwrap();
    let second = open_in(&vfio, OTHER, AddressSpaceId::unique()).unwrap();
    assert_ne!(first.domain(), second.domain());
    let (_, vfio) = two_groups();
    let (first, second) = (open(&vfio, BDF).unwrap(), open(&vfio, OTHER).unwrap());
    assert_ne!(first.domain(), second.domain());
}

#[test]
fn a_group_that_sits_elsewhere_is_refused_in_words() {
    let (sim, vfio) = two_groups();
    let space = AddressSpaceId::unique();
    let first = open_in(&vfio, BDF, space).unwrap();
    let before = sim.open_objects();
    let error = open_in(&vfio, NEIGHBOUR, AddressSpaceId::unique()).unwrap_err();
    assert_eq!((error.kind(), error.group()), (ErrorKind::Busy, Some(2)));
    assert!(
        error.to_string().contains("another address space"),
        "{error}"
    );
    assert_eq!(sim.open_objects(), before);

    for shared in [
        open_in(&vfio, NEIGHBOUR, space).unwrap(),
        open(&vfio, NEIGHBOUR).unwrap(),
    ] {
        assert_eq!(first.domain(), shared.domain());
    }
}

#[test]
fn a_context_that_has_ended_is_not_joined() {
    let (_, vfio) = two_groups();
    let space = AddressSpaceId::unique();
    let ended = open_in(&vfio, BDF, space).unwrap().domain().clone();
    let next = open_in(&vfio, BDF, space).unwrap();
    assert_ne!(&ended, next.domain());
    let joining = open_in(&vfio, OTHER, space).unwrap();
    assert_eq!(joining.domain(), next.domain());
}

#[test]
fn threads_that_open_in_one_address_space_find_one_context() {
    let (sim, vfio) = two_groups();
    let space = AddressSpaceId::unique();
    for _ in 0..200 {
        let (first, second) = std::thread::scope(|scope| {
            let first = scope.spawn(|| open_in(&vfio, BDF, space).unwrap());
            let second = scope.spawn(|| open_in(&vfio, OTHER, space).unwrap());
            (first.join().unwrap(), second.join().unwrap())
        });
        assert_eq!(first.domain(), second.domain());
    }
    assert!(sim.is_idle());
}

#[test]
fn closing_says_what_dropping_only_logs() {
    let (sim, vfio) = two_groups();
    let (first, second) = (open(&vfio, BDF).unwrap(), open(&vfio, NEIGHBOUR).unwrap());
    let clone = first.clone();
    clone.close().unwrap();
    first.close().unwrap();
    second.domain().capabilities().unwrap();
    second.close().unwrap();
    assert!(sim.is_idle());
}

/// Can map less each time that it is asked.
#[derive(Debug)]
struct Shrinking {
    asked: AtomicU64,
    _container: Container,
}

#[allow(unsafe_code)] // the trait's promise
// SAFETY: it maps nothing.
unsafe impl IommuBackend for Shrinking {
    fn capabilities(&self) -> Result<Capabilities> {
        let pages = 16 - self.asked.fetch_add(1, Ordering::Relaxed);
        let mut capabilities = idle_capabilities();
        capabilities.apertures[0].range = IovaRange::new(Iova(0), pages * 4096).unwrap();
        Ok(capabilities)
    }

    #[allow(unsafe_code)] // the trait's; nothing is mapped
    unsafe fn map(&self, _: IovaRange, _: HostRange, _: Access) -> Result<()> {
        Ok(())
    }

    fn unmap(&self, iova: IovaRange) -> Result<u64> {
        Ok(iova.size())
    }
}

#[test]
fn a_newcomer_may_leave_less_to_be_mapped() {
    let attach = |container| -> Result<Box<dyn IommuBackend>> {
        Ok(Box::new(Shrinking {
            asked: AtomicU64::new(0),
            _container: container,
        }))
    };
    let shrinking = Registration {
        reach: Reach::Container {
            extension: TYPE1V2_IOMMU,
            attach,
        },
        ..v2()
    };
    let (_, vfio) = boot(two_groups_machine(), [shrinking]);
    let space = AddressSpaceId::unique();
    let first = open_in(&vfio, BDF, space).unwrap();
    let usable = || first.domain().usable_ranges().unwrap()[0].size();
    assert_eq!(usable(), 16 * 4096);
    let _second = open_in(&vfio, OTHER, space).unwrap();
    assert_eq!(usable(), 15 * 4096);
}
