//! A backend with neither container nor group, beside those that have both.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use vfio_core::address::{Access, HostRange, IovaRange};
use vfio_core::device::VfToken;
use vfio_core::host::Bdf;
use vfio_core::iommu::{Capabilities, IommuBackend, Reach, Registration, Support};
use vfio_core::kernel::{Errno, Kernel};
use vfio_core::kvm::{KvmVfio, create_vm};
use vfio_core::{AddressSpaceId, Error, ErrorKind, OpenOptions, Result};
use vfio_sim::Machine;
use vfio_sim::machine;

use crate::setup::{BDF, alone, boot, idle_capabilities, open, v2};

const SECOND: &str = "0000:00:05.0";

#[derive(Debug)]
struct Own(Arc<dyn Kernel>);

#[allow(unsafe_code)] // the trait's promise
// SAFETY: it maps nothing.
unsafe impl IommuBackend for Own {
    fn capabilities(&self) -> Result<Capabilities> {
        Ok(idle_capabilities())
    }

    fn open_device(&self, device: Bdf) -> Result<OwnedFd> {
        let node = self.0.open("/dev/vfio/vfio".as_ref());
        node.map_err(|errno| Error::kernel("open", device.to_string(), errno))
    }

    #[allow(unsafe_code)] // the trait's; nothing is mapped
    unsafe fn map(&self, _: IovaRange, _: HostRange, _: Access) -> Result<()> {
        Ok(())
    }

    fn unmap(&self, iova: IovaRange) -> Result<u64> {
        Ok(iova.size())
    }
}

fn own(probe: fn(&Arc<dyn Kernel>) -> Result<bool>) -> Registration {
    fn attach(kernel: &Arc<dyn Kernel>) -> Result<Box<dyn IommuBackend>> {
        Ok(Box::new(Own(kernel.clone())))
    }
    Registration {
        name: "own",
        preference: 1,
        reach: Reach::Own { probe, attach },
    }
}

fn here(_: &Arc<dyn Kernel>) -> Result<bool> {
    Ok(true)
}

fn not_here(_: &Arc<dyn Kernel>) -> Result<bool> {
    Ok(false)
}

fn unknown(_: &Arc<dyn Kernel>) -> Result<bool> {
    Err(Error::new(ErrorKind::NotPermitted, "ask", "its node"))
}

/// Devices of which no group is known.
fn ungrouped() -> Machine {
    Machine {
        groups: Vec::new(),
        ungrouped: vec![machine::Device::edu(BDF), machine::Device::nvme(SECOND)],
        ..alone()
    }
}

#[test]
fn it_serves_devices_without_a_group_and_ends_with_the_last() {
    let (sim, vfio) = boot(ungrouped(), [own(here)]);
    let options = OpenOptions::default().in_space(AddressSpaceId::unique());
    let first = vfio.open_with(BDF.parse().unwrap(), options).unwrap();
    let second = vfio.open_with(SECOND.parse().unwrap(), options).unwrap();
    let domain = first.domain().clone();
    assert_eq!((domain.name(), second.domain()), ("own", &domain));
    drop(first);
    domain.capabilities().unwrap();
    let error = second.hot_reset(&[]).unwrap_err();
    assert!(
        error.to_string().contains("not open through a group"),
        "{error}"
    );
    drop(second);
    assert_eq!(domain.capabilities().unwrap_err().kind(), ErrorKind::Gone);
    assert!(sim.is_idle());
}

#[test]
fn kvm_is_told_of_the_device_itself() {
    let (sim, vfio) = boot(ungrouped().with_kvm(), [own(here)]);
    let device = open(&vfio, BDF).unwrap();
    let vm = create_vm(vfio.kernel()).unwrap();
    let kvm = KvmVfio::create(vfio.kernel(), vm.as_fd()).unwrap();
    // What this backend opens is no device to KVM.
    let error = kvm.add(&device).unwrap_err();
    assert_eq!(
        (error.errno(), error.device()),
        (Some(Errno::INVAL), Some(device.bdf()))
    );
    assert!(error.to_string().contains("takes no such file"), "{error}");
    drop((device, kvm, vm));
    assert!(sim.is_idle());
}

#[test]
fn a_token_is_not_forgotten_where_nobody_asks_for_it() {
    let (sim, vfio) = boot(ungrouped(), [own(here)]);
    let options = OpenOptions::default().with_vf_token(VfToken([1; 16]));
    let error = vfio.open_with(BDF.parse().unwrap(), options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("without a token"), "{error}");
    assert!(sim.is_idle());
}

#[test]
fn a_device_without_a_group_is_not_handed_over() {
    let (_, vfio) = boot(ungrouped(), [own(here)]);
    let error = open(&vfio, BDF).unwrap().hand_over().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("no group"), "{error}");
}

#[test]
fn another_address_space_is_another_context() {
    let (_, vfio) = boot(ungrouped(), [own(here)]);
    let (first, second) = (open(&vfio, BDF).unwrap(), open(&vfio, SECOND).unwrap());
    assert_ne!(first.domain(), second.domain());
}

#[test]
fn where_it_is_absent_the_others_are_tried() {
    let (_, vfio) = boot(alone(), [own(not_here), v2()]);
    assert_eq!(open(&vfio, BDF).unwrap().domain().name(), "v2");
    let (_, vfio) = boot(alone(), [own(unknown), v2()]);
    assert_eq!(open(&vfio, BDF).unwrap().domain().name(), "v2");
}

#[test]
fn its_probe_report_needs_no_group() {
    for (registration, expected) in [(own(here), 0), (own(not_here), 1), (own(unknown), 2)] {
        let (sim, vfio) = boot(alone(), [registration]);
        let reports = [vfio.probe().unwrap(), vfio.verify(2).unwrap()];
        for (report, verified) in reports.iter().zip([false, true]) {
            let support = &report[0].support;
            let seen = match (support, verified) {
                (Support::Advertised, false) | (Support::Verified(_), true) => 0,
                (Support::Absent, _) => 1,
                (Support::Unknown(_), _) => 2,
                other => panic!("{other:?}"),
            };
            assert_eq!(seen, expected, "{support:?}");
        }
        assert!(sim.is_idle());
    }
}

#[test]
fn a_refusal_names_every_backend_and_what_became_of_it() {
    let (sim, vfio) = boot(ungrouped(), [own(unknown), v2(), crate::setup::v1()]);
    let error = open(&vfio, BDF).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotPermitted, "{error}");
    let text = error.to_string();
    for word in [
        "own was refused",
        "v2 was refused",
        "no IOMMU group",
        "v1 was not tried",
    ] {
        assert!(text.contains(word), "{word}: {text}");
    }
    assert_eq!(error.causes().len(), 2);
    assert!(sim.is_idle());

    let nodes = Machine {
        container_node: Err(Errno::NOENT),
        ..alone()
    };
    let (_, vfio) = boot(nodes, [own(not_here), v2()]);
    let error = open(&vfio, BDF).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("own is absent"), "{text}");
    assert!(
        text.contains("v2 was refused (open /dev/vfio/vfio"),
        "{text}"
    );
}
