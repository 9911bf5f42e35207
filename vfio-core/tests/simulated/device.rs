//! Regions, interrupts, reset: what a device is asked, and what is refused before it is asked.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use vfio_core::device::{EventFd, IrqIndex, MappableArea, RegionIndex};
use vfio_core::kernel::Kernel;
use vfio_core::{ErrorKind, Register};

use crate::board::{Board, ROOM};
use crate::setup::BDF;

#[test]
fn a_device_says_what_it_has_and_is_reset_if_it_can_be() {
    let (board, device) = Board::open();
    let info = device.info().unwrap();
    assert_eq!((info.regions, info.irq_indexes), (10, 5));
    assert!(!info.can_reset);
    assert_eq!(device.reset().unwrap_err().kind(), ErrorKind::Unsupported);
    assert!(board.take_log().is_empty());
    board.set(|state| state.has_reset = true);
    assert!(device.info().unwrap().can_reset);
    device.reset().unwrap();
    assert_eq!(board.take_log(), ["reset"]);
}

#[test]
fn regions_say_what_can_be_done_with_them() {
    let (_, device) = Board::open();
    let can = |index| {
        let region = device.region(index).unwrap();
        let flags = (
            region.is_readable(),
            region.is_writable(),
            region.is_mappable(),
        );
        (region.index().number(), region.size(), flags)
    };
    assert_eq!(
        can(RegionIndex::Bar(0)),
        (Some(0), ROOM, (true, true, true))
    );
    assert_eq!(
        can(RegionIndex::Bar(1)),
        (Some(1), 0x10, (true, false, false))
    );
    assert_eq!(
        can(RegionIndex::Bar(2)),
        (Some(2), 0x10, (false, true, false))
    );
    assert_eq!(can(RegionIndex::Rom), (Some(6), 0, (false, false, false)));
    assert_eq!(
        can(RegionIndex::Config),
        (Some(7), 0x100, (true, true, false))
    );
    let error = device.region(RegionIndex::Bar(6)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let error = device.region(RegionIndex::Vga).unwrap_err();
    assert_eq!(error.operation(), "VFIO_DEVICE_GET_REGION_INFO");
    assert_eq!(error.device(), BDF.parse().ok());
}

/// What a peer gets wrong: a region that the kernel refuses shifts those behind it.
#[test]
fn a_region_that_is_refused_does_not_shift_the_others() {
    let (_, device) = Board::open();
    let regions = device.regions().unwrap();
    let seen: Vec<_> = regions
        .iter()
        .map(|(index, region)| {
            (
                *index,
                region.as_ref().map(|it| (it.index(), it.size())).ok(),
            )
        })
        .collect();
    let here = |index, size| (index, Some((index, size)));
    assert_eq!(
        seen,
        [
            here(RegionIndex::Bar(0), ROOM),
            here(RegionIndex::Bar(1), 0x10),
            here(RegionIndex::Bar(2), 0x10),
            here(RegionIndex::Bar(3), ROOM),
            here(RegionIndex::Bar(4), ROOM),
            here(RegionIndex::Bar(5), 3 * ROOM),
            here(RegionIndex::Rom, 0),
            here(RegionIndex::Config, 0x100),
            (RegionIndex::Vga, None),
            here(RegionIndex::Other(9), 0x20),
        ]
    );
}

#[test]
fn a_region_can_be_mappable_in_part() {
    let (_, device) = Board::open();
    let region = device.region(RegionIndex::Bar(5)).unwrap();
    let area = MappableArea {
        offset: ROOM,
        size: ROOM,
    };
    assert_eq!(region.mappable_areas().unwrap(), [area]);
    let error = region.map().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(
        error.to_string().contains("0x1000 bytes at 0x1000"),
        "{error}"
    );
    region.write(ROOM + 8, 5u32).unwrap();
    for (offset, size) in [(0, ROOM), (ROOM, 2 * ROOM), (2 * ROOM, ROOM), (0, 3 * ROOM)] {
        let error = region.map_part(offset, size).unwrap_err();
        assert_eq!(
            error.kind(),
            ErrorKind::Unsupported,
            "{offset:#x} {size:#x}"
        );
    }
    let map = region.map_part(area.offset, area.size).unwrap();
    assert_eq!((map.len() as u64, map.read::<u32>(8).unwrap()), (ROOM, 5));
    assert!(map.host_ptr().is_some());

    let whole = device.region(RegionIndex::Bar(0)).unwrap();
    assert_eq!(
        whole.mappable_areas().unwrap(),
        [MappableArea {
            offset: 0,
            size: ROOM
        }]
    );
    let none = device.region(RegionIndex::Config).unwrap();
    assert_eq!(none.mappable_areas().unwrap(), []);
    for (offset, size) in [(0, 0), (8, 8), (0, ROOM + 1), (ROOM, 1), (0x1000, u64::MAX)] {
        let error = whole.map_part(offset, size).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{offset:#x} {size:#x}");
    }
}

#[test]
fn registers_are_read_and_written_where_they_are() {
    let (_, device) = Board::open();
    let bar = device.region(RegionIndex::Bar(0)).unwrap();
    let config = device.region(RegionIndex::Config).unwrap();
    bar.write(0x10, 0x0102_0304_0506_0708u64).unwrap();
    config.write(0x10, 0xaabbu16).unwrap();
    assert_eq!(bar.read::<u64>(0x10).unwrap(), 0x0102_0304_0506_0708);
    assert_eq!(config.read::<u16>(0x10).unwrap(), 0xaabb);
    assert_eq!(config.read::<u16>(0x12).unwrap(), 0);
    assert_eq!(config.read::<u8>(0xff).unwrap(), 0);
    assert_eq!(config.read::<u64>(0xf8).unwrap(), 0);
}

#[test]
fn what_is_outside_or_misaligned_is_refused() {
    fn refused<T: Register + std::fmt::Debug>(
        offset: u64,
        read: impl Fn(u64) -> vfio_core::Result<T>,
    ) {
        let error = read(offset).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(
            error.to_string().contains("Config of 0000:00:04.0"),
            "{error}"
        );
    }
    let (_, device) = Board::open();
    let config = device.region(RegionIndex::Config).unwrap();
    refused(0x100, |at| config.read::<u8>(at));
    refused(0xfc, |at| config.read::<u64>(at));
    refused(0x2, |at| config.read::<u32>(at));
    refused(u64::MAX, |at| config.read::<u8>(at));
    assert!(config.write(0x100, 0u8).is_err());
    assert!(config.write(0x1, 0u16).is_err());
}

#[test]
fn an_access_that_moves_too_little_has_failed() {
    let (board, device) = Board::open();
    let config = device.region(RegionIndex::Config).unwrap();
    board.set(|state| state.moves = Some(1));
    assert_eq!(config.read::<u8>(0).unwrap(), 0);
    let error = config.read::<u16>(0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Kernel);
    assert!(error.to_string().contains("only 1 of 2 bytes"), "{error}");
    assert!(config.write(0, 0u32).is_err());
}

#[test]
fn a_mapped_region_is_the_device_s_and_is_unmapped_before_it_is_closed() {
    let (board, device) = Board::open();
    let bar = device.region(RegionIndex::Bar(0)).unwrap();
    let map = bar.map().unwrap();
    assert_eq!(map.len() as u64, ROOM);
    bar.write(0x8, 7u32).unwrap();
    assert_eq!(map.read::<u32>(0x8).unwrap(), 7);
    map.write(0xffc, 9u32).unwrap();
    assert_eq!(bar.read::<u32>(0xffc).unwrap(), 9);
    for (offset, what) in [
        (0x1000, "outside"),
        (0x2, "misaligned"),
        (usize::MAX - 3, "outside"),
    ] {
        assert!(map.read::<u32>(offset).is_err(), "{what}");
        assert!(map.write(offset, 0u32).is_err(), "{what}");
    }
    assert!(map.read::<u64>(0xffc).is_err());

    drop((bar, device));
    assert!(!board.sim.is_idle());
    drop(map);
    assert_eq!(board.take_log(), ["munmap 0x1000"]);
    assert!(board.sim.is_idle());
}

#[test]
fn a_region_that_cannot_be_mapped_says_so() {
    let (_, device) = Board::open();
    let error = device
        .region(RegionIndex::Bar(1))
        .unwrap()
        .map()
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[test]
fn a_mapped_region_is_used_only_as_it_allows() {
    let (_, device) = Board::open();
    let map = |bar| device.region(RegionIndex::Bar(bar)).unwrap().map().unwrap();
    let (readable, writable) = (map(3), map(4));
    assert_eq!(readable.read::<u32>(0).unwrap(), 0);
    writable.write(0, 1u32).unwrap();
    for error in [
        readable.write(0, 1u32).unwrap_err(),
        writable.read::<u32>(0).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    }
}

#[test]
fn interrupts_say_what_they_can() {
    let (_, device) = Board::open();
    let can = |index| {
        let info = device.irq_info(index).unwrap();
        (info.count, info.maskable, info.automasked, info.resizable)
    };
    assert_eq!(can(IrqIndex::Intx), (1, true, true, true));
    assert_eq!(can(IrqIndex::Msi), (1, false, false, false));
    assert_eq!(can(IrqIndex::MsiX), (3, false, false, true));
}

#[test]
fn interrupts_are_set_as_the_kernel_wants_them() {
    let (board, device) = Board::open();
    let kernel: Arc<dyn Kernel> = board.clone();
    let (one, two) = (
        EventFd::new(&kernel).unwrap(),
        EventFd::new(&kernel).unwrap(),
    );
    device
        .enable_irqs(
            IrqIndex::MsiX,
            1,
            &[Some(one.as_fd()), None, Some(two.as_fd())],
        )
        .unwrap();
    device.fire_irqs(IrqIndex::MsiX, 2, 1).unwrap();
    device.fire_irqs(IrqIndex::MsiX, 2, 0).unwrap(); // none, and not all
    let error = device.enable_irqs(IrqIndex::MsiX, 0, &[]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let error = device.fire_irqs_where(IrqIndex::MsiX, 0, &[]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let error = device
        .enable_irqs(IrqIndex::MsiX, u32::MAX, &[Some(one.as_fd())])
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    device
        .fire_irqs_where(IrqIndex::MsiX, 4, &[true, false])
        .unwrap();
    device.unmask_intx_by(Some(one.as_fd())).unwrap();
    device.unmask_intx_by(None).unwrap();
    device.disable_irqs(IrqIndex::MsiX).unwrap();
    device.mask_irqs(IrqIndex::Intx, 0, 1).unwrap();
    device.unmask_irqs(IrqIndex::Intx, 0, 1).unwrap();
    assert_eq!(
        board.take_log(),
        [
            "irqs 0x24 of 2 from 1: 3, fds +-+",
            "irqs 0x21 of 2 from 2: 1",
            "irqs 0x22 of 2 from 4: 2, data [1, 0]",
            "irqs 0x14 of 0 from 0: 1, fds +",
            "irqs 0x14 of 0 from 0: 1, fds -",
            "irqs 0x21 of 2 from 0: 0",
            "irqs 0x9 of 0 from 0: 1",
            "irqs 0x11 of 0 from 0: 1",
        ]
    );
}

#[test]
fn an_eventfd_counts_what_came_since_the_last_look() {
    let (board, _device) = Board::open();
    let kernel: Arc<dyn Kernel> = board;
    let fd = EventFd::new(&kernel).unwrap();
    assert_eq!(fd.take().unwrap(), 0);
    assert_eq!(fd.wait(Duration::ZERO).unwrap(), 0);
    for _ in 0..3 {
        rustix::io::write(&fd, &1u64.to_ne_bytes()).unwrap();
    }
    assert_eq!(fd.wait(Duration::from_secs(60)).unwrap(), 3);
    rustix::io::write(&fd, &5u64.to_ne_bytes()).unwrap();
    assert_eq!(fd.take().unwrap(), 5);
    assert_eq!(fd.take().unwrap(), 0);
}
