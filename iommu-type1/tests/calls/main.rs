//! What type1 asks of the kernel, and what it makes of the answers.
#![allow(clippy::unwrap_used)] // a test that cannot be set up must fail

mod kernel;

use iommu_type1::{TYPE1, TYPE1_V2};
use vfio_core::ErrorKind;
use vfio_core::address::{Access, HostRange, Iova, IovaRange};
use vfio_core::iommu::{DirtyLimits, IommuBackend, LiveUpdate};
use vfio_core::kernel::{Errno, Opcode};
use vfio_core::uapi::{
    self, DmaMap, DmaUnmap, InfoCapHeader, IommuType1CapMigration, IommuType1DirtyBitmap,
    IommuType1DirtyBitmapGet, IommuType1Info,
};
use zerocopy::{FromBytes, IntoBytes};

use kernel::attach;

fn iova() -> IovaRange {
    IovaRange::new(Iova(0x10_0000), 0x3000).unwrap()
}

#[allow(unsafe_code)] // nothing is mapped: the kernel is a script
fn map(backend: &dyn IommuBackend, access: Access) -> vfio_core::Result<()> {
    let memory = HostRange::new(0x7000_0000, 0x3000).unwrap();
    // SAFETY: no device reaches anything.
    unsafe { backend.map(iova(), memory, access) }
}

#[test]
fn a_map_carries_both_ranges_and_the_rights() {
    let (backend, log) = attach(&TYPE1_V2, |_, _| Ok(0));
    let backend = backend.unwrap();
    for (access, flags) in [
        (Access::Read, uapi::DMA_MAP_FLAG_READ),
        (Access::Write, uapi::DMA_MAP_FLAG_WRITE),
        (
            Access::ReadWrite,
            uapi::DMA_MAP_FLAG_READ | uapi::DMA_MAP_FLAG_WRITE,
        ),
    ] {
        map(&*backend, access).unwrap();
        let calls = log.take();
        let [(uapi::IOMMU_MAP_DMA, bytes)] = &calls[..] else {
            unreachable!("{calls:?}");
        };
        let call = DmaMap::read_from_bytes(bytes).unwrap();
        assert_eq!((call.argsz as usize, call.flags), (bytes.len(), flags));
        assert_eq!(
            (call.vaddr, call.iova, call.size),
            (0x7000_0000, 0x10_0000, 0x3000)
        );
    }
}

#[test]
fn an_unmap_answers_what_the_kernel_unmapped() {
    let (backend, log) = attach(&TYPE1, |opcode, bytes| {
        assert_eq!(opcode, uapi::IOMMU_UNMAP_DMA);
        let (call, _) = DmaUnmap::mut_from_prefix(bytes).unwrap();
        call.size -= 0x1000;
        Ok(0)
    });
    assert_eq!(backend.unwrap().unmap(iova()).unwrap(), 0x2000);
    let calls = log.take();
    let call = DmaUnmap::read_from_bytes(&calls[0].1).unwrap();
    assert_eq!((call.iova, call.size, call.flags), (0x10_0000, 0x3000, 0));
}

#[test]
fn a_failure_names_the_call_and_the_ranges() {
    let (backend, _) = attach(&TYPE1_V2, |opcode, _| match opcode {
        uapi::IOMMU_MAP_DMA => Err(Errno::NOMEM),
        _ => Ok(1), // positive, and a failure
    });
    let backend = backend.unwrap();
    let error = map(&*backend, Access::Read).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exhausted);
    assert_eq!(error.operation(), "VFIO_IOMMU_MAP_DMA");
    assert_eq!(error.iova(), Some(iova()));
    let error = backend.unmap(iova()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Kernel);
    assert_eq!(error.operation(), "VFIO_IOMMU_UNMAP_DMA");
    assert!(backend.capabilities().is_err());
}

/// Answers that the whole answer needs `wanted` bytes.
fn info(wanted: u32) -> impl FnMut(Opcode, &mut [u8]) -> Result<u32, Errno> {
    move |_, bytes| {
        let answer = IommuType1Info {
            argsz: wanted,
            flags: uapi::IOMMU_INFO_PGSIZES,
            iova_pgsizes: 0x1000,
            ..Default::default()
        };
        bytes[..size_of::<IommuType1Info>()].copy_from_slice(answer.as_bytes());
        Ok(0)
    }
}

#[test]
fn an_answer_that_does_not_fit_is_asked_for_again_with_room() {
    for (wanted, asked) in [
        (24, vec![1024]),
        (1024, vec![1024]),
        (1025, vec![1024, 1025]),
        (1 << 20, vec![1024, 1 << 20]),
    ] {
        let (backend, log) = attach(&TYPE1_V2, info(wanted));
        backend.unwrap().capabilities().unwrap();
        let sizes: Vec<_> = log.take().iter().map(|(_, bytes)| bytes.len()).collect();
        assert_eq!(sizes, asked);
    }
    let (backend, log) = attach(&TYPE1_V2, info((1 << 20) + 1));
    let error = backend.unwrap().capabilities().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Kernel);
    assert_eq!(log.take().len(), 1);
}

#[test]
fn dirty_pages_are_started_stopped_and_asked_for() {
    let (backend, log) = attach(&TYPE1_V2, |_, _| Ok(0));
    let backend = backend.unwrap();
    let tracking = backend.dirty_tracking().unwrap();
    tracking.start().unwrap();
    tracking.stop().unwrap();
    let mut words = [0; 3];
    tracking.read(iova(), 0x1000, &mut words).unwrap();
    let calls = log.take();
    assert!(
        calls
            .iter()
            .all(|(opcode, _)| *opcode == uapi::IOMMU_DIRTY_PAGES)
    );
    let heads = calls
        .iter()
        .map(|(_, bytes)| IommuType1DirtyBitmap::read_from_prefix(bytes).unwrap());
    let heads: Vec<_> = heads
        .map(|(head, rest)| (head.argsz, head.flags, rest.len()))
        .collect();
    assert_eq!(
        heads,
        [
            (8, uapi::IOMMU_DIRTY_PAGES_FLAG_START, 0),
            (8, uapi::IOMMU_DIRTY_PAGES_FLAG_STOP, 0),
            (48, uapi::IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP, 40),
        ]
    );
    let get = IommuType1DirtyBitmapGet::read_from_bytes(&calls[2].1[8..]).unwrap();
    assert_eq!((get.iova, get.size), (0x10_0000, 0x3000));
    assert_eq!(
        (get.bitmap.pgsize, get.bitmap.size, get.bitmap.data),
        (0x1000, 24, words.as_ptr() as u64)
    );
}

#[test]
fn a_failure_about_dirty_pages_names_the_call() {
    let (backend, _) = attach(&TYPE1_V2, |_, _| Err(Errno::INVAL));
    let backend = backend.unwrap();
    let tracking = backend.dirty_tracking().unwrap();
    let read = tracking.read(iova(), 0x1000, &mut [0]);
    for (answer, range) in [
        (tracking.start(), None),
        (tracking.stop(), None),
        (read, Some(iova())),
    ] {
        let error = answer.unwrap_err();
        assert_eq!(error.operation(), "VFIO_IOMMU_DIRTY_PAGES");
        assert_eq!((error.iova(), error.errno()), (range, Some(Errno::INVAL)));
    }
}

#[test]
fn version_1_does_not_track_dirty_pages() {
    let (backend, _) = attach(&TYPE1, |_, _| Ok(0));
    assert!(backend.unwrap().dirty_tracking().is_none());
}

#[test]
fn how_dirty_pages_are_told_is_asked() {
    let answer = |pgsize_bitmap| {
        let (backend, _) = attach(&TYPE1_V2, move |_, bytes| {
            let head = IommuType1Info {
                argsz: 56,
                flags: uapi::IOMMU_INFO_PGSIZES | uapi::IOMMU_INFO_CAPS,
                iova_pgsizes: 0x1000,
                cap_offset: 24,
                pad: 0,
            };
            let migration = IommuType1CapMigration {
                header: InfoCapHeader {
                    id: uapi::IOMMU_TYPE1_INFO_CAP_MIGRATION,
                    version: 1,
                    next: 0,
                },
                pgsize_bitmap,
                max_dirty_bitmap_size: 1 << 28,
                ..Default::default()
            };
            let answer = [head.as_bytes(), migration.as_bytes()].concat();
            bytes[..answer.len()].copy_from_slice(&answer);
            Ok(0)
        });
        backend.unwrap().dirty_tracking().unwrap().limits()
    };
    let expected = DirtyLimits {
        page_size: 0x1_0000,
        largest_bitmap: 1 << 28,
    };
    assert_eq!(answer(0x4021_0000).unwrap(), expected);
    assert_eq!(answer(0).unwrap_err().kind(), ErrorKind::Unsupported);

    // A kernel before 5.8 says nothing of it.
    let (backend, _) = attach(&TYPE1_V2, info(24));
    let limits = backend.unwrap().dirty_tracking().unwrap().limits();
    assert_eq!(limits.unwrap_err().kind(), ErrorKind::Unsupported);
}

#[allow(unsafe_code)] // nothing is mapped: the kernel is a script
fn renew(update: &dyn LiveUpdate) -> vfio_core::Result<()> {
    let memory = HostRange::new(0x7000_0000, 0x3000).unwrap();
    // SAFETY: no device reaches anything.
    unsafe { update.renew(iova(), memory) }
}

#[test]
fn addresses_are_forgotten_and_renewed_with_flags_and_no_rights() {
    for registration in [&TYPE1, &TYPE1_V2] {
        let (backend, log) = attach(registration, |opcode, _| {
            Ok(u32::from(opcode == uapi::CHECK_EXTENSION))
        });
        let backend = backend.unwrap();
        let update = backend.live_update().unwrap();
        assert_eq!(log.take().len(), 0, "asked only where it is used");
        update.check().unwrap();
        assert_eq!(update.forget(iova()).unwrap(), 0x3000);
        renew(update).unwrap();
        let calls = log.take();
        let [
            (uapi::CHECK_EXTENSION, _),
            (uapi::IOMMU_UNMAP_DMA, forget),
            (uapi::IOMMU_MAP_DMA, renew),
        ] = &calls[..]
        else {
            unreachable!("{calls:?}");
        };
        let forget = DmaUnmap::read_from_bytes(forget).unwrap();
        assert_eq!(
            (forget.flags, forget.iova, forget.size),
            (uapi::DMA_UNMAP_FLAG_VADDR, 0x10_0000, 0x3000)
        );
        let renew = DmaMap::read_from_bytes(renew).unwrap();
        assert_eq!(
            (renew.flags, renew.vaddr, renew.iova, renew.size),
            (uapi::DMA_MAP_FLAG_VADDR, 0x7000_0000, 0x10_0000, 0x3000)
        );
    }
}

#[test]
fn why_addresses_are_not_forgotten_or_renewed_is_said() {
    use Errno as E;
    use ErrorKind as Kind;
    for (errno, forgets, renews) in [
        (
            E::INVAL,
            (Kind::Invalid, "forgotten before"),
            (Kind::Invalid, "was not forgotten"),
        ),
        (E::BUSY, (Kind::Busy, "mediated"), (Kind::Busy, "")),
        (
            E::NOENT,
            (Kind::Kernel, ""),
            (Kind::Invalid, "nothing is mapped there"),
        ),
        (E::NOMEM, (Kind::Exhausted, ""), (Kind::Exhausted, "")),
    ] {
        let (backend, _) = attach(&TYPE1_V2, move |_, _| Err(errno));
        let backend = backend.unwrap();
        let update = backend.live_update().unwrap();
        for (answer, (kind, word)) in [
            (update.forget(iova()).map(drop), forgets),
            (renew(update), renews),
        ] {
            let error = answer.unwrap_err();
            assert_eq!((error.kind(), error.errno()), (kind, Some(errno)));
            assert_eq!(error.iova(), Some(iova()));
            assert!(error.to_string().contains(word), "{error}");
        }
    }
    let (backend, _) = attach(&TYPE1_V2, |_, _| Ok(0));
    let error = backend.unwrap().live_update().unwrap().check().unwrap_err();
    assert_eq!(error.kind(), Kind::Unsupported);
    assert!(error.to_string().contains("VFIO_UPDATE_VADDR"), "{error}");
}
