//! An IOMMU context that is reached in its own way: a device comes from a node of its own, as with iommufd.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use vfio_core::address::{Access, HostRange, Iova, IovaRange, PageSizes};
use vfio_core::host::Bdf;
use vfio_core::iommu::{Aperture, Capabilities, IommuBackend, Reach, Registration};
use vfio_core::kernel::Kernel;
use vfio_core::{Error, ErrorKind, Result};

/// Its name.
pub const NAME: &str = "outside";

/// How it presents itself.
pub const OUTSIDE: Registration = Registration {
    name: NAME,
    preference: 1,
    reach: Reach::Own { probe, attach },
};
vfio_core::inventory::submit!(OUTSIDE);

/// The directory that is there if the host has this IOMMU.
const HERE: &str = "/sys/bus/pci/devices";

fn probe(kernel: &Arc<dyn Kernel>) -> Result<bool> {
    Ok(kernel.list(Path::new(HERE)).is_ok())
}

fn attach(kernel: &Arc<dyn Kernel>) -> Result<Box<dyn IommuBackend>> {
    Ok(Box::new(Outside {
        kernel: Arc::clone(kernel),
        mapped: Mutex::default(),
    }))
}

/// A context that translates for nobody, and remembers what it was told.
#[derive(Debug)]
struct Outside {
    kernel: Arc<dyn Kernel>,
    mapped: Mutex<BTreeSet<u64>>,
}

// SAFETY: no device reaches anything through it.
unsafe impl IommuBackend for Outside {
    fn capabilities(&self) -> Result<Capabilities> {
        let range = IovaRange::inclusive(Iova(0x10_0000), Iova(0xffff_ffff));
        Ok(Capabilities {
            page_sizes: PageSizes(4096),
            apertures: range
                .map(|range| Aperture {
                    range,
                    page_size: 4096,
                })
                .into_iter()
                .collect(),
            mappings_left: None,
            locked: 0,
            windows: None,
        })
    }

    fn open_device(&self, device: Bdf) -> Result<OwnedFd> {
        self.kernel
            .eventfd()
            .map_err(|errno| Error::kernel("open", device.to_string(), errno).of_device(device))
    }

    unsafe fn map(&self, iova: IovaRange, _: HostRange, _: Access) -> Result<()> {
        let mut mapped = self.mapped.lock().unwrap_or_else(PoisonError::into_inner);
        mapped.insert(iova.first().0);
        Ok(())
    }

    fn unmap(&self, iova: IovaRange) -> Result<u64> {
        let mut mapped = self.mapped.lock().unwrap_or_else(PoisonError::into_inner);
        if mapped.remove(&iova.first().0) {
            return Ok(iova.size());
        }
        Err(Error::new(ErrorKind::Invalid, "unmap", NAME).at(iova))
    }
}
