//! What a host can do: asked without attaching, or verified and released.

use std::sync::atomic::{AtomicBool, Ordering};

use vfio_core::address::{Access, HostRange, IovaRange, PageSizes};
use vfio_core::iommu::{BackendReport, Capabilities, IommuBackend, Reach, Registration, Support};
use vfio_core::kernel::Errno;
use vfio_core::uapi::{TYPE1_IOMMU, TYPE1V2_IOMMU};
use vfio_core::{Container, Error, ErrorKind, Result};
use vfio_sim::machine::Device;

use crate::setup::{BDF, alone, backend, boot, changes, host, open, v1, v2};

/// Attaches, and then cannot say what it can do.
#[derive(Debug, Default)]
struct Forgetful {
    was_asked: AtomicBool,
}

impl Forgetful {
    const BACKEND: Registration = Registration {
        name: "forgetful",
        preference: 10,
        reach: Reach::Container {
            extension: TYPE1V2_IOMMU,
            attach: Self::attach,
        },
    };

    fn attach(_: Container) -> Result<Box<dyn IommuBackend>> {
        Ok(Box::new(Self::default()))
    }
}

#[allow(unsafe_code)] // the trait's promise
// SAFETY: it maps nothing.
unsafe impl IommuBackend for Forgetful {
    fn capabilities(&self) -> Result<Capabilities> {
        if self.was_asked.swap(true, Ordering::Relaxed) {
            return Err(Error::kernel("ask", "the forgetful backend", Errno::IO));
        }
        Ok(Capabilities {
            page_sizes: PageSizes(4096),
            apertures: Vec::new(),
            mappings_left: None,
            windows: None,
        })
    }

    #[allow(unsafe_code)] // the trait's; nothing is mapped
    unsafe fn map(&self, _: IovaRange, _: HostRange, _: Access) -> Result<()> {
        unreachable!("nothing is mapped")
    }

    fn unmap(&self, _: IovaRange) -> Result<u64> {
        unreachable!("nothing is mapped")
    }
}

fn states(reports: &[BackendReport]) -> Vec<(&str, &str)> {
    let state = |support: &_| match support {
        Support::Verified(_) => "verified",
        Support::Advertised => "advertised",
        Support::Absent => "absent",
        Support::Refused(_) => "refused",
        Support::Unknown(_) => "unknown",
    };
    reports
        .iter()
        .map(|report| (report.name, state(&report.support)))
        .collect()
}

#[test]
fn a_probe_tells_what_is_advertised_and_attaches_nothing() {
    let (sim, vfio) = boot(
        alone().refuse(TYPE1_IOMMU, Errno::PERM),
        [v1(), backend("spapr", 30, 7)],
    );
    let reports = vfio.probe().unwrap();
    assert_eq!(
        states(&reports),
        [("v1", "advertised"), ("spapr", "absent")]
    );
    assert_eq!(changes(&sim), ["container 0: open", "container 0: close"]);
}

#[test]
fn verifying_tells_what_works_and_releases_everything() {
    let backends = [v1(), v2(), backend("spapr", 30, 7)];
    let (sim, vfio) = boot(alone().refuse(TYPE1_IOMMU, Errno::PERM), backends);
    let reports = vfio.verify(2).unwrap();
    assert_eq!(
        states(&reports),
        [("v2", "verified"), ("v1", "refused"), ("spapr", "absent")]
    );
    match &reports[1].support {
        Support::Refused(error) => assert_eq!(error.errno(), Some(Errno::PERM)),
        other => unreachable!("{other:?}"),
    }
    assert!(sim.is_idle());
    assert_eq!(open(&vfio, BDF).unwrap().domain().name(), "v2");
}

#[test]
fn what_cannot_be_found_out_is_unknown_and_released() {
    let (sim, vfio) = boot(alone(), [Forgetful::BACKEND, v1()]);
    let reports = vfio.verify(2).unwrap();
    assert_eq!(
        states(&reports),
        [("forgetful", "unknown"), ("v1", "verified")]
    );
    assert!(sim.is_idle());
}

#[test]
fn what_keeps_a_group_from_being_verified_is_said_once() {
    let (sim, vfio) = boot(
        host([
            Device::edu(BDF),
            Device::nvme("0000:00:05.0").driven_by("nvme"),
        ]),
        [v2()],
    );
    assert_eq!(vfio.verify(2).unwrap_err().kind(), ErrorKind::NotViable);
    assert!(sim.is_idle());
}

#[test]
fn a_group_in_use_is_not_verified_and_not_disturbed() {
    let (sim, vfio) = boot(alone(), [v2()]);
    let device = open(&vfio, BDF).unwrap();
    let before = sim.open_objects();
    assert_eq!(vfio.verify(2).unwrap_err().kind(), ErrorKind::Busy);
    assert_eq!(sim.open_objects(), before);
    device.domain().capabilities().unwrap();
}
