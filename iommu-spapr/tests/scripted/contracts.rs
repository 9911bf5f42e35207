//! The order of the calls, positive returns (P1 to P3), and ranges past their window (H1, H2).

use iommu_spapr::{SPAPR_V1, SPAPR_V2};
use vfio_core::ErrorKind;
use vfio_core::address::Access;
use vfio_core::kernel::Errno;
use vfio_core::uapi::{DmaMap, DmaUnmap, SpaprRegisterMemory};

use crate::kernel::{BOTH, Scripted, iova, map, memory};

#[test]
fn version_2_registers_maps_unmaps_and_unregisters() {
    let kernel = Scripted::new();
    let device = kernel.open(SPAPR_V2);
    map(device.domain(), 0x1000, memory(0x5_1000, 0x1000)).unwrap();
    device.domain().unmap(iova(0x1000, 0x1000)).unwrap();

    let calls = kernel.calls();
    let names: Vec<_> = calls.iter().map(|call| call.name).collect();
    assert_eq!(names, ["REGISTER", "MAP", "UNMAP", "UNREGISTER"]);
    for call in [&calls[0], &calls[3]] {
        let block: SpaprRegisterMemory = call.arg();
        assert_eq!((block.argsz, block.flags), (24, 0));
        assert_eq!((block.vaddr, block.size), (0x5_0000, 0x1_0000)); // whole host pages
    }
    let mapped: DmaMap = calls[1].arg();
    assert_eq!((mapped.argsz, mapped.flags), (32, 3));
    assert_eq!(
        (mapped.vaddr, mapped.iova, mapped.size),
        (0x5_1000, 0x1000, 0x1000)
    );
    let unmapped: DmaUnmap = calls[2].arg();
    assert_eq!((unmapped.argsz, unmapped.flags), (24, 0));
    assert_eq!((unmapped.iova, unmapped.size), (0x1000, 0x1000));
}

#[test]
fn version_1_enables_proves_that_it_works_and_maps() {
    let kernel = Scripted::new();
    let device = kernel.try_open(SPAPR_V1).unwrap();
    map(device.domain(), 0x1000, memory(0x5_1000, 0x1000)).unwrap();
    let calls = kernel.calls();
    let names: Vec<_> = calls.iter().map(|call| call.name).collect();
    assert_eq!(names, ["GET_INFO", "ENABLE", "UNMAP", "MAP"]);
    let proof: DmaUnmap = calls[2].arg();
    assert_eq!((proof.iova, proof.size), (0, 0x1000));
}

/// C41: what is accounted at once is known beforehand.
#[test]
fn version_1_names_the_limit_that_is_enough_and_enables_nothing() {
    let kernel = Scripted::new().memlock(0x2000_0000);
    let error = kernel.try_open(SPAPR_V1).unwrap_err();
    let cause = &error.causes()[0];
    assert_eq!(cause.kind(), ErrorKind::Exhausted, "{cause}");
    assert_eq!(cause.memlock(), Some(0x4000_0000));
    assert_eq!(kernel.names(), ["GET_INFO"]);
    let kernel = Scripted::new().memlock(0x4000_0000);
    let device = kernel.try_open(SPAPR_V1).unwrap();
    let locked = device.domain().capabilities().unwrap().locked;
    assert_eq!(locked, 0x4000_0000);
}

/// Version 2 says it afterwards, when the kernel has refused.
#[test]
fn version_2_names_the_limit_that_would_have_been_enough() {
    let kernel = Scripted::new().memlock(0x10_0000);
    let device = kernel.open(SPAPR_V2);
    kernel.next("REGISTER", Err(Errno::NOMEM));
    let error = map(device.domain(), 0, memory(0x100_0000, 0x20_0000)).unwrap_err();
    assert_eq!(error.memlock(), Some(0x20_0000), "{error}");
}

#[test]
fn a_version_1_that_can_map_nothing_is_refused() {
    let kernel = Scripted::new();
    kernel.next("UNMAP", Ok(1));
    let error = kernel.try_open(SPAPR_V1).unwrap_err();
    assert_eq!(kernel.names(), ["GET_INFO", "ENABLE", "UNMAP", "DISABLE"]);
    assert_eq!(error.kind(), ErrorKind::NoBackend);
    let cause = error.causes()[0].to_string();
    assert!(cause.contains("returned 1"), "{cause}");
}

/// P1
#[test]
fn a_map_that_returns_1_has_failed_and_is_forgotten() {
    for backend in BOTH {
        let kernel = Scripted::new();
        let device = kernel.open(backend);
        let memory = memory(0x5_0000, 0x1000);
        kernel.next("MAP", Ok(1));
        let error = map(device.domain(), 0x1000, memory).unwrap_err();
        assert_eq!((error.kind(), error.errno()), (ErrorKind::Kernel, None));
        assert!(error.to_string().contains("returned 1"), "{error}");
        let first = kernel.names();

        map(device.domain(), 0x1000, memory).unwrap();
        let second = kernel.names();
        if backend.name == SPAPR_V2.name {
            assert_eq!(first, ["REGISTER", "MAP", "UNREGISTER"]);
            assert_eq!(second, ["REGISTER", "MAP"]);
        } else {
            assert_eq!((first, second), (vec!["MAP"], vec!["MAP"]));
        }
    }
}

/// P2
#[test]
fn an_unmap_that_returns_1_has_failed_and_can_be_tried_again() {
    for backend in BOTH {
        let kernel = Scripted::new();
        let device = kernel.open(backend);
        let domain = device.domain();
        map(domain, 0x1000, memory(0x5_0000, 0x1000)).unwrap();
        kernel.calls();
        kernel.next("UNMAP", Ok(1));
        let error = domain.unmap(iova(0x1000, 0x1000)).unwrap_err();
        assert_eq!((error.kind(), error.errno()), (ErrorKind::Kernel, None));
        assert!(error.to_string().contains("returned 1"), "{error}");
        assert_eq!(kernel.names(), ["UNMAP"]); // and not UNREGISTER below a TCE (H3)

        assert_eq!(domain.unmap(iova(0x1000, 0x1000)).unwrap(), 0x1000);
        let expected = match backend.name == SPAPR_V2.name {
            true => vec!["UNMAP", "UNREGISTER"],
            false => vec!["UNMAP"],
        };
        assert_eq!(kernel.names(), expected);
    }
}

/// P3
#[test]
fn a_register_that_returns_4_has_failed_and_is_forgotten() {
    let kernel = Scripted::new();
    let device = kernel.open(SPAPR_V2);
    let memory = memory(0x5_0000, 0x1_0000);
    kernel.next("REGISTER", Ok(4));
    let error = map(device.domain(), 0x1_0000, memory).unwrap_err();
    assert_eq!((error.kind(), error.errno()), (ErrorKind::Kernel, None));
    assert!(error.to_string().contains("returned 4"), "{error}");
    assert_eq!(kernel.names(), ["REGISTER"]);
    map(device.domain(), 0x1_0000, memory).unwrap();
    assert_eq!(kernel.names(), ["REGISTER", "MAP"]);
}

/// H1, H2: the last check stands at the call itself, whoever calls the backend.
#[test]
fn a_range_past_its_window_never_reaches_the_kernel() {
    for registration in BOTH {
        let kernel = Scripted::new();
        let backend = kernel.backend(registration);
        let (past, size) = (0x3fff_f000, 0x2000);
        for (at, size) in [(past, size), (0x4000_0000, 0x1000), (0, 0x4000_1000)] {
            let error = backend.unmap(iova(at, size)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::OutOfReach, "{error}");
            let memory = memory(0x5_0000, usize::try_from(size).unwrap());
            // SAFETY: the scripted kernel maps nothing, and no device is there.
            #[allow(unsafe_code)]
            let error =
                unsafe { backend.map(iova(at, size), memory, Access::ReadWrite) }.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::OutOfReach, "{error}");
            let asked = kernel.names();
            let about_addresses = asked.iter().any(|name| matches!(*name, "MAP" | "UNMAP"));
            assert!(!about_addresses, "{asked:?}");
        }
    }
}
