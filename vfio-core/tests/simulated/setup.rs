//! Simulated hosts, and a backend that asks the kernel for nothing.

use std::sync::Arc;

use vfio_core::address::{Access, HostRange, Iova, IovaRange, PageSizes};
use vfio_core::iommu::{
    Aperture, Capabilities, DirtyTracking, ErrorIsolation, IommuBackend, LiveUpdate, Reach,
    Registration, Registry,
};
use vfio_core::uapi::{TYPE1_IOMMU, TYPE1V2_IOMMU};
use vfio_core::{Container, Device, Result, Vfio};
use vfio_sim::machine::{self, Group};
use vfio_sim::{Machine, SimKernel};

/// The device of [`alone`].
pub(crate) const BDF: &str = "0000:00:04.0";

/// Maps nothing. It holds the container, as those that issue ioctls must.
#[derive(Debug)]
pub(crate) struct Idle {
    _container: Container,
    dirty: Option<&'static dyn DirtyTracking>,
    live: Option<&'static dyn LiveUpdate>,
    errors: Option<&'static dyn ErrorIsolation>,
}

impl Idle {
    fn new(container: Container) -> Self {
        Self {
            _container: container,
            dirty: None,
            live: None,
            errors: None,
        }
    }

    /// One that knows which pages are dirty.
    pub(crate) fn tracking(container: Container, dirty: &'static dyn DirtyTracking) -> Self {
        Self {
            dirty: Some(dirty),
            ..Self::new(container)
        }
    }

    /// One that isolates errors.
    pub(crate) fn isolating(container: Container, errors: &'static dyn ErrorIsolation) -> Self {
        Self {
            errors: Some(errors),
            ..Self::new(container)
        }
    }

    /// One whose mappings can outlive a process.
    pub(crate) fn updating(container: Container, live: &'static dyn LiveUpdate) -> Self {
        Self {
            live: Some(live),
            ..Self::new(container)
        }
    }
}

#[allow(unsafe_code)] // the trait's promise
// SAFETY: it maps nothing.
unsafe impl IommuBackend for Idle {
    fn capabilities(&self) -> Result<Capabilities> {
        Ok(idle_capabilities())
    }

    fn dirty_tracking(&self) -> Option<&dyn DirtyTracking> {
        self.dirty
    }

    fn error_isolation(&self) -> Option<&dyn ErrorIsolation> {
        self.errors
    }

    fn live_update(&self) -> Option<&dyn LiveUpdate> {
        self.live
    }

    #[allow(unsafe_code)] // the trait's; nothing is mapped
    unsafe fn map(&self, _: IovaRange, _: HostRange, _: Access) -> Result<()> {
        Ok(())
    }

    fn unmap(&self, iova: IovaRange) -> Result<u64> {
        Ok(iova.size())
    }
}

/// What a backend that maps nothing says of itself.
pub(crate) fn idle_capabilities() -> Capabilities {
    let range = IovaRange::inclusive(Iova(0), Iova(0xffff_ffff)).unwrap();
    Capabilities {
        page_sizes: PageSizes(4096),
        apertures: vec![Aperture {
            range,
            page_size: 4096,
        }],
        mappings_left: None,
        locked: 0,
        windows: None,
    }
}

fn attach(container: Container) -> Result<Box<dyn IommuBackend>> {
    Ok(Box::new(Idle::new(container)))
}

/// A backend of that type that works wherever the kernel does not refuse the type.
pub(crate) fn backend(name: &'static str, preference: u32, extension: u32) -> Registration {
    Registration {
        name,
        preference,
        reach: Reach::Container { extension, attach },
    }
}

pub(crate) fn v1() -> Registration {
    backend("v1", 20, TYPE1_IOMMU)
}

pub(crate) fn v2() -> Registration {
    backend("v2", 10, TYPE1V2_IOMMU)
}

/// A host with type1 and these devices in group 2.
pub(crate) fn host(devices: impl IntoIterator<Item = machine::Device>) -> Machine {
    Machine {
        groups: vec![Group::new(2, devices)],
        ..Machine::x86_64()
    }
}

/// A host with one device, [`BDF`], alone in its group.
pub(crate) fn alone() -> Machine {
    host([machine::Device::edu(BDF)])
}

/// VFIO on that machine with those backends, and its kernel.
pub(crate) fn boot(
    machine: Machine,
    backends: impl IntoIterator<Item = Registration>,
) -> (SimKernel, Vfio) {
    let sim = SimKernel::new(machine);
    let vfio = Vfio::on(Arc::new(sim.clone()), Registry::of(backends).unwrap());
    (sim, vfio)
}

pub(crate) fn open(vfio: &Vfio, bdf: &str) -> Result<Device> {
    vfio.open(bdf.parse().unwrap())
}

/// What was called since this was last asked, without the queries, which change nothing.
pub(crate) fn changes(sim: &SimKernel) -> Vec<String> {
    const QUERIES: [&str; 3] = ["GET_API_VERSION", "CHECK_EXTENSION", "GET_STATUS"];
    sim.take_log()
        .iter()
        .filter(|event| !QUERIES.iter().any(|query| event.call.contains(query)))
        .map(ToString::to_string)
        .collect()
}
