//! Dirty pages of a type1 container on a simulated kernel, which answers as one with a PCI device does (B34).
#![allow(clippy::unwrap_used)] // a test that cannot be set up must fail

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use iommu_spapr::SPAPR_V2;
use iommu_type1::{TYPE1, TYPE1_V2};
use vfio_core::address::{Access, Iova, IovaRange};
use vfio_core::iommu::{DirtyBitmap, DmaBuffer, Domain, Registration, Registry};
use vfio_core::kernel::{Errno, Kernel};
use vfio_core::uapi::{
    IOMMU_DIRTY_PAGES, IOMMU_DIRTY_PAGES_FLAG_START as START, IOMMU_DIRTY_PAGES_FLAG_STOP as STOP,
};
use vfio_core::{Device, ErrorKind, Result, Vfio};
use vfio_sim::wrap::{Call, FailNth, Input, Mode, Outcome, Request, Watch, Watched};
use vfio_sim::{Machine, SimKernel};

const PAGE: u64 = 4096;

/// What the kernel was told of dirty pages, with success.
#[derive(Debug, Default)]
struct Told {
    calls: AtomicU64,
    tracks: AtomicBool,
}

impl Watch for Told {
    fn after(&self, call: &Call<'_>, outcome: &Outcome<'_>) {
        let Request::Ioctl {
            opcode: IOMMU_DIRTY_PAGES,
            input: Input::Bytes([_, _, _, _, flags, ..]),
        } = call.request
        else {
            return;
        };
        assert!(outcome.answer.is_ok(), "{outcome:?}");
        self.calls.fetch_add(1, Ordering::Relaxed);
        match u32::from(*flags) {
            START => self.tracks.store(true, Ordering::Relaxed),
            STOP => self.tracks.store(false, Ordering::Relaxed),
            _ => {}
        }
    }
}

struct World {
    device: Device,
    vfio: Vfio,
    told: Arc<Told>,
    failing: Arc<FailNth>,
}

impl World {
    fn new() -> Self {
        Self::on(Machine::x86_64(), TYPE1_V2)
    }

    fn on(machine: Machine, registration: Registration) -> Self {
        let bdf = machine.groups[0].devices[0].bdf.parse().unwrap();
        let (told, failing) = (Arc::<Told>::default(), Arc::<FailNth>::default());
        let kernel: Arc<dyn Kernel> = Arc::new(SimKernel::new(machine));
        let kernel: Arc<dyn Kernel> = Arc::new(Watched::new(kernel, told.clone()));
        let kernel: Arc<dyn Kernel> = Arc::new(Watched::new(kernel, failing.clone()));
        let vfio = Vfio::on(kernel, Registry::of([registration]).unwrap());
        Self {
            device: vfio.open(bdf).unwrap(),
            vfio,
            told,
            failing,
        }
    }

    fn domain(&self) -> &Domain {
        self.device.domain()
    }

    /// Maps so many pages.
    fn map(&self, first: u64, count: u64) -> DmaBuffer {
        let size = usize::try_from(count * PAGE).unwrap();
        self.domain()
            .buffer(size, Iova(first * PAGE), Access::Read)
            .unwrap()
    }

    fn tracks(&self) -> bool {
        self.told.tracks.load(Ordering::Relaxed)
    }

    /// How often dirty pages were the matter since this was last asked.
    fn calls(&self) -> u64 {
        self.told.calls.swap(0, Ordering::Relaxed)
    }
}

fn pages(first: u64, count: u64) -> IovaRange {
    IovaRange::new(Iova(first * PAGE), count * PAGE).unwrap()
}

fn bitmap(first: u64, count: u64) -> DirtyBitmap {
    DirtyBitmap::new(pages(first, count), PAGE).unwrap()
}

#[test]
fn what_is_mapped_is_dirty_at_every_read_and_nothing_else() {
    let world = World::new();
    // One beside the other, tiny ones, some inside a word of the bitmap and some over many.
    let mapped = [
        (0x100, 1),
        (0x101, 1),
        (0x102, 300),
        (0x300, 1),
        (0x33f, 2),
        (0x400, 64),
    ];
    let _buffers = mapped.map(|(first, count)| world.map(first, count));
    let dirty = world.domain().dirty_pages().unwrap();
    assert_eq!(dirty.page_size(), PAGE);
    for (first, count) in [
        (0, 0x800),
        (0x100, 0x340),
        (0x101, 1),
        (0x180, 0x1a0),
        (0x33f, 1),
        (0x340, 1),
        (0x3ff, 2),
        (0x341, 0xbf),
        (0x500, 64),
    ] {
        let mut read = bitmap(first, count);
        let in_range = |it: &(u64, u64)| pages(it.0, it.1).intersection(pages(first, count));
        let mut expected = bitmap(first, count);
        for range in mapped.iter().filter_map(in_range) {
            expected.mark(range);
        }
        for _ in 0..2 {
            dirty.read_into(&mut read).unwrap();
            assert_eq!(read, expected);
            read.clear();
        }
    }
}

#[test]
fn mappings_are_asked_for_together() {
    let world = World::new();
    let _buffers: Vec<_> = (0..50)
        .map(|n| world.map(0x100 + 3 * n, 1 + n % 3))
        .collect();
    let dirty = world.domain().dirty_pages().unwrap();
    world.calls();
    let mut read = bitmap(0, 0x1000);
    dirty.read_into(&mut read).unwrap();
    assert_eq!(world.calls(), 1);
    let mapped = (0..50).map(|n| 1 + n % 3).sum::<u64>();
    assert_eq!(read.count(), mapped);
    // 64 GiB away is another question.
    let _far = world.map(0x100_0000, 1);
    dirty.read_into(&mut bitmap(0, 0x200_0000)).unwrap();
    assert_eq!(world.calls(), 2);
}

#[test]
fn mappings_come_and_go_while_they_are_tracked() {
    let world = World::new();
    let dirty = world.domain().dirty_pages().unwrap();
    let mut read = bitmap(0x100, 100);
    dirty.read_into(&mut read).unwrap();
    assert_eq!(read.count(), 0);
    let buffer = world.map(0x110, 3);
    dirty.read_into(&mut read).unwrap();
    assert_eq!(read.dirty_ranges().collect::<Vec<_>>(), [buffer.range()]);
    drop(buffer);
    dirty.read_into(&mut read).unwrap();
    assert_eq!(read.count(), 3, "what was told is the caller's");
    read.clear();
    dirty.read_into(&mut read).unwrap();
    assert_eq!(read.count(), 0);
}

#[test]
fn the_kernel_tracks_as_long_as_somebody_wants_it() {
    let world = World::new();
    let domain = world.domain();
    assert!(!world.tracks());
    let dirty = domain.dirty_pages().unwrap();
    assert!(world.tracks());
    assert_eq!(domain.dirty_pages().unwrap_err().kind(), ErrorKind::Busy);
    dirty.stop().unwrap();
    assert!(!world.tracks());
    drop(domain.dirty_pages().unwrap());
    assert!(!world.tracks());
}

#[test]
fn a_life_takes_its_tracking_with_it() {
    let mut world = World::new();
    let old = world.domain().dirty_pages().unwrap();
    let bdf = world.device.bdf();
    world.device.close().unwrap();
    let error = old.read_into(&mut bitmap(0, 1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Gone);

    world.device = world.vfio.open(bdf).unwrap();
    let _buffer = world.map(0x100, 1);
    let new = world.domain().dirty_pages().unwrap();
    world.calls();
    old.stop().unwrap();
    assert_eq!(world.calls(), 0, "the old one does not touch the new life");
    let mut read = bitmap(0x100, 1);
    new.read_into(&mut read).unwrap();
    assert_eq!(read.count(), 1);
}

#[test]
fn where_nothing_is_tracked_it_is_said_before_the_kernel_is_asked() {
    for world in [
        World::on(Machine::x86_64(), TYPE1),
        World::on(Machine::pseries(), SPAPR_V2),
    ] {
        let error = world.domain().dirty_pages().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert_eq!((error.errno(), world.calls()), (None, 0));
    }
}

/// What somebody does who wants dirty pages.
fn migrate(domain: &Domain, read: &mut DirtyBitmap) -> Result<()> {
    let dirty = domain.dirty_pages()?;
    dirty.read_into(read)?;
    dirty.stop()
}

#[test]
fn after_any_failure_nothing_is_tracked() {
    let world = World::new();
    let _near = world.map(0x100, 2);
    let _far = world.map(0x100_0000, 1);
    let mut read = bitmap(0, 0x200_0000);
    world.failing.disarm();
    migrate(world.domain(), &mut read).unwrap();
    let calls = world.failing.seen();
    assert_eq!(calls.len(), 5, "{calls:?}"); // the limits, start, two questions, stop
    for (n, name) in calls.iter().enumerate() {
        for errno in [Errno::INVAL, Errno::FAULT, Errno::NOMEM] {
            world.failing.arm(n, errno.into(), Mode::Once);
            let error = migrate(world.domain(), &mut read).unwrap_err();
            assert_eq!((error.operation(), error.errno()), (&**name, Some(errno)));
            let asked = [
                None,
                None,
                Some(pages(0x100, 2)),
                Some(pages(0x100_0000, 1)),
                None,
            ];
            assert_eq!(error.iova(), asked[n]);
            assert!(!world.tracks(), "call {n} failed, and it is tracked still");
            migrate(world.domain(), &mut read).unwrap();
        }
    }
}
