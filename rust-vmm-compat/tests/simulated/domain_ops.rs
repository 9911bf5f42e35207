//! What is mapped by code for `vfio-ioctls`.
#![allow(unsafe_code)] // memory that is mapped through the trait

use std::path::Path;
use std::sync::Arc;

use rust_vmm_compat::DomainOps;
use vfio_core::kernel::Errno;
use vfio_ioctls::{VfioDevice, VfioError, VfioOps};
use vfio_sim::wrap::Mode;
use vm_memory::{Address, GuestMemoryRegion, GuestRegionMmap};

use crate::board::{Board, PAGE, region};

/// What was mapped before the memory is dropped.
struct World {
    ops: Arc<dyn VfioOps>,
    board: Board,
    region: Arc<GuestRegionMmap>,
}

impl World {
    fn new() -> Self {
        let board = Board::new();
        // SAFETY: only what `map` maps: memory of the region, which is dropped after the life of the domain.
        let ops = Arc::new(unsafe { DomainOps::new(board.device.domain().clone()) });
        let region = region(0x10_0000);
        Self { ops, board, region }
    }

    fn iova(&self) -> u64 {
        self.region.start_addr().raw_value()
    }

    fn size(&self) -> usize {
        self.region.size()
    }

    fn map(&self, iova: u64, size: usize) -> Result<(), Option<i32>> {
        let host = self.region.as_ptr();
        assert!(size <= self.size());
        // SAFETY: guest memory, of which there are no references; it outlives the device.
        match unsafe { self.ops.vfio_dma_map(iova, size, host) } {
            Err(VfioError::IommuDmaMap(errno)) => Err(Some(errno.errno())),
            Err(_) => Err(None),
            Ok(()) => Ok(()),
        }
    }

    fn unmap(&self, iova: u64, size: usize) -> Result<(), Option<i32>> {
        match self.ops.vfio_dma_unmap(iova, size) {
            Err(VfioError::IommuDmaUnmap(errno)) => Err(Some(errno.errno())),
            Err(VfioError::InvalidDmaUnmapSize) => Err(None),
            Err(other) => panic!("{other}"),
            Ok(()) => Ok(()),
        }
    }
}

fn errno(errno: Errno) -> Result<(), Option<i32>> {
    Err(Some(errno.raw_os_error()))
}

#[test]
fn what_is_mapped_through_the_trait_is_mapped_in_the_domain() {
    let world = World::new();
    let (iova, size) = (world.iova(), world.size());
    world.map(iova, size).unwrap();
    let host = world.region.as_ptr().addr() as u64;
    assert_eq!(world.board.reached(), [(iova, host, size as u64, true)]);
    world.unmap(iova, size).unwrap();
    assert_eq!(world.board.reached(), []);
}

#[test]
fn a_refusal_is_the_errno_that_says_why() {
    let world = World::new();
    let (iova, size) = (world.iova(), world.size());
    world.map(iova, size).unwrap();
    let reached = world.board.reached();
    let beyond = 1 << 60;
    assert_eq!(world.map(iova, size), errno(Errno::EXIST));
    assert_eq!(world.map(iova + 1, size), errno(Errno::INVAL));
    assert_eq!(world.map(beyond, size), errno(Errno::INVAL));
    assert_eq!(world.map(iova, 0), errno(Errno::INVAL));
    assert_eq!(world.map(u64::MAX, size), errno(Errno::INVAL));
    assert_eq!(world.unmap(iova, 0), errno(Errno::INVAL));
    assert_eq!(world.unmap(iova, PAGE - 1), errno(Errno::INVAL));
    assert_eq!(world.board.reached(), reached);
}

#[test]
fn what_the_kernel_says_is_passed_on() {
    let world = World::new();
    let (iova, size) = (world.iova(), world.size());
    let failing = &world.board.failing;
    failing.arm(0, Errno::NOMEM.into(), Mode::Once);
    assert_eq!(world.map(iova, size), errno(Errno::NOMEM));
    world.map(iova, size).unwrap();
    failing.arm(0, Errno::FAULT.into(), Mode::Once);
    assert_eq!(world.unmap(iova, size), errno(Errno::FAULT));
    world.unmap(iova, size).unwrap();
}

#[test]
fn an_unmap_that_does_not_fill_its_range_is_no_success() {
    let world = World::new();
    let (iova, size) = (world.iova(), world.size());
    assert_eq!(world.unmap(iova, size), Err(None));
    world.map(iova, size).unwrap();
    assert_eq!(world.unmap(iova, size + PAGE), Err(None));
    assert_eq!(world.board.reached(), []);
}

#[test]
fn when_the_life_of_the_domain_is_over_it_says_so() {
    for (left, errno) in [(true, Errno::NODEV), (false, Errno::BUSY)] {
        let World { ops, board, region } = World::new();
        if !left {
            let answer = Errno::IO.into();
            board.failing.arm(0, answer, Mode::AndAllLater);
        }
        assert_eq!(board.device.close().is_ok(), left);
        let gone = ops.vfio_dma_unmap(0, region.size()).unwrap_err();
        let VfioError::IommuDmaUnmap(gone) = gone else {
            panic!("{gone}");
        };
        assert_eq!(gone.errno(), errno.raw_os_error());
    }
}

#[test]
fn a_device_of_vfio_ioctls_does_not_take_it() {
    let world = World::new();
    let opened = VfioDevice::new(Path::new("/"), world.ops, false);
    assert!(matches!(opened, Err(VfioError::DowncastVfioOps)));
}
