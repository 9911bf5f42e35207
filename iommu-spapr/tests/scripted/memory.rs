//! Registered memory: what is used again, and what is refused because it may be something else by now.

use iommu_spapr::SPAPR_V2;
use vfio_core::ErrorKind;
use vfio_core::address::{Access, DmaMask};
use vfio_core::uapi::SpaprRegisterMemory;

use crate::kernel::{REFUSED, Scripted, iova, map, memory};

#[test]
fn memory_that_the_kernel_did_not_take_back_is_not_mapped_again() {
    let kernel = Scripted::new();
    let device = kernel.open(SPAPR_V2);
    let domain = device.domain();
    map(domain, 0x1_0000, memory(0x5_0000, 0x1_0000)).unwrap();
    kernel.next("UNREGISTER", REFUSED);
    let error = domain.unmap(iova(0x1_0000, 0x1_0000)).unwrap_err();
    assert_eq!(error.operation(), "VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY");
    assert!(error.to_string().contains("stays pinned"), "{error}");
    kernel.calls();

    // Other memory may be there now; the kernel would translate to the old.
    kernel.next("UNREGISTER", REFUSED);
    let error = map(domain, 0x2_0000, memory(0x5_0000, 0x1_0000)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Overlap, "{error}");
    assert_eq!(kernel.names(), ["UNREGISTER"]);

    map(domain, 0x2_0000, memory(0x5_0000, 0x1_0000)).unwrap();
    assert_eq!(kernel.names(), ["UNREGISTER", "REGISTER", "MAP"]);

    // The first mapping is as good as gone, and takes nothing from the second.
    domain.unmap(iova(0x1_0000, 0x1_0000)).unwrap();
    assert_eq!(kernel.names(), ["UNMAP"]);
    domain.unmap(iova(0x2_0000, 0x1_0000)).unwrap();
    assert_eq!(kernel.names(), ["UNMAP", "UNREGISTER"]);
}

#[test]
fn an_unmap_whose_unregister_failed_can_be_tried_again() {
    let kernel = Scripted::new();
    let device = kernel.open(SPAPR_V2);
    let domain = device.domain();
    map(domain, 0x1_0000, memory(0x5_0000, 0x1_0000)).unwrap();
    kernel.next("UNREGISTER", REFUSED);
    domain.unmap(iova(0x1_0000, 0x1_0000)).unwrap_err();
    kernel.calls();
    domain.unmap(iova(0x1_0000, 0x1_0000)).unwrap();
    assert_eq!(kernel.names(), ["UNMAP", "UNREGISTER"]);
    map(domain, 0x1_0000, memory(0x5_0000, 0x1_0000)).unwrap();
    assert_eq!(kernel.names(), ["REGISTER", "MAP"]);
}

#[test]
fn a_block_serves_only_memory_inside_that_of_a_live_mapping() {
    let kernel = Scripted::new();
    let device = kernel.open(SPAPR_V2);
    let domain = device.domain();
    map(domain, 0x10_0000, memory(0x10_0000, 0x2_0000)).unwrap();
    map(domain, 0x20_0000, memory(0x10_0000, 0x1_0000)).unwrap();
    assert_eq!(kernel.names(), ["REGISTER", "MAP", "MAP"]);
    domain.unmap(iova(0x10_0000, 0x2_0000)).unwrap();
    assert_eq!(kernel.names(), ["UNMAP"]);

    // The upper half belongs to nobody: it may have been replaced.
    let error = map(domain, 0x30_0000, memory(0x11_0000, 0x1_0000)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Overlap, "{error}");
    let error = map(domain, 0x30_0000, memory(0x10_0000, 0x2_0000)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Overlap, "{error}");
    assert_eq!(kernel.names(), [""; 0]);
    map(domain, 0x30_0000, memory(0x10_8000, 0x1000)).unwrap();
    assert_eq!(kernel.names(), ["MAP"]);

    domain.unmap(iova(0, 0x4000_0000)).unwrap();
    let calls = kernel.calls();
    let names: Vec<_> = calls.iter().map(|call| call.name).collect();
    assert_eq!(names, ["UNMAP", "UNREGISTER"]);
    let whole: SpaprRegisterMemory = calls[1].arg();
    assert_eq!((whole.vaddr, whole.size), (0x10_0000, 0x2_0000));
}

#[test]
fn a_buffer_that_stays_registered_is_leaked() {
    for refusals in [0, 2] {
        let kernel = Scripted::new();
        let device = kernel.open(SPAPR_V2);
        let mask = DmaMask::bits(32);
        let mut buffer = device
            .domain()
            .buffer(0x1000, mask, Access::ReadWrite)
            .unwrap();
        let registered: SpaprRegisterMemory = kernel.calls()[0].arg();
        let mapped = usize::try_from(registered.vaddr).unwrap();
        for _ in 0..refusals {
            kernel.next("UNREGISTER", REFUSED);
        }
        assert_eq!(buffer.unmap().is_err(), refusals > 0);
        drop(buffer);
        // It starts within the first whole host page that was registered.
        let freed = (mapped..mapped + 0x1_0000).any(|addr| kernel.was_freed(addr));
        assert_eq!(freed, refusals == 0);
    }
}
