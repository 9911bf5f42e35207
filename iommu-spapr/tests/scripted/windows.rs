//! Windows: which are created and removed, and when the kernel is left alone.

use iommu_spapr::{SPAPR_V1, SPAPR_V2};
use vfio_core::ErrorKind;
use vfio_core::address::{DmaMask, Iova, IovaRange};
use vfio_core::iommu::{Domain, WindowPages, WindowRequest};
use vfio_core::kernel::Errno;
use vfio_core::uapi::{DmaUnmap, SpaprTceCreate, SpaprTceRemove};

use crate::kernel::{HIGH, REFUSED, Scripted, map, memory};

const ALL: DmaMask = DmaMask::bits(64);

/// Where `size` bytes are placed.
fn place(domain: &Domain, size: u64, mask: DmaMask) -> u64 {
    domain.alloc(size, mask).unwrap().range().first().0
}

fn starts(domain: &Domain) -> Vec<u64> {
    let apertures = domain.capabilities().unwrap().apertures;
    apertures.iter().map(|a| a.range.first().0).collect()
}

#[test]
fn a_high_window_is_created_once_for_a_device_that_reaches_it() {
    let kernel = Scripted::new();
    let device = kernel.open(SPAPR_V2);
    let domain = device.domain();
    for bits in [30, 32, 59] {
        assert!(place(domain, 0x1000, DmaMask::bits(bits)) < 0x4000_0000);
    }
    assert_eq!(kernel.names(), [""; 0]);

    assert_eq!(place(domain, 0x1000, ALL), HIGH);
    let calls = kernel.calls();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].name, "CREATE");
    let request: SpaprTceCreate = calls[0].arg();
    assert_eq!((request.argsz, request.flags), (40, 0));
    assert_eq!((request.page_shift, request.levels), (16, 1));
    assert_eq!(request.window_size, 8 << 30);
    assert_eq!(
        (request.resv1, request.resv2, request.start_addr),
        (0, 0, 0)
    );

    assert_eq!(place(domain, 0x1000, ALL), HIGH);
    assert_eq!(kernel.names(), [""; 0]);
    assert_eq!(starts(domain), [0, HIGH]);
    map(domain, HIGH, memory(0x5_0000, 0x1_0000)).unwrap();
    assert_eq!(kernel.names(), ["REGISTER", "MAP"]);
}

#[test]
fn version_1_creates_none() {
    let kernel = Scripted::new();
    let device = kernel.open(SPAPR_V1);
    assert!(place(device.domain(), 0x1000, ALL) < 0x4000_0000);
    assert_eq!(kernel.names(), [""; 0]);
}

#[test]
fn a_refused_window_is_not_asked_for_again_until_one_is_removed() {
    let kernel = Scripted::new();
    let device = kernel.open(SPAPR_V2);
    let domain = device.domain();
    kernel.next("CREATE", Err(Errno::NOMEM));
    kernel.next("CREATE", REFUSED);
    assert!(place(domain, 0x1_0000, ALL) < 0x4000_0000);
    let asked: Vec<SpaprTceCreate> = kernel.calls().iter().map(|call| call.arg()).collect();
    let sizes: Vec<_> = asked.iter().map(|request| request.window_size).collect();
    assert_eq!(sizes, [8 << 30, 0x1_0000]);

    for size in [0x1_0000, 0x1000, 0x10_0000] {
        assert!(place(domain, size, ALL) < 0x4000_0000);
    }
    let error = domain.alloc(2 << 30, ALL).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exhausted, "{error}");
    assert_eq!(kernel.names(), [""; 0]);

    domain.remove_window(Iova(0)).unwrap();
    assert_eq!(place(domain, 0x1000, ALL), HIGH);
    assert_eq!(kernel.names(), ["REMOVE", "CREATE"]);
}

#[test]
fn a_window_refused_for_its_size_alone_is_asked_for_when_less_is_needed() {
    let kernel = Scripted::new();
    let device = kernel.open(SPAPR_V2);
    let domain = device.domain();
    kernel.next("CREATE", Err(Errno::NOMEM));
    for _ in 0..2 {
        domain.alloc(1 << 50, ALL).unwrap_err();
    }
    assert_eq!(kernel.names(), ["CREATE"]);
    domain.alloc(u64::MAX, ALL).unwrap_err(); // no window is that large
    assert_eq!(place(domain, 0x1000, ALL), HIGH);
    assert_eq!(kernel.names(), ["CREATE"]);
}

#[test]
fn no_more_windows_than_the_kernel_has() {
    let kernel = Scripted::new().windows(1);
    let device = kernel.open(SPAPR_V2);
    assert!(place(device.domain(), 0x1000, ALL) < 0x4000_0000);
    assert_eq!(kernel.names(), [""; 0]);

    let kernel = Scripted::new().windows(3); // two is what this backend has use for
    let device = kernel.open(SPAPR_V2);
    place(device.domain(), 0x1000, ALL);
    kernel.calls();
    let error = device.domain().alloc(1 << 40, ALL).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exhausted);
    assert_eq!(kernel.names(), [""; 0]);
}

#[test]
fn why_there_is_no_window_is_said() {
    let kernel = Scripted::new();
    let device = kernel.open(SPAPR_V2);
    kernel.next("CREATE", Err(Errno::NOMEM));
    kernel.next("CREATE", Err(Errno::NOMEM));
    let error = device.domain().alloc(2 << 30, ALL).unwrap_err();
    assert_eq!(error.errno(), Some(Errno::NOMEM), "{error}");
}

#[test]
fn as_few_levels_as_possible_and_never_more_than_kernels_have() {
    let kernel = Scripted::new().levels(u32::MAX);
    let device = kernel.open(SPAPR_V2);
    for _ in 0..100 {
        kernel.next("CREATE", Err(Errno::INVAL));
    }
    assert!(place(device.domain(), 0x1_0000, ALL) < 0x4000_0000);
    let levels: Vec<_> = kernel
        .calls()
        .iter()
        .map(|call| call.arg::<SpaprTceCreate>().levels)
        .collect();
    assert_eq!(levels, [1, 2, 3, 4, 5, 1, 2, 3, 4, 5]);
}

#[test]
fn a_window_that_the_device_cannot_reach_is_removed() {
    let kernel = Scripted::new();
    let device = kernel.open(SPAPR_V2);
    let domain = device.domain();
    kernel.windows_start(1 << 61);
    for _ in 0..2 {
        assert!(place(domain, 0x1000, DmaMask::bits(60)) < 0x4000_0000);
    }
    let calls = kernel.calls();
    let names: Vec<_> = calls.iter().map(|call| call.name).collect();
    assert_eq!(names, ["CREATE", "REMOVE"]); // once
    assert_eq!(calls[1].arg::<SpaprTceRemove>().start_addr, 1 << 61);
    assert_eq!(starts(domain), [0]);
    assert_eq!(place(domain, 0x1000, ALL), 1 << 61); // another device can
    assert_eq!(kernel.names(), ["CREATE"]);
}

#[test]
fn a_window_that_is_not_removed_stays_in_the_list() {
    let kernel = Scripted::new();
    let device = kernel.open(SPAPR_V2);
    let domain = device.domain();
    kernel.windows_start(1 << 61);
    kernel.next("REMOVE", REFUSED);
    assert!(place(domain, 0x1000, DmaMask::bits(60)) < 0x4000_0000);
    assert_eq!(kernel.names(), ["CREATE", "REMOVE"]);
    assert_eq!(starts(domain), [0, 1 << 61]);
    assert_eq!(place(domain, 0x1000, ALL), 1 << 61);

    kernel.next("REMOVE", REFUSED);
    domain.remove_window(Iova(1 << 61)).unwrap_err();
    assert_eq!(starts(domain), [0, 1 << 61]);
    domain.remove_window(Iova(1 << 61)).unwrap();
    assert_eq!(starts(domain), [0]);
    assert_eq!(kernel.names(), ["REMOVE", "REMOVE"]);
}

#[test]
fn a_window_that_wraps_is_removed_by_its_start() {
    for answer in [Ok(0), REFUSED] {
        let kernel = Scripted::new();
        let device = kernel.open(SPAPR_V2);
        let domain = device.domain();
        let start = u64::MAX - 0xffff;
        kernel.windows_start(start);
        kernel.next("CREATE", Err(Errno::NOMEM)); // the usual size is refused
        kernel.next("REMOVE", answer);
        kernel.next("REMOVE", answer);
        // Two host pages, so that it wraps.
        let placed = domain.alloc(0x2_0000, ALL).unwrap();
        assert!(placed.range().first().0 < 0x4000_0000);
        let calls = kernel.calls();
        let names: Vec<_> = calls.iter().map(|call| call.name).collect();
        assert_eq!(names, ["CREATE", "CREATE", "REMOVE"]);
        assert_eq!(calls[2].arg::<SpaprTceRemove>().start_addr, start);
        let expected = if answer.is_ok() {
            vec![0]
        } else {
            vec![0, start]
        };
        assert_eq!(starts(domain), expected);
        domain.alloc(0x2_0000, ALL).unwrap();
        assert_eq!(kernel.names(), [""; 0]);
    }
}

/// H6
#[test]
fn a_window_is_removed_by_its_start_alone() {
    let kernel = Scripted::new();
    let device = kernel.open(SPAPR_V2);
    let domain = device.domain();
    place(domain, 0x1000, ALL);
    kernel.calls();
    let backend = kernel.backend(SPAPR_V2);
    for inside in [HIGH + 0x1_0000, 0x1000] {
        let error = domain.remove_window(Iova(inside)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let error = backend.windows().unwrap().remove(Iova(inside)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
    assert_eq!(kernel.names(), [""; 0]);
    domain.remove_window(Iova(HIGH)).unwrap();
    let calls = kernel.calls();
    assert_eq!(calls[0].name, "REMOVE");
    let request: SpaprTceRemove = calls[0].arg();
    assert_eq!((request.argsz, request.flags), (16, 0));
    assert_eq!(request.start_addr, HIGH);
    let error = map(domain, HIGH, memory(0x5_0000, 0x1_0000)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutOfReach);
}

#[test]
fn the_default_window_is_made_again_in_its_place_or_not_at_all() {
    let kernel = Scripted::new();
    let device = kernel.open(SPAPR_V2);
    let domain = device.domain();
    domain.reset_windows().unwrap();
    assert_eq!(kernel.names(), [""; 0], "they are as they were");
    domain.remove_window(Iova(0)).unwrap();
    kernel.calls();

    // A platform that puts it elsewhere.
    let error = domain.reset_windows().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    assert!(error.to_string().contains("closed and opened again"));
    let calls = kernel.calls();
    let create: SpaprTceCreate = calls[0].arg();
    let shape = (create.page_shift, create.window_size, create.levels);
    assert_eq!(shape, (12, 0x4000_0000, 1));
    let remove: SpaprTceRemove = calls[1].arg();
    assert_eq!((calls[1].name, remove.start_addr), ("REMOVE", HIGH));
    assert_eq!(starts(domain), [0; 0]);

    kernel.windows_start(0);
    domain.reset_windows().unwrap();
    assert_eq!(kernel.names(), ["CREATE"]);
    assert_eq!(domain.windows().unwrap(), domain.initial_windows());
}

#[test]
fn a_window_that_is_not_removed_stays_and_is_known() {
    let kernel = Scripted::new();
    let device = kernel.open(SPAPR_V2);
    let domain = device.domain();
    let request = WindowRequest::of(1 << 30, WindowPages::Carried(1 << 16));
    let window = domain.create_window(&request).unwrap();
    kernel.next("REMOVE", Err(Errno::BUSY));
    let error = domain.reset_windows().unwrap_err();
    assert_eq!(error.errno(), Some(Errno::BUSY), "{error}");
    assert_eq!(domain.windows().unwrap().last(), Some(&window));
    domain.reset_windows().unwrap();
    assert_eq!(starts(domain), [0]);
}

#[test]
fn more_levels_are_tried_until_the_host_accepts() {
    let kernel = Scripted::new().levels(5);
    let device = kernel.open(SPAPR_V2);
    for _ in 0..2 {
        kernel.next("CREATE", Err(Errno::NOMEM));
    }
    let request = WindowRequest::of(1 << 40, WindowPages::Exactly(1 << 16));
    let window = device.domain().create_window(&request).unwrap();
    assert_eq!(window.levels, 3);
    let calls = kernel.calls();
    let levels = calls.iter().map(|call| call.arg::<SpaprTceCreate>().levels);
    assert_eq!(levels.collect::<Vec<_>>(), [1, 2, 3]);
}

/// C43: a window that the kernel has not made yet is asked for something that changes nothing.
#[test]
fn a_window_is_settled_by_clearing_a_page_that_is_clear() {
    let kernel = Scripted::new();
    let device = kernel.open(SPAPR_V2);
    let domain = device.domain();
    let all = IovaRange::new(Iova(0), 0x4000_0000).unwrap();
    domain.settle_window(all).unwrap();
    let calls = kernel.calls();
    let unmap: DmaUnmap = calls[0].arg();
    assert_eq!((unmap.iova, unmap.size, calls.len()), (0, 0x1000, 1));
    map(domain, 0, memory(0x10_0000, 0x1000)).unwrap();
    kernel.calls();
    domain.settle_window(all).unwrap();
    assert_eq!(kernel.names(), [""; 0], "it is used");
}
