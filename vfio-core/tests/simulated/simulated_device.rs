//! What a device is asked, over the simulated kernel, whose answers are Linux's.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use vfio_core::device::{EventFd, Feature, FeatureSupport, IrqIndex, RegionIndex, VfToken};
use vfio_core::kernel::{Errno, Kernel};
use vfio_core::{Device, ErrorKind, OpenOptions, Vfio, host};
use vfio_sim::machine::{self, Group, Sriov};
use vfio_sim::{Machine, SimKernel};

use crate::setup::{BDF, boot, changes, host, open, v2};

const SECOND: &str = "0000:00:05.0";
const LONG: Duration = Duration::from_secs(60);

fn opened(device: machine::Device) -> (SimKernel, Vfio, Device) {
    let (sim, vfio) = boot(host([device]), [v2()]);
    let device = open(&vfio, BDF).unwrap();
    (sim, vfio, device)
}

fn eventfd(sim: &SimKernel) -> EventFd {
    let kernel: Arc<dyn Kernel> = Arc::new(sim.clone());
    EventFd::new(&kernel).unwrap()
}

#[test]
fn the_msix_table_may_be_in_a_region_that_is_mapped_whole() {
    let (_, _vfio, device) = opened(machine::Device::nvme(BDF));
    let bar = device.region(RegionIndex::Bar(0)).unwrap();
    assert!(bar.capabilities().unwrap().msix_mappable);
    let map = bar.map().unwrap();
    assert_eq!(
        (
            bar.read::<u32>(0x2000).unwrap(),
            map.read::<u32>(0x2000).unwrap()
        ),
        (u32::MAX, 0),
        "the kernel keeps the table for itself; a mapping shows the hardware's"
    );
    let config = device.region(RegionIndex::Config).unwrap();
    assert_eq!(config.capabilities().unwrap(), Default::default());
}

#[test]
fn registers_are_read_and_written_in_one_access_of_each_size() {
    let (_, _vfio, device) = opened(machine::Device::assorted(BDF));
    for bar in [0, 1, 2, 4] {
        let bar = device.region(RegionIndex::Bar(bar)).unwrap();
        // Behind the MSI-X table, where there is one.
        let at = bar.size() / 2;
        bar.write(at, 0x0807_0605_0403_0201u64.to_le()).unwrap();
        assert_eq!(bar.read::<u8>(at + 1).unwrap(), 2);
        assert_eq!(bar.read::<u16>(at + 2).unwrap(), 0x0403u16.to_le());
        assert_eq!(bar.read::<u32>(at + 4).unwrap(), 0x0807_0605u32.to_le());
        if bar.is_mappable() {
            let map = bar.map().unwrap();
            let place = usize::try_from(at).unwrap();
            assert_eq!(
                map.read::<u64>(place).unwrap(),
                0x0807_0605_0403_0201u64.to_le()
            );
            map.write(place, 0xffu8).unwrap();
            assert_eq!(bar.read::<u8>(at).unwrap(), 0xff);
            assert_eq!(map.host_ptr().is_some(), bar.index() == RegionIndex::Bar(2));
        }
    }
}

/// So that the kernel can use huge pages for it.
#[test]
fn a_large_region_lies_where_large_pages_can() {
    let (_, _vfio, device) = opened(machine::Device::assorted(BDF));
    let bar = device.region(RegionIndex::Bar(2)).unwrap();
    let address = |map: &vfio_core::device::RegionMap| map.host_ptr().unwrap().as_ptr() as u64;
    let maps: Vec<_> = (0..4).map(|_| bar.map().unwrap()).collect();
    for map in &maps {
        assert_eq!((map.len(), address(map) % (4 << 20)), (4 << 20, 0));
    }
    // A part lies as it would in the whole.
    let part = bar.map_part(0x1_1000, 1 << 20).unwrap();
    assert_eq!(address(&part) % (1 << 20), 0x1_1000);
    maps[0].write(0x1_1000, 5u32).unwrap();
    assert_eq!(part.read::<u32>(0).unwrap(), 5);
}

/// What a peer gets wrong: a read that fails answers nothing, and the caller goes on with old bytes.
#[test]
fn a_read_that_fails_is_an_error() {
    let (_, _vfio, device) = opened(machine::Device::assorted(BDF));
    let bar = device.region(RegionIndex::Bar(0)).unwrap();
    let map = bar.map().unwrap();
    let config = device.region(RegionIndex::Config).unwrap();
    config.write(4, 0u16).unwrap();
    let error = bar.read::<u32>(0).unwrap_err();
    assert_eq!(error.errno(), Some(Errno::IO), "{error}");
    assert!(bar.write(0, 1u32).is_err());
    let error = map.read::<u32>(0).unwrap_err();
    assert!(error.to_string().contains("SIGBUS"), "{error}");
    assert!(map.write(0, 1u32).is_err());
    assert!(
        bar.read::<u32>(u64::MAX - 3).is_err(),
        "an offset that wraps"
    );
    for outside in [0x100, usize::MAX - 3] {
        assert_eq!(
            map.read::<u32>(outside).unwrap_err().kind(),
            ErrorKind::Invalid
        );
    }
    assert_eq!(map.read::<u32>(2).unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn vectors_are_set_with_holes_and_fired_one_by_one() {
    let (sim, _vfio, device) = opened(machine::Device::nvme(BDF));
    let fds: Vec<_> = (0..4).map(|_| eventfd(&sim)).collect();
    let fd = |n: usize| fds.get(n).map(AsFd::as_fd);
    device
        .enable_irqs(IrqIndex::MsiX, 1, &[fd(0), None, fd(2)])
        .unwrap();
    device.fire_irqs(IrqIndex::MsiX, 0, 4).unwrap();
    let counts = || fds.iter().map(|fd| fd.take().unwrap()).collect::<Vec<_>>();
    assert_eq!(counts(), [1, 0, 1, 0]);
    device.enable_irqs(IrqIndex::MsiX, 60, &[fd(3)]).unwrap(); // added, on a kernel that can
    device
        .enable_irqs(IrqIndex::MsiX, 1, &[None, fd(1)])
        .unwrap();
    device
        .fire_irqs_where(IrqIndex::MsiX, 1, &[true, true, false])
        .unwrap();
    device.fire_irqs(IrqIndex::MsiX, 60, 1).unwrap();
    assert_eq!(counts(), [0, 1, 0, 1]);
    let error = device.enable_irqs(IrqIndex::Msi, 0, &[fd(0)]).unwrap_err();
    assert_eq!(error.errno(), Some(Errno::INVAL), "one kind at a time");
    device.disable_irqs(IrqIndex::MsiX).unwrap();
    assert!(device.fire_irqs(IrqIndex::MsiX, 1, 1).is_err());
}

#[test]
fn a_line_is_unmasked_by_an_eventfd() {
    let (sim, _vfio, device) = opened(machine::Device::edu(BDF));
    let (line, again) = (eventfd(&sim), eventfd(&sim));
    device
        .enable_irqs(IrqIndex::Intx, 0, &[Some(line.as_fd())])
        .unwrap();
    device.unmask_intx_by(Some(again.as_fd())).unwrap();
    let error = device.unmask_intx_by(Some(line.as_fd())).unwrap_err();
    assert_eq!(error.errno(), Some(Errno::BUSY));
    let registers = device.region(RegionIndex::Bar(0)).unwrap().map().unwrap();
    registers.write(0x60, 1u32.to_le()).unwrap();
    assert_eq!(line.wait(LONG).unwrap(), 1, "asserted, and masked by that");
    rustix::io::write(&again, &1u64.to_ne_bytes()).unwrap();
    assert_eq!(line.wait(LONG).unwrap(), 1, "it is asserted still");
    device.mask_irqs(IrqIndex::Intx, 0, 1).unwrap();
    device.unmask_irqs(IrqIndex::Intx, 0, 1).unwrap();
    assert_eq!(line.wait(LONG).unwrap(), 1);
    device.unmask_intx_by(None).unwrap();
}

#[test]
fn errors_and_release_requests_are_delivered() {
    let (sim, _vfio, device) = opened(machine::Device::nvme(BDF));
    for index in [IrqIndex::Error, IrqIndex::Request] {
        assert_eq!(device.irq_info(index).unwrap().count, 1);
        let fd = eventfd(&sim);
        assert!(device.fire_irqs(index, 0, 1).is_err(), "it is not set");
        device.enable_irqs(index, 0, &[Some(fd.as_fd())]).unwrap();
        device.fire_irqs(index, 0, 1).unwrap();
        assert_eq!(fd.take().unwrap(), 1);
        device.enable_irqs(index, 0, &[None]).unwrap();
        assert!(device.fire_irqs(index, 0, 1).is_err(), "it was taken away");
    }
    let (_, _vfio, conventional) = opened(machine::Device::edu(BDF));
    assert_eq!(conventional.irq_info(IrqIndex::Error).unwrap().count, 0);
}

#[test]
fn the_kernel_writes_when_an_eventfd_is_signalled() {
    let (sim, _vfio, device) = opened(machine::Device::assorted(BDF));
    let bar = device.region(RegionIndex::Bar(0)).unwrap();
    let fd = eventfd(&sim);
    let value = 0x1234_5678u32;
    let write = bar.write_on_signal(0x10, value, fd.as_fd()).unwrap();
    let error = bar.write_on_signal(0x10, value, fd.as_fd()).unwrap_err();
    assert_eq!(error.errno(), Some(Errno::EXIST));
    rustix::io::write(&fd, &1u64.to_ne_bytes()).unwrap();
    while bar.read::<u32>(0x10).unwrap() == 0 {
        std::thread::yield_now(); // the kernel's thread writes when it is its turn
    }
    assert_eq!(bar.read::<u32>(0x10).unwrap(), value.to_le());
    write.close().unwrap();
    let dropped = bar.write_on_signal(0x10, value, fd.as_fd()).unwrap();
    drop(dropped);
    let again = bar.write_on_signal(0x10, value, fd.as_fd()).unwrap();
    again.close().unwrap();
    assert!(
        bar.write_on_signal(0xfe, value, fd.as_fd()).is_err(),
        "misaligned"
    );
    assert!(
        bar.write_on_signal(0x100, 0u8, fd.as_fd()).is_err(),
        "outside"
    );
}

#[test]
fn a_device_is_reset_alone_if_it_can_be() {
    let (_, _vfio, device) = opened(machine::Device::assorted(BDF));
    let bar = device.region(RegionIndex::Bar(0)).unwrap();
    bar.write(0, 7u32).unwrap();
    device.reset().unwrap();
    assert_eq!(bar.read::<u32>(0).unwrap(), 0);
    let (_, _vfio, edu) = opened(machine::Device::edu(BDF));
    assert_eq!(edu.reset().unwrap_err().kind(), ErrorKind::Unsupported);
    for error in [
        edu.hot_reset(&[]).unwrap_err(),
        edu.hot_reset_info().unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    }
}

#[test]
fn a_hot_reset_wants_every_group_of_the_bus() {
    let on_bus = |bdf| machine::Device::assorted(bdf).on_reset_bus(1);
    let machine = Machine {
        groups: vec![
            Group::new(2, [on_bus(BDF)]),
            Group::new(3, [on_bus(SECOND)]),
        ],
        ..host([])
    };
    let (_, vfio) = boot(machine, [v2()]);
    let first = open(&vfio, BDF).unwrap();
    let members = first.hot_reset_info().unwrap();
    let shown: Vec<_> = members
        .iter()
        .map(|it| (it.bdf.to_string(), it.group))
        .collect();
    assert_eq!(shown, [(BDF.to_owned(), 2), (SECOND.to_owned(), 3)]);
    let error = first.hot_reset(&[]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotPermitted);
    assert!(
        error.to_string().contains("0000:00:05.0 of group 3"),
        "{error}"
    );

    let second = open(&vfio, SECOND).unwrap();
    let bars = [&first, &second].map(|it| it.region(RegionIndex::Bar(0)).unwrap());
    for bar in &bars {
        bar.write(0, 9u32).unwrap();
    }
    first.hot_reset(&[second.clone(), first.clone()]).unwrap();
    for bar in &bars {
        assert_eq!(bar.read::<u32>(0).unwrap(), 0);
    }
}

/// More devices than there was room for at first.
#[test]
fn a_large_bus_is_told_whole() {
    let bdfs: Vec<_> = (0..4)
        .flat_map(|device| (0..8).map(move |function| format!("0000:07:{device:02x}.{function}")))
        .collect();
    let devices = bdfs
        .iter()
        .map(|bdf| machine::Device::bare(bdf, 1, 2, 3).on_reset_bus(5));
    let (_, vfio) = boot(host(devices), [v2()]);
    let device = open(&vfio, &bdfs[9]).unwrap();
    let told: Vec<_> = device
        .hot_reset_info()
        .unwrap()
        .iter()
        .map(|member| member.bdf.to_string())
        .collect();
    assert_eq!(told, bdfs);
    device.hot_reset(&[]).unwrap();
}

#[test]
fn features_are_asked_for_and_not_used() {
    let (_, _vfio, device) = opened(machine::Device::nvme(BDF));
    let none = FeatureSupport {
        get: false,
        set: false,
    };
    let to_set = FeatureSupport { set: true, ..none };
    assert_eq!(device.feature(Feature::LOW_POWER_ENTRY).unwrap(), to_set);
    assert_eq!(device.feature(Feature::MIGRATION).unwrap(), none);
    assert_eq!(device.feature(Feature::VF_TOKEN).unwrap(), none);
    assert_eq!(device.feature(Feature(999)).unwrap(), none);
    let token = VfToken([7; 16]);
    assert_eq!(
        device.set_vf_token(token).unwrap_err().errno(),
        Some(Errno::NOTTY)
    );
}

#[test]
fn a_virtual_function_wants_the_token_of_its_physical_one() {
    let machine = Machine {
        groups: vec![
            Group::new(
                2,
                [machine::Device {
                    sriov: Sriov::Physical,
                    ..machine::Device::nvme(BDF)
                }],
            ),
            Group::new(
                3,
                [machine::Device {
                    sriov: Sriov::Virtual(BDF.into()),
                    ..machine::Device::nvme(SECOND)
                }],
            ),
        ],
        ..host([])
    };
    let (sim, vfio) = boot(machine, [v2()]);
    let physical = open(&vfio, BDF).unwrap();
    assert!(physical.feature(Feature::VF_TOKEN).unwrap().set);
    let token: VfToken = "00112233-4455-6677-8899-aabbccddeeff".parse().unwrap();
    physical.set_vf_token(token).unwrap();

    let virtual_bdf = SECOND.parse().unwrap();
    let with = |token| vfio.open_with(virtual_bdf, OpenOptions::default().with_vf_token(token));
    let error = open(&vfio, SECOND).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotPermitted);
    assert!(error.to_string().contains("wants the token"), "{error}");
    let error = with(VfToken([1; 16])).unwrap_err();
    assert!(
        error.to_string().contains("not that of its physical"),
        "{error}"
    );
    let opened = with(token).unwrap();
    drop((opened, physical));
    assert!(sim.is_idle());
}

#[test]
fn a_device_says_which_memory_is_near() {
    let near = machine::Device {
        numa_node: Some(3),
        ..machine::Device::edu(BDF)
    };
    let (sim, _) = boot(host([near]), [v2()]);
    let told = host::device(&sim, BDF.parse().unwrap()).unwrap();
    assert_eq!(told.numa_node, Some(3));
    let (sim, _) = boot(host([machine::Device::edu(BDF)]), [v2()]);
    assert_eq!(
        host::device(&sim, BDF.parse().unwrap()).unwrap().numa_node,
        None
    );
}

/// A BAR that is mapped pins its device (A11b): it goes first, whoever drops what.
#[test]
fn a_mapped_bar_is_released_before_its_device() {
    let (sim, vfio, device) = opened(machine::Device::assorted(BDF));
    let maps = [0, 2].map(|bar| device.region(RegionIndex::Bar(bar)).unwrap().map().unwrap());
    drop((device, vfio));
    assert!(!sim.is_idle());
    changes(&sim);
    drop(maps);
    assert!(sim.is_idle());
    let mut log = changes(&sim);
    log[..2].sort(); // of pages the kernel is told, of registers it notices
    assert_eq!(
        log,
        [
            "region 0 of 0000:00:04.0: close",
            "region 2 of 0000:00:04.0: close",
            "device 0000:00:04.0: close",
            "group 2: VFIO_GROUP_UNSET_CONTAINER",
            "group 2: close",
            "container 0: close",
        ]
    );
}
