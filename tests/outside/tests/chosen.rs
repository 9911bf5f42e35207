//! The core takes the backend as if it were its own.

use std::sync::Arc;

use outside::{NAME, OUTSIDE};
use vfio_core::address::{Access, DmaMask};
use vfio_core::iommu::{Registry, Support};
use vfio_core::kernel::Errno;
use vfio_core::{AddressSpaceId, ErrorKind, OpenOptions, Vfio};
use vfio_sim::machine::Device;
use vfio_sim::{Machine, SimKernel};

const BDF: &str = "0000:00:04.0";

/// A host that has no VFIO nodes at all, and a device without a group.
fn vfio() -> (SimKernel, Vfio) {
    let sim = SimKernel::new(Machine {
        container_node: Err(Errno::NOENT),
        groups: Vec::new(),
        ungrouped: vec![Device::edu(BDF), Device::nvme("0000:00:05.0")],
        ..Machine::x86_64()
    });
    let vfio = Vfio::on(Arc::new(sim.clone()), Registry::of([OUTSIDE]).unwrap());
    (sim, vfio)
}

#[test]
fn it_is_registered_by_being_linked() {
    let linked = Registry::linked().unwrap();
    assert_eq!(linked.iter().map(|it| it.name).collect::<Vec<_>>(), [NAME]);
}

#[test]
fn it_is_probed_without_a_container() {
    let (_, vfio) = vfio();
    let reports = vfio.probe().unwrap();
    assert!(matches!(reports[0].support, Support::Advertised));
}

#[test]
fn it_is_chosen_and_used() {
    let (sim, vfio) = vfio();
    let options = OpenOptions::default().in_space(AddressSpaceId::unique());
    let device = vfio.open_with(BDF.parse().unwrap(), options).unwrap();
    let domain = device.domain().clone();
    assert_eq!(domain.name(), NAME);
    let buffer = domain
        .buffer(4096, DmaMask::bits(32), Access::ReadWrite)
        .unwrap();
    buffer.write(0, 7u32).unwrap();
    drop(buffer);

    let second = vfio
        .open_with("0000:00:05.0".parse().unwrap(), options)
        .unwrap();
    assert_eq!(second.domain(), &domain);
    drop(device);
    domain.capabilities().unwrap();
    second.close().unwrap();
    assert_eq!(domain.capabilities().unwrap_err().kind(), ErrorKind::Gone);
    assert!(sim.is_idle());
}
