//! The contract of a domain, over a backend that has windows and can be told to fail.

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicBool, Ordering};

use vfio_core::address::{Access, DmaMask, HostRange, Iova, IovaRange, PageSizes};
use vfio_core::iommu::{
    Aperture, Capabilities, Domain, IommuBackend, Placement, Reach, Registration, Window,
    WindowLimits, WindowPages, WindowRequest, Windows,
};
use vfio_core::uapi::TYPE1V2_IOMMU;
use vfio_core::{Container, Device, Error, ErrorKind, Result};

use crate::board::Board;
use crate::setup::{BDF, alone, boot, open, v2};

const PAGE: u64 = 0x1_0000;
const LOW: (u64, u64) = (0, 0x3fff_ffff);
const HIGH: (u64, u64) = (1 << 59, (1 << 59) + 0xfff_ffff);

thread_local! {
    /// What the backend of this test was asked for.
    static LOG: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    static HAS_HIGH: Cell<bool> = const { Cell::new(false) };
    static HIGH_IS: Cell<(u64, u64)> = const { Cell::new(HIGH) };
    static MAP_FAILS: Cell<bool> = const { Cell::new(false) };
    /// How many bytes an unmap answers; the truth if it is `None`; an error if it is `Some(None)`.
    static UNMAP_ANSWERS: Cell<Option<Option<u64>>> = const { Cell::new(None) };
}

fn log(line: String) {
    LOG.with_borrow_mut(|log| log.push(line));
}

fn logged() -> Vec<String> {
    LOG.take()
}

#[derive(Debug)]
struct Windowed;

fn aperture((first, last): (u64, u64)) -> Aperture {
    Aperture {
        range: IovaRange::inclusive(Iova(first), Iova(last)).unwrap(),
        page_size: PAGE,
    }
}

fn failure() -> Error {
    Error::new(ErrorKind::Kernel, "do", "what the test forbids")
}

#[allow(unsafe_code)] // the trait's promise
// SAFETY: it maps nothing.
unsafe impl IommuBackend for Windowed {
    fn capabilities(&self) -> Result<Capabilities> {
        let high = HAS_HIGH.get().then(|| aperture(HIGH_IS.get()));
        Ok(Capabilities {
            page_sizes: PageSizes(PAGE),
            apertures: [aperture(LOW)].into_iter().chain(high).collect(),
            mappings_left: None,
            locked: 0,
            windows: Some(WindowLimits {
                page_sizes: PageSizes(PAGE),
                count: 2,
                levels: 1,
            }),
        })
    }

    fn windows(&self) -> Option<&dyn Windows> {
        Some(self)
    }

    #[allow(unsafe_code)] // the trait's; nothing is mapped
    unsafe fn map(&self, iova: IovaRange, memory: HostRange, _: Access) -> Result<()> {
        log(format!("map {iova} {:#x}", memory.len()));
        match MAP_FAILS.get() {
            true => Err(failure()),
            false => Ok(()),
        }
    }

    fn unmap(&self, iova: IovaRange) -> Result<u64> {
        log(format!("unmap {iova}"));
        match UNMAP_ANSWERS.get() {
            None => Ok(iova.size()),
            Some(answer) => answer.ok_or_else(failure),
        }
    }
}

fn window(addresses: (u64, u64)) -> Window {
    let Aperture { range, page_size } = aperture(addresses);
    Window {
        range,
        page_size,
        levels: 1,
    }
}

impl Windows for Windowed {
    fn make_room(&self, _: u64, mask: DmaMask) -> Result<bool> {
        let makes = !HAS_HIGH.get() && mask.highest().0 >= HIGH.1;
        HAS_HIGH.set(HAS_HIGH.get() || makes);
        Ok(makes)
    }

    fn create(&self, _: &WindowRequest) -> Result<Window> {
        log("create".to_owned());
        HAS_HIGH.set(true);
        Ok(window(HIGH_IS.get()))
    }

    fn remove(&self, start: Iova) -> Result<()> {
        log(format!("remove {start}"));
        HAS_HIGH.set(false);
        Ok(())
    }

    fn reset(&self) -> Result<()> {
        log("reset".to_owned());
        HAS_HIGH.set(false);
        Ok(())
    }

    fn settle(&self, _: Iova) -> Result<()> {
        Ok(())
    }

    fn list(&self) -> Vec<Window> {
        let high = HAS_HIGH.get().then(|| window(HIGH_IS.get()));
        [window(LOW)].into_iter().chain(high).collect()
    }

    fn initial(&self) -> Vec<Window> {
        vec![window(LOW)]
    }
}

fn attached() -> (Device, Domain) {
    attached_to(|_| Ok(Box::new(Windowed)))
}

fn windowed(attach: fn(Container) -> Result<Box<dyn IommuBackend>>) -> Registration {
    Registration {
        name: "windowed",
        preference: 1,
        reach: Reach::Container {
            extension: TYPE1V2_IOMMU,
            attach,
        },
    }
}

fn attached_to(attach: fn(Container) -> Result<Box<dyn IommuBackend>>) -> (Device, Domain) {
    let (_, vfio) = boot(alone(), [windowed(attach)]);
    let device = open(&vfio, BDF).unwrap();
    let domain = device.domain().clone();
    (device, domain)
}

fn iova(first: u64, size: u64) -> IovaRange {
    IovaRange::new(Iova(first), size).unwrap()
}

/// Maps memory that is not there: the backend only writes it down.
#[allow(unsafe_code)] // nothing is mapped
fn map(domain: &Domain, first: u64, size: u64, addr: usize) -> Result<()> {
    let memory = HostRange::new(addr, usize::try_from(size).unwrap()).unwrap();
    // SAFETY: the backend maps nothing.
    unsafe { domain.map(iova(first, size), memory, Access::ReadWrite) }
}

#[test]
fn what_is_wrong_is_refused_before_the_backend_is_asked() {
    let (_device, domain) = attached();
    map(&domain, PAGE, 2 * PAGE, 0x10_0000).unwrap();
    assert_eq!(logged(), ["map [0x10000-0x2ffff] 0x20000"]);

    let wrong = [
        (2 * PAGE, PAGE, 0x10_0000, ErrorKind::Overlap),
        (0, 4 * PAGE, 0x10_0000, ErrorKind::Overlap),
        (LOW.1 + 1, PAGE, 0x10_0000, ErrorKind::OutOfReach),
        (LOW.1 + 1 - PAGE, 2 * PAGE, 0x10_0000, ErrorKind::OutOfReach),
        (4 * PAGE + 8, PAGE, 0x10_0000, ErrorKind::Invalid),
        (4 * PAGE, PAGE + 8, 0x10_0000, ErrorKind::Invalid),
        (4 * PAGE, PAGE, 0x10_0008, ErrorKind::Invalid),
    ];
    for (first, size, addr, kind) in wrong {
        let error = map(&domain, first, size, addr).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert_eq!(error.iova(), Some(iova(first, size)));
    }
    let memory = HostRange::new(0x10_0000, 0x2_0000).unwrap();
    #[allow(unsafe_code)] // nothing is mapped
    // SAFETY: the backend maps nothing.
    let error = unsafe { domain.map(iova(4 * PAGE, PAGE), memory, Access::Read) }.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);

    let error = domain.unmap(iova(PAGE, PAGE)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert!(
        error.to_string().contains("the windowed context"),
        "{error}"
    );
    assert_eq!(format!("{domain:?}"), "Domain(\"windowed\")");
    assert_eq!(logged(), [""; 0]);
}

#[test]
fn an_unmap_takes_whole_mappings_and_answers_their_bytes() {
    let (_device, domain) = attached();
    map(&domain, PAGE, PAGE, 0).unwrap();
    map(&domain, 3 * PAGE, 2 * PAGE, 0).unwrap();
    logged();
    assert_eq!(domain.unmap(iova(8 * PAGE, PAGE)).unwrap(), 0);
    assert_eq!(domain.unmap(iova(0, 8 * PAGE)).unwrap(), 3 * PAGE);
    assert_eq!(
        logged(),
        ["unmap [0x10000-0x1ffff]", "unmap [0x30000-0x4ffff]"]
    );
    map(&domain, PAGE, 4 * PAGE, 0).unwrap();
}

#[test]
fn a_failed_map_leaves_nothing() {
    let (_device, domain) = attached();
    MAP_FAILS.set(true);
    assert!(map(&domain, PAGE, PAGE, 0).is_err());
    MAP_FAILS.set(false);
    map(&domain, PAGE, PAGE, 0).unwrap();
}

#[test]
fn what_was_not_unmapped_stays_in_the_books_and_nothing_after_it_is_tried() {
    for (answer, kind) in [
        (None, ErrorKind::Kernel),
        (Some(PAGE / 2), ErrorKind::Kernel),
    ] {
        let (_device, domain) = attached();
        map(&domain, PAGE, PAGE, 0).unwrap();
        map(&domain, 2 * PAGE, PAGE, 0).unwrap();
        logged();
        UNMAP_ANSWERS.set(Some(answer));
        let error = domain.unmap(iova(0, 4 * PAGE)).unwrap_err();
        UNMAP_ANSWERS.set(None);
        assert_eq!(error.kind(), kind, "{error}");
        assert_eq!(logged(), ["unmap [0x10000-0x1ffff]"]);
        let error = map(&domain, PAGE, PAGE, 0).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Overlap, "{error}");
        assert_eq!(domain.unmap(iova(0, 4 * PAGE)).unwrap(), 2 * PAGE);
    }
}

#[test]
fn addresses_come_from_the_highest_aperture_that_the_mask_allows() {
    let (_device, domain) = attached();
    let low = domain.alloc(1, DmaMask::bits(32)).unwrap();
    assert_eq!(low.range(), iova(PAGE, PAGE));
    let high = domain.alloc(PAGE + 1, DmaMask::bits(64)).unwrap();
    assert_eq!(high.range(), iova(HIGH.0, 2 * PAGE));
    let other = domain.alloc(PAGE, DmaMask::bits(64)).unwrap();
    assert_eq!(other.range(), iova(HIGH.0 + 2 * PAGE, PAGE));
    drop(high);
    let again = domain.alloc(PAGE, DmaMask::bits(64)).unwrap();
    assert_eq!(again.range(), iova(HIGH.0, PAGE));

    assert_eq!(
        domain.alloc(0, DmaMask::bits(64)).unwrap_err().kind(),
        ErrorKind::Invalid
    );
    let error = domain.alloc(1 << 31, DmaMask::bits(32)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exhausted, "{error}");
    let error = domain.alloc(PAGE, DmaMask::bits(16)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exhausted, "{error}");
}

#[test]
fn usable_ranges_are_those_that_the_kernel_told_last() {
    let (device, domain) = attached();
    let low = IovaRange::inclusive(Iova(LOW.0), Iova(LOW.1)).unwrap();
    let high = IovaRange::inclusive(Iova(HIGH.0), Iova(HIGH.1)).unwrap();
    assert_eq!(domain.usable_ranges().unwrap(), [low]);
    HAS_HIGH.set(true);
    assert_eq!(domain.usable_ranges().unwrap(), [low], "nobody is asked");
    HAS_HIGH.set(false);
    drop(domain.alloc(PAGE, DmaMask::bits(64)).unwrap());
    assert_eq!(domain.usable_ranges().unwrap(), [low, high]);
    drop(device);
    let error = domain.usable_ranges().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Gone);
}

#[test]
fn addresses_of_somebodys_choice_are_reserved_like_others() {
    let (device, domain) = attached();
    let first = domain.alloc(PAGE, DmaMask::bits(32)).unwrap();
    let second = domain.alloc_at(Iova(2 * PAGE), PAGE + 1).unwrap();
    assert_eq!(second.range(), iova(2 * PAGE, 2 * PAGE));
    assert_eq!(second.page_size(), PAGE);
    let next = domain.alloc(PAGE, DmaMask::bits(32)).unwrap();
    assert_eq!(next.range(), iova(4 * PAGE, PAGE));

    map(&domain, 8 * PAGE, PAGE, 0).unwrap();
    logged();
    for (start, size, kind) in [
        (first.range().first().0, PAGE, ErrorKind::Overlap),
        (3 * PAGE, 2 * PAGE, ErrorKind::Overlap),
        (7 * PAGE, 2 * PAGE, ErrorKind::Overlap),
        (5 * PAGE + 8, 8, ErrorKind::Invalid),
        (5 * PAGE, 0, ErrorKind::Invalid),
        (u64::MAX, 2, ErrorKind::Invalid),
        (LOW.1 + 1, PAGE, ErrorKind::OutOfReach),
        (LOW.1 + 1 - PAGE, PAGE + 1, ErrorKind::OutOfReach),
        (HIGH.0, PAGE, ErrorKind::OutOfReach),
    ] {
        let error = domain.alloc_at(Iova(start), size).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.reason().is_some(), "{error}");
    }
    drop(second);
    let again = domain.alloc_at(Iova(3 * PAGE), PAGE).unwrap();
    assert_eq!(again.range(), iova(3 * PAGE, PAGE));
    assert_eq!(logged(), [""; 0], "nothing of this is the backend's matter");
    drop(device);
    let error = domain.alloc_at(Iova(5 * PAGE), PAGE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Gone);
}

#[test]
fn a_buffer_is_where_its_owner_wants_it() {
    let (_device, domain) = attached();
    let there = Iova(5 * PAGE);
    let buffer = domain.buffer(8, there, Access::Read).unwrap();
    assert_eq!(logged(), ["map [0x50000-0x5ffff] 0x10000"]);
    assert_eq!((buffer.iova(), buffer.len()), (there, 0x1_0000));
    assert_eq!(buffer.host_range().unwrap().len(), buffer.len());
    for (place, kind, why) in [
        (there, ErrorKind::Overlap, "[0x50000-0x5ffff] is mapped"),
        (Iova(HIGH.0), ErrorKind::OutOfReach, "[0x0-0x3fffffff]"),
    ] {
        let error = domain.buffer(8, place, Access::Read).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.reason().unwrap().contains(why), "{error}");
    }
    assert_eq!(logged(), [""; 0]);
    drop(buffer);
    drop(domain.buffer(8, there, Access::Read).unwrap());
}

#[test]
fn a_buffer_is_at_its_own_address_where_the_iommu_reaches_that() {
    let same = Placement::SameAsMemory(DmaMask::bits(64));
    HAS_HIGH.set(true);
    let (_device, domain) = attached();
    let buffer = domain.buffer(5, same, Access::ReadWrite).unwrap();
    assert_eq!(
        buffer.iova(),
        Iova(HIGH.0),
        "no aperture is where memory is"
    );
    drop(buffer);

    HIGH_IS.set((1 << 32, u64::MAX >> 1));
    let (_device, domain) = attached();
    logged();
    let buffer = domain.buffer(5, same, Access::ReadWrite).unwrap();
    let memory = buffer.host_range().unwrap();
    assert_eq!(buffer.iova(), Iova(memory.addr() as u64));
    assert_eq!(buffer.range(), iova(buffer.iova().0, PAGE));
    assert_eq!(logged(), [format!("map {} 0x10000", buffer.range())]);
    let taken = domain.alloc_at(buffer.iova(), 1).unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::Overlap);

    // The device does not reach so far.
    let low = Placement::SameAsMemory(DmaMask::bits(32));
    let buffer = domain.buffer(5, low, Access::ReadWrite).unwrap();
    assert_eq!(buffer.range(), iova(PAGE, PAGE));
    let nothing = domain.buffer(0, same, Access::Read).unwrap_err();
    assert_eq!(nothing.kind(), ErrorKind::Invalid);
}

#[test]
fn a_window_in_use_is_not_removed() {
    let (_device, domain) = attached();
    let reserved = domain.alloc(PAGE, DmaMask::bits(64)).unwrap();
    let start = Iova(HIGH.0);
    assert_eq!(
        domain.remove_window(start).unwrap_err().kind(),
        ErrorKind::Busy
    );
    drop(reserved);
    map(&domain, HIGH.0, PAGE, 0).unwrap();
    assert_eq!(
        domain.remove_window(start).unwrap_err().kind(),
        ErrorKind::Busy
    );
    domain.unmap(iova(HIGH.0, PAGE)).unwrap();
    let inside = domain.remove_window(Iova(HIGH.0 + PAGE)).unwrap_err();
    assert_eq!(inside.kind(), ErrorKind::Invalid);
    logged();
    domain.remove_window(start).unwrap();
    assert_eq!(logged(), ["remove 0x800000000000000"]);
    let error = map(&domain, HIGH.0, PAGE, 0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutOfReach);
}

#[test]
fn a_buffer_is_mapped_while_it_lives() {
    let (_device, domain) = attached();
    let mut buffer = domain
        .buffer(5, DmaMask::bits(32), Access::ReadWrite)
        .unwrap();
    assert_eq!(logged(), ["map [0x10000-0x1ffff] 0x10000"]);
    assert_eq!((buffer.iova(), buffer.len()), (Iova(PAGE), 0x1_0000));
    buffer.write(8, 0x1122_3344_u32).unwrap();
    assert_eq!(
        buffer.read::<u16>(8).unwrap(),
        u16::from_ne_bytes(0x1122_3344_u32.to_ne_bytes()[..2].try_into().unwrap())
    );
    assert!(buffer.read::<u32>(2).is_err());
    assert!(buffer.read::<u64>(0x1_0000 - 4).is_err());
    assert!(buffer.copy_from(0xffff, &[1, 2]).is_err());
    let mut bytes = [9; 2];
    buffer.copy_to(0xfffe, &mut bytes).unwrap();
    assert_eq!(bytes, [0, 0]);

    buffer.unmap().unwrap();
    buffer.unmap().unwrap();
    assert_eq!(logged(), ["unmap [0x10000-0x1ffff]"]);
    drop(buffer);
    drop(domain.buffer(5, DmaMask::bits(32), Access::Read).unwrap());
    assert_eq!(
        logged(),
        ["map [0x10000-0x1ffff] 0x10000", "unmap [0x10000-0x1ffff]"]
    );
}

#[test]
fn a_buffer_outlives_its_device() {
    let (device, domain) = attached();
    let mut buffer = domain
        .buffer(5, DmaMask::bits(32), Access::ReadWrite)
        .unwrap();
    drop(device);
    buffer.write(0, 1u8).unwrap();
    logged();
    buffer.unmap().unwrap();
    drop(buffer);
    assert_eq!(logged(), [""; 0], "the kernel has taken it away already");
    assert_eq!(
        domain.alloc(1, DmaMask::bits(32)).unwrap_err().kind(),
        ErrorKind::Gone
    );
}

#[test]
fn a_buffer_that_cannot_be_unmapped_is_leaked_with_its_addresses() {
    let (board, device) = Board::open_with(windowed(|_| Ok(Box::new(Windowed))));
    let domain = device.domain();
    let mut buffer = domain
        .buffer(5, DmaMask::bits(32), Access::ReadWrite)
        .unwrap();
    UNMAP_ANSWERS.set(Some(None));
    assert_eq!(buffer.unmap().unwrap_err().kind(), ErrorKind::Kernel);
    drop(buffer);
    UNMAP_ANSWERS.set(None);
    assert_eq!(board.take_log(), [""; 0]);
    let next = domain.alloc(1, DmaMask::bits(32)).unwrap();
    assert_eq!(next.range(), iova(2 * PAGE, PAGE));
}

/// Its high window comes and goes, from any thread.
#[derive(Debug, Default)]
struct Toggling(AtomicBool);

#[allow(unsafe_code)] // the trait's promise
// SAFETY: it maps nothing.
unsafe impl IommuBackend for Toggling {
    fn capabilities(&self) -> Result<Capabilities> {
        let high = self.0.load(Ordering::SeqCst).then(|| aperture(HIGH));
        Ok(Capabilities {
            page_sizes: PageSizes(PAGE),
            apertures: [aperture(LOW)].into_iter().chain(high).collect(),
            mappings_left: None,
            locked: 0,
            windows: None,
        })
    }

    fn windows(&self) -> Option<&dyn Windows> {
        Some(self)
    }

    unsafe fn map(&self, _: IovaRange, _: HostRange, _: Access) -> Result<()> {
        Ok(())
    }

    fn unmap(&self, iova: IovaRange) -> Result<u64> {
        Ok(iova.size())
    }
}

impl Windows for Toggling {
    fn make_room(&self, _: u64, _: DmaMask) -> Result<bool> {
        Ok(!self.0.swap(true, Ordering::SeqCst))
    }

    fn create(&self, _: &WindowRequest) -> Result<Window> {
        Err(failure())
    }

    fn remove(&self, _: Iova) -> Result<()> {
        self.0.store(false, Ordering::SeqCst);
        Ok(())
    }

    fn reset(&self) -> Result<()> {
        Err(failure())
    }

    fn settle(&self, _: Iova) -> Result<()> {
        Ok(())
    }

    fn list(&self) -> Vec<Window> {
        let high = self.0.load(Ordering::SeqCst).then(|| window(HIGH));
        [window(LOW)].into_iter().chain(high).collect()
    }

    fn initial(&self) -> Vec<Window> {
        vec![window(LOW)]
    }
}

/// What comes and goes is known at once, and what is used does not go.
#[test]
fn windows_are_made_and_reset() {
    let (_device, domain) = attached();
    let high = window(HIGH);
    assert_eq!(domain.windows().unwrap(), [window(LOW)]);
    let request = WindowRequest::of(1, WindowPages::Exactly(PAGE));
    let none = domain.create_window(&WindowRequest { size: 0, ..request });
    assert_eq!(none.unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(domain.create_window(&request).unwrap(), high);
    assert_eq!(domain.usable_ranges().unwrap().last(), Some(&high.range));
    let buffer = domain.buffer(1, high.range.first(), Access::Read).unwrap();
    let error = domain.reset_windows().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    drop(buffer);
    logged();
    domain.reset_windows().unwrap();
    assert_eq!(logged(), ["reset"]);
    assert_eq!(domain.windows().unwrap(), domain.initial_windows());
    assert_eq!(domain.usable_ranges().unwrap().len(), 1);
}

#[test]
fn threads_allocate_map_and_remove_windows_at_once() {
    fn attach(_: Container) -> Result<Box<dyn IommuBackend>> {
        Ok(Box::<Toggling>::default())
    }
    let (device, domain) = attached_to(attach);
    std::thread::scope(|scope| {
        for bits in [32, 64, 64] {
            let domain = &domain;
            scope.spawn(move || {
                for _ in 0..5_000 {
                    let buffer = domain.buffer(1, DmaMask::bits(bits), Access::Read).unwrap();
                    buffer.write(0, 1u8).unwrap();
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..5_000 {
                // Busy while a buffer is there, and not there half of the time.
                let _ = domain.remove_window(Iova(HIGH.0));
            }
        });
    });
    drop(device);
    assert_eq!(domain.capabilities().unwrap_err().kind(), ErrorKind::Gone);
}

#[test]
fn what_is_misaligned_alike_is_refused() {
    let (_device, domain) = attached();
    for (first, size, addr) in [
        (0x8000, 0x8000, 0x1_0000),
        (0, 0x8000, 0x8000),
        (0x8000, PAGE, 0x8000),
    ] {
        let error = map(&domain, first, size, addr).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
    assert!(logged().is_empty());
}

#[test]
fn a_backend_without_windows_says_so() {
    let (_, vfio) = boot(alone(), [v2()]);
    let device = open(&vfio, BDF).unwrap();
    let domain = device.domain();
    let error = domain.remove_window(Iova(0)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let error = domain.reset_windows().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(domain.windows().unwrap(), []);
    assert_eq!(domain.initial_windows(), []);
}

#[test]
fn bytes_are_copied_to_and_from_their_place() {
    let (_device, domain) = attached();
    let buffer = domain
        .buffer(1, DmaMask::bits(32), Access::ReadWrite)
        .unwrap();
    buffer.copy_from(0x100, &[1, 2, 3]).unwrap();
    let read = |at| buffer.read::<u8>(at).unwrap();
    assert_eq!(
        [0xff, 0x100, 0x101, 0x102, 0x103].map(read),
        [0, 1, 2, 3, 0]
    );
    let mut two = [0; 2];
    buffer.copy_to(0x101, &mut two).unwrap();
    assert_eq!(two, [2, 3]);
}
