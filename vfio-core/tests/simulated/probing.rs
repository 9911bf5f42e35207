//! What a host can do: asked without attaching, or verified and released.

use std::ffi::OsString;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use vfio_core::address::{Access, HostRange, IovaRange, PageSizes};
use vfio_core::iommu::{
    BackendReport, Capabilities, IommuBackend, Reach, Registration, Registry, Support,
};
use vfio_core::kernel::{self, Arg, Errno, Kernel, Node, Opcode, Protection, RegionMapping};
use vfio_core::uapi::{GROUP_UNSET_CONTAINER, TYPE1_IOMMU, TYPE1V2_IOMMU};
use vfio_core::{Container, Error, ErrorKind, Result, Vfio};
use vfio_sim::SimKernel;
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
            locked: 0,
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

/// A kernel that does not let a group out of its container.
#[derive(Debug)]
struct Stuck(SimKernel);

#[allow(unsafe_code)] // passed on to the simulation
// SAFETY: passed on to the simulation.
unsafe impl Kernel for Stuck {
    fn open(&self, path: &Path) -> kernel::Result<OwnedFd> {
        self.0.open(path)
    }

    unsafe fn ioctl(
        &self,
        fd: BorrowedFd<'_>,
        opcode: Opcode,
        arg: Arg<'_>,
    ) -> kernel::Result<u32> {
        if opcode == GROUP_UNSET_CONTAINER {
            return Err(Errno::BUSY);
        }
        // SAFETY: passed on to our caller.
        unsafe { self.0.ioctl(fd, opcode, arg) }
    }

    unsafe fn ioctl_fd(
        &self,
        fd: BorrowedFd<'_>,
        opcode: Opcode,
        arg: Arg<'_>,
    ) -> kernel::Result<OwnedFd> {
        // SAFETY: passed on to our caller.
        unsafe { self.0.ioctl_fd(fd, opcode, arg) }
    }

    fn pread(&self, fd: BorrowedFd<'_>, bytes: &mut [u8], offset: u64) -> kernel::Result<usize> {
        self.0.pread(fd, bytes, offset)
    }

    fn pwrite(&self, fd: BorrowedFd<'_>, bytes: &[u8], offset: u64) -> kernel::Result<usize> {
        self.0.pwrite(fd, bytes, offset)
    }

    fn mmap(&self, len: usize) -> kernel::Result<NonNull<u8>> {
        self.0.mmap(len)
    }

    fn map_region(
        &self,
        device: BorrowedFd<'_>,
        offset: u64,
        len: usize,
        protection: Protection,
        align: usize,
    ) -> kernel::Result<RegionMapping> {
        self.0.map_region(device, offset, len, protection, align)
    }

    unsafe fn munmap(&self, addr: NonNull<u8>, len: usize) -> kernel::Result<()> {
        // SAFETY: passed on to our caller.
        unsafe { self.0.munmap(addr, len) }
    }

    unsafe fn keep_from_children(&self, addr: NonNull<u8>, len: usize) -> kernel::Result<()> {
        // SAFETY: passed on to our caller.
        unsafe { self.0.keep_from_children(addr, len) }
    }

    fn populate(&self, memory: HostRange, write: bool) -> kernel::Result<()> {
        self.0.populate(memory, write)
    }

    fn resident(&self, memory: HostRange, pages: &mut [u8]) -> kernel::Result<()> {
        self.0.resident(memory, pages)
    }

    fn eventfd(&self) -> kernel::Result<OwnedFd> {
        self.0.eventfd()
    }

    fn memlock_limit(&self) -> Option<u64> {
        self.0.memlock_limit()
    }

    fn page_size(&self) -> usize {
        self.0.page_size()
    }

    fn identity(&self) -> (String, String) {
        self.0.identity()
    }

    fn read(&self, path: &Path) -> kernel::Result<Vec<u8>> {
        self.0.read(path)
    }

    fn list(&self, path: &Path) -> kernel::Result<Vec<OsString>> {
        self.0.list(path)
    }

    fn read_link(&self, path: &Path) -> kernel::Result<PathBuf> {
        self.0.read_link(path)
    }

    fn node(&self, path: &Path) -> kernel::Result<Node> {
        self.0.node(path)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> kernel::Result<()> {
        self.0.write(path, bytes)
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

#[test]
fn a_group_that_was_not_released_is_an_error() {
    for backend in [v2(), Forgetful::BACKEND] {
        let kernel = Arc::new(Stuck(SimKernel::new(alone())));
        let vfio = Vfio::on(kernel, Registry::of([backend]).unwrap());
        let error = vfio.verify(2).unwrap_err();
        assert_eq!(error.operation(), "VFIO_GROUP_UNSET_CONTAINER");
        // Not `Busy`: nobody else has it.
        assert_eq!(error.kind(), ErrorKind::Kernel);
        assert!(error.to_string().contains("not released"), "{error}");
    }
}

#[test]
fn a_group_that_is_absent_or_not_bound_is_said_before_anything_is_opened() {
    let spoiler = Device::nvme("0000:00:05.0").driven_by("nvme");
    let (sim, vfio) = boot(host([Device::edu(BDF).unbound(), spoiler]), [v2()]);
    let absent = vfio.verify(99).unwrap_err();
    assert_eq!(absent.kind(), ErrorKind::NoSuchDevice);
    assert!(absent.to_string().contains("group 99 is not there"));
    let unbound = vfio.verify(2).unwrap_err();
    assert_eq!(unbound.kind(), ErrorKind::NotBound);
    let text = unbound.to_string();
    assert!(text.contains("0000:00:04.0 (no driver), 0000:00:05.0 (nvme)"));
    let (_, vfio) = boot(host([]), [v2()]);
    let empty = vfio.verify(2).unwrap_err().to_string();
    assert!(empty.contains("no PCI device"), "{empty}");
    assert_eq!(changes(&sim), Vec::<String>::new());
}
