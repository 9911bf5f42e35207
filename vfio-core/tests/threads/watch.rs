//! A backend that sees when the contract above it is broken.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use shuttle::thread::yield_now;
use vfio_core::address::{Access, HostRange, Iova, IovaRange, PageSizes};
use vfio_core::iommu::{
    Aperture, Capabilities, DirtyLimits, DirtyTracking, IommuBackend, Reach, Registration, Registry,
};
use vfio_core::uapi::TYPE1V2_IOMMU;
use vfio_core::{Container, Device, Result, Vfio};
use vfio_sim::machine::{self, Group};
use vfio_sim::{Machine, SimKernel};

pub(crate) const PAGE: u64 = 0x1000;
pub(crate) const BDF: &str = "0000:00:04.0";
pub(crate) const SIBLING: &str = "0000:00:05.0";

thread_local! {
    /// What the next backend tells; the threads of one run are all on one of the system's.
    static NEXT: RefCell<Arc<Watch>> = RefCell::default();
}

/// What happens in a backend. It has no locks that the scheduler knows, and gives way while it holds none.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    mapped: Mutex<Vec<IovaRange>>,
    calls: AtomicUsize,
    /// Whether somebody has dirty pages tracked.
    tracks: AtomicBool,
    /// Whether the life of the context has ended, as far as the test knows.
    over: AtomicBool,
}

impl Watch {
    /// From now on no call may come, and none may be on its way.
    pub(crate) fn is_over(&self) {
        self.over.store(true, Ordering::SeqCst);
        assert_eq!(
            self.calls.load(Ordering::SeqCst),
            0,
            "a call is in the kernel"
        );
    }

    fn call<T>(&self, change: impl FnOnce(&mut Vec<IovaRange>) -> T) -> T {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let alive = || assert!(!self.over.load(Ordering::SeqCst), "called after the end");
        alive();
        yield_now();
        let answer = change(&mut self.mapped.lock().unwrap());
        yield_now();
        alive();
        self.calls.fetch_sub(1, Ordering::SeqCst);
        answer
    }
}

#[derive(Debug)]
struct Watched {
    watch: Arc<Watch>,
    _container: Container,
}

#[allow(unsafe_code)] // the trait's promise
// SAFETY: it maps nothing.
unsafe impl IommuBackend for Watched {
    fn capabilities(&self) -> Result<Capabilities> {
        let range = IovaRange::inclusive(Iova(0), Iova(0xffff)).unwrap();
        Ok(Capabilities {
            page_sizes: PageSizes(PAGE),
            apertures: vec![Aperture {
                range,
                page_size: PAGE,
            }],
            mappings_left: None,
            locked: 0,
            windows: None,
        })
    }

    fn dirty_tracking(&self) -> Option<&dyn DirtyTracking> {
        Some(self)
    }

    #[allow(unsafe_code)] // the trait's; nothing is mapped
    unsafe fn map(&self, iova: IovaRange, _: HostRange, _: Access) -> Result<()> {
        self.watch.call(|mapped| {
            assert!(mapped.iter().all(|known| !known.overlaps(iova)), "{iova}");
            mapped.push(iova);
        });
        Ok(())
    }

    fn unmap(&self, iova: IovaRange) -> Result<u64> {
        self.watch.call(|mapped| {
            let at = mapped.iter().position(|known| *known == iova);
            mapped.swap_remove(at.expect("what is unmapped was mapped whole"));
        });
        Ok(iova.size())
    }
}

/// Asks what a question may not do, however threads map and unmap meanwhile: cut a mapping (B34).
impl DirtyTracking for Watched {
    fn limits(&self) -> Result<DirtyLimits> {
        Ok(DirtyLimits {
            page_size: PAGE,
            largest_bitmap: 8,
        })
    }

    fn start(&self) -> Result<()> {
        let tracks = || self.watch.tracks.swap(true, Ordering::SeqCst);
        self.watch
            .call(|_| assert!(!tracks(), "somebody tracks already"));
        Ok(())
    }

    fn stop(&self) -> Result<()> {
        let tracks = || self.watch.tracks.swap(false, Ordering::SeqCst);
        self.watch.call(|_| assert!(tracks(), "nobody tracks"));
        Ok(())
    }

    fn read(&self, range: IovaRange, _: u64, _: &mut [u64]) -> Result<()> {
        self.watch.call(|mapped| {
            let mut reached = mapped.iter().filter(|known| known.overlaps(range));
            assert!(reached.all(|known| range.contains(*known)), "{range} cuts");
        });
        Ok(())
    }
}

fn attach(container: Container) -> Result<Box<dyn IommuBackend>> {
    Ok(Box::new(Watched {
        watch: NEXT.with_borrow(Arc::clone),
        _container: container,
    }))
}

/// A host with two devices in one group, and a watched backend.
pub(crate) fn boot() -> (Vfio, Arc<Watch>) {
    let watch = Arc::<Watch>::default();
    NEXT.set(Arc::clone(&watch));
    let devices = [BDF, SIBLING].map(machine::Device::edu);
    let kernel = SimKernel::new(Machine {
        groups: vec![Group::new(2, devices)],
        ..Machine::x86_64()
    });
    let registration = Registration {
        name: "watched",
        preference: 1,
        reach: Reach::Container {
            extension: TYPE1V2_IOMMU,
            attach,
        },
    };
    let registry = Registry::of([registration]).unwrap();
    (Vfio::on(Arc::new(kernel), registry), watch)
}

pub(crate) fn open(vfio: &Vfio, bdf: &str) -> Result<Device> {
    vfio.open(bdf.parse().unwrap())
}
