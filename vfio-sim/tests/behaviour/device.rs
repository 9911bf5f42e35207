//! A11b, F74 to F78, F91: what a device is, its regions, mapped and not.
#![allow(unsafe_code)] // Maps regions; what is read there is only read while it is mapped.

use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use vfio_core::kernel::{Arg, Errno, Kernel, Protection, RegionMapping, Result};
use vfio_core::uapi::{self, DeviceInfo, RegionInfo, SPAPR_TCE_IOMMU, TYPE1V2_IOMMU};
use vfio_sim::machine::{Bar, Device, Group};
use vfio_sim::{Machine, Object, SimKernel};

use crate::door::{call, ioctl, leave, status};
use crate::memory::random;
use crate::probe::{self, BUFFER, KEEP, PENDING, TABLE};
use crate::rig::{COMMAND, Open, Rig};

const CONFIG: u32 = uapi::PCI_CONFIG_REGION_INDEX;
const ROM: u32 = uapi::PCI_ROM_REGION_INDEX;
const MEMORY_SPACE: u16 = 1 << 1;

pub(crate) fn map_region(
    open: &Open,
    region: u32,
    offset: u64,
    len: usize,
) -> Result<RegionMapping> {
    let place = (u64::from(region) << 40) + offset;
    let rights = Protection {
        read: true,
        write: true,
    };
    open.sim
        .map_region(open.device.as_fd(), place, len, rights, 4096)
}

pub(crate) fn unmap_region(sim: &SimKernel, mapping: RegionMapping, len: usize) {
    if let RegionMapping::Pages(at) = mapping {
        // SAFETY: what was mapped, once; the only pointer to it goes.
        unsafe { sim.munmap(at, len).unwrap() };
    }
}

fn info(open: &Open) -> DeviceInfo {
    let mut info = DeviceInfo {
        argsz: 24,
        ..DeviceInfo::default()
    };
    call(&open.sim, &open.device, uapi::DEVICE_GET_INFO, &mut info).unwrap();
    info
}

fn region(open: &Open, index: u32) -> Result<RegionInfo> {
    let mut info = RegionInfo {
        argsz: 32,
        index,
        ..RegionInfo::default()
    };
    call(
        &open.sim,
        &open.device,
        uapi::DEVICE_GET_REGION_INFO,
        &mut info,
    )
    .map(|_| info)
}

#[test]
fn f74_info() {
    let (rig, device) = Rig::probe();
    let found = info(&device);
    assert_eq!((found.num_regions, found.num_irqs), (9, 5));
    assert_eq!(
        found.flags,
        uapi::DEVICE_FLAGS_PCI | uapi::DEVICE_FLAGS_RESET
    );
    let ask = |bytes: &mut [u8]| {
        ioctl(
            &rig.sim,
            &device.device,
            uapi::DEVICE_GET_INFO,
            Arg::InOut(bytes),
        )
    };
    let mut short = [0; 16];
    short[0] = 15;
    assert_eq!(ask(&mut short), Err(Errno::INVAL));
    short[0] = 16;
    assert_eq!(ask(&mut short), Ok(0));
    assert_eq!(short[8], 9);

    let edu = Rig::new(Machine::x86_64(), TYPE1V2_IOMMU).open("0000:00:04.0");
    assert_eq!(
        info(&edu).flags,
        uapi::DEVICE_FLAGS_PCI,
        "no reset that works"
    );
}

#[test]
fn f75_f76_regions() {
    let (_rig, device) = Rig::probe();
    let (read, write) = (uapi::REGION_FLAG_READ, uapi::REGION_FLAG_WRITE);
    let (mmap, caps) = (uapi::REGION_FLAG_MMAP, uapi::REGION_FLAG_CAPS);
    let expected = [
        (64 << 10, read | write | mmap | caps),
        (0x20, read | write),
        (64 << 10, read | write | mmap),
        (0, 0),
        (0x100, read | write | mmap),
        (0, 0),
        (4 << 10, read),
        (4096, read | write),
    ];
    for (index, (size, flags)) in (0..).zip(expected) {
        let info = region(&device, index).unwrap();
        assert_eq!((info.size, info.flags), (size, flags), "region {index}");
        assert_eq!(info.offset, u64::from(index) << 40);
    }
    assert_eq!(
        region(&device, uapi::PCI_VGA_REGION_INDEX).err(),
        Some(Errno::INVAL)
    );
    assert_eq!(region(&device, 9).err(), Some(Errno::INVAL));
}

#[test]
fn f75_without_io_space_there_are_no_ports() {
    let machine = Machine {
        io_space: false,
        ..Machine::x86_64()
    };
    let rig = Rig::new(
        machine.with_devices([probe::device(probe::NAME)]),
        TYPE1V2_IOMMU,
    );
    let device = rig.open(probe::NAME);
    let ports = region(&device, 1).unwrap();
    assert_eq!((ports.size, ports.flags), (0, 0));
    assert_eq!(device.pread(1, 0, 4), Err(Errno::INVAL));
}

#[test]
fn f75_capabilities_that_do_not_fit() {
    let (rig, device) = Rig::probe();
    let ask = |argsz: u8, cap_offset: u8| {
        let mut bytes = [0u8; 40];
        (bytes[0], bytes[12]) = (argsz, cap_offset);
        let arg = Arg::InOut(&mut bytes);
        let answer = ioctl(&rig.sim, &device.device, uapi::DEVICE_GET_REGION_INFO, arg);
        answer.map(|_| bytes)
    };
    assert_eq!(ask(31, 0).err(), Some(Errno::INVAL));
    let short = ask(32, 7).unwrap();
    assert_eq!((short[0], short[12]), (40, 0));
    assert_eq!(short[32..], [0; 8]);
    let whole = ask(40, 0).unwrap();
    assert_eq!((whole[0], whole[12]), (40, 32));
    assert_eq!(whole[32..34], [3, 0], "MSI-X can be mapped");

    let mut plain = RegionInfo {
        argsz: 32,
        index: 2,
        cap_offset: 7,
        ..RegionInfo::default()
    };
    call(
        &rig.sim,
        &device.device,
        uapi::DEVICE_GET_REGION_INFO,
        &mut plain,
    )
    .unwrap();
    assert_eq!(
        (plain.flags & uapi::REGION_FLAG_CAPS, plain.cap_offset),
        (0, 7),
        "left alone"
    );
}

#[test]
fn f78_reads_and_writes() {
    let (_rig, device) = Rig::probe();
    assert_eq!(device.pread(8, 0, 0), Ok(vec![]), "nothing is always fine");
    assert_eq!(device.pread(8, 0, 4), Err(Errno::INVAL));
    assert_eq!(device.pread(3, 0, 4), Err(Errno::INVAL), "no such BAR");
    assert_eq!(device.pread(ROM, 0, 2), Ok(vec![0x55, 0xaa]));
    assert_eq!(device.pwrite(ROM, 0, &[0]), Err(Errno::INVAL));
    assert_eq!(
        device.pread(0, 64 << 10, 1),
        Err(Errno::INVAL),
        "from the end on"
    );
    assert_eq!(
        device.pread(0, (64 << 10) - 2, 8).map(|bytes| bytes.len()),
        Ok(2),
        "cut off"
    );
    assert_eq!(device.pwrite(0, (64 << 10) - 2, &[0; 8]), Ok(2));
    assert_eq!(
        device.pread(4, 0xfe, 8).map(|bytes| bytes.len()),
        Ok(2),
        "smaller than a page"
    );
    assert_eq!(
        device.pread(1, 0x1f, 8).map(|bytes| bytes.len()),
        Ok(1),
        "ports"
    );
    let bytes = random(100);
    assert_eq!(device.pwrite(0, BUFFER + 1, &bytes), Ok(100), "unaligned");
    assert_eq!(device.pread(0, BUFFER + 1, 100), Ok(bytes));
}

#[test]
fn f78_the_msix_table_is_the_kernels() {
    let (_rig, device) = Rig::probe();
    assert_eq!(
        device.pwrite(0, TABLE, &[0; 16]),
        Ok(16),
        "dropped, and counted"
    );
    assert_eq!(
        device.pread(0, TABLE + 8 * 16 - 4, 8),
        Ok(vec![0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0])
    );
    assert_eq!(
        device.pread(0, TABLE - 4, 8),
        Ok(vec![0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff])
    );
    assert_eq!(
        device.pread(0, PENDING, 8),
        Ok(vec![0; 8]),
        "the pending bits are the device's"
    );
}

#[test]
fn f78_memory_decoding_off() {
    let (_rig, device) = Rig::probe();
    let command = device.config(COMMAND);
    device.set_config(COMMAND, command & !MEMORY_SPACE);
    for region in [0, 2, 4] {
        assert_eq!(device.pread(region, 0, 4), Err(Errno::IO));
        assert_eq!(device.pwrite(region, 0, &[0; 4]), Err(Errno::IO));
    }
    assert_eq!(
        device.pread(0, 64 << 10, 4),
        Err(Errno::INVAL),
        "the end is looked at first"
    );
    assert_eq!(
        device.pread(0, TABLE, 4),
        Ok(vec![0xff; 4]),
        "the table is not read at all"
    );
    assert_eq!(device.pread(0, TABLE - 4, 8), Err(Errno::IO));
    assert!(device.pread(1, 0, 4).is_ok(), "ports");
    device.set_config(COMMAND, command);
    assert!(device.pread(0, 0, 4).is_ok());
}

#[test]
fn f77_f78_d3hot_answers_in_no_bar() {
    let (_rig, device) = Rig::probe();
    let control = device.capability(0x01) + 4;
    device.set_config(control, 1);
    assert!(device.pread(0, 0, 4).is_ok(), "D1");
    device.set_config(control, 3);
    assert_eq!(device.pread(0, 0, 4), Err(Errno::IO));
    device.set_config(control, 0);
    assert!(device.pread(0, 0, 4).is_ok());
}

#[test]
fn f77_what_cannot_be_mapped() {
    let (_rig, device) = Rig::probe();
    for (region, offset, len) in [
        (0, 0, 0x1_1000),
        (0, 0x1_0000, 0x1000),
        (0, 0x800, 0x1000),
        (1, 0, 0x1000),
        (3, 0, 0x1000),
        (4, 0, 0x2000),
        (ROM, 0, 0x1000),
        (CONFIG, 0, 0x1000),
        (9, 0, 0x1000),
    ] {
        let answer = map_region(&device, region, offset, len);
        assert_eq!(
            answer.err(),
            Some(Errno::INVAL),
            "{region} {offset:#x} {len:#x}"
        );
    }
    assert!(
        map_region(&device, 4, 0, 0x1000).is_ok(),
        "a page of which the BAR is a part"
    );
}

#[test]
fn f77_mapped_registers() {
    let (_rig, device) = Rig::probe();
    let RegionMapping::Registers(file) = map_region(&device, 0, 0, 0x1_0000).unwrap() else {
        panic!("registers are not memory");
    };
    let keep = usize::try_from(KEEP).unwrap();
    file.write(keep, &[1, 2, 3, 4, 5, 6, 7, 8]).unwrap();
    assert_eq!(device.get(KEEP), 0x0807_0605_0403_0201);
    let mut bytes = [0; 4];
    file.read(keep, &mut bytes).unwrap();
    assert_eq!(bytes, [1, 2, 3, 4]);
    file.read(usize::try_from(TABLE).unwrap(), &mut bytes)
        .unwrap();
    assert_eq!(bytes, [0xff; 4]);

    let command = device.config(COMMAND);
    device.set_config(COMMAND, command & !MEMORY_SPACE);
    assert!(file.read(keep, &mut bytes).is_err(), "would be a SIGBUS");
    assert!(file.write(keep, &bytes).is_err());
    device.set_config(COMMAND, command);
    assert_eq!(file.read(keep, &mut bytes), Ok(()));
}

#[test]
fn f77_mapped_registers_end_with_their_pages() {
    let (_rig, device) = Rig::probe();
    let map = |region| match map_region(&device, region, 0, 0x1000) {
        Ok(RegionMapping::Registers(file)) => file,
        other => panic!("registers are not memory: {other:?}"),
    };
    let mut bytes = [0x77; 4];
    let (first_page, small) = (map(0), map(4));
    for offset in [0xffd, 0x1000, usize::MAX] {
        assert!(first_page.read(offset, &mut bytes).is_err(), "{offset:#x}");
        assert!(first_page.write(offset, &bytes).is_err(), "{offset:#x}");
    }
    assert_eq!(device.pread(0, BUFFER, 4), Ok(vec![0; 4]), "the next page");

    // The BAR of 0x100 bytes has the page to itself.
    small.read(0xfe, &mut bytes).unwrap();
    assert_eq!(bytes, [0, 0, 0xff, 0xff]);
    small.read(0xffc, &mut bytes).unwrap();
    assert_eq!(bytes, [0xff; 4]);
    assert_eq!(small.write(0xffc, &bytes), Ok(()));
    assert!(small.read(0xffd, &mut bytes).is_err());
}

#[test]
fn f77_a_small_bar_is_mapped_in_pages_of_the_machine() {
    let small = Device {
        bars: [Some(Bar::memory(0x1000)), None, None, None, None, None],
        ..Device::bare(probe::NAME, 0x1af4, 0x10f0, 0x05_0000)
    };
    let rig = Rig::new(Machine::pseries().with_devices([small]), SPAPR_TCE_IOMMU);
    let mapping = map_region(&rig.open(probe::NAME), 0, 0, 0x1000).unwrap();
    let RegionMapping::Pages(at) = &mapping else {
        panic!("memory is mapped as pages");
    };
    let last = at.as_ptr() as u64 + 0xffff;
    let memory = std::fs::File::open("/proc/self/mem").unwrap();
    assert_eq!(memory.read_at(&mut [0], last).ok(), Some(1));
    assert_eq!(at.as_ptr() as u64 % 0x1_0000, 0);
    unmap_region(&rig.sim, mapping, 0x1000);
}

#[test]
fn f75_a_bar_of_no_size_is_none() {
    for bar in [Bar::registers(0), Bar::memory(0), Bar::io(0)] {
        let empty = Device {
            bars: [Some(bar), None, None, None, None, None],
            ..Device::bare(probe::NAME, 0x1af4, 0x10f0, 0x05_0000)
        };
        let (_rig, device) = Rig::with([empty]);
        let told = region(&device, 0).unwrap();
        assert_eq!((told.size, told.flags), (0, 0));
        assert_eq!(device.pread(0, 0, 1), Err(Errno::INVAL));
        let decodes = 3;
        assert_eq!(device.config(COMMAND) & decodes, 0);
    }
}

#[test]
fn f77_mapped_memory_is_what_is_read_and_written() {
    let (rig, device) = Rig::probe();
    let mapping = map_region(&device, 2, 0x1000, 0x2000).unwrap();
    let RegionMapping::Pages(at) = &mapping else {
        panic!("memory is mapped as pages");
    };
    let bytes = random(2);
    // SAFETY: inside of what was mapped.
    unsafe { at.add(5).write_volatile(bytes[0]) };
    assert_eq!(device.pread(2, 0x1005, 1), Ok(vec![bytes[0]]));
    assert_eq!(device.pwrite(2, 0x2fff, &bytes[1..]), Ok(1));
    // SAFETY: inside of what was mapped.
    assert_eq!(unsafe { at.add(0x1fff).read_volatile() }, bytes[1]);
    unmap_region(&rig.sim, mapping, 0x2000);
}

#[test]
fn a11b_what_is_mapped_holds_the_device() {
    for region in [0, 2] {
        let (rig, device) = Rig::probe();
        let mapping = map_region(&device, region, 0, 0x1000).unwrap();
        drop(device);
        assert_eq!(
            leave(&rig.sim, &rig.group),
            Err(Errno::BUSY),
            "region {region}"
        );
        let objects = rig.sim.open_objects();
        assert!(matches!(objects[0], Object::Region { index, .. } if index == region));
        unmap_region(&rig.sim, mapping, 0x1000);
        assert_eq!(leave(&rig.sim, &rig.group), Ok(0), "region {region}");
    }
}

#[test]
fn f91_opening_and_closing() {
    let (rig, device) = Rig::probe();
    let again = rig.open(probe::NAME);
    device.set(KEEP, 5);
    assert_eq!(
        (again.get(KEEP), again.config(COMMAND) & 4),
        (5, 4),
        "one device"
    );
    drop(device);
    assert_eq!(
        (again.get(KEEP), again.config(COMMAND) & 4),
        (5, 4),
        "it is open still"
    );
    drop(again);
    let device = rig.open(probe::NAME);
    assert_eq!(device.get(KEEP), 0, "it was reset");
    assert_eq!(device.config(COMMAND), MEMORY_SPACE | 1, "no bus master");
}

#[test]
fn a_group_of_several_functions() {
    let names = ["0000:00:04.0", "0000:00:04.1"];
    let devices = names.map(probe::device);
    let group = Group::new(
        9,
        devices
            .iter()
            .cloned()
            .chain([Device::edu("0000:00:05.0").unbound()]),
    );
    let machine = Machine {
        groups: vec![group],
        ..Machine::x86_64()
    };
    let rig = Rig::new(machine, TYPE1V2_IOMMU);
    let [first, second] = names.map(|name| rig.open(name));
    assert!(first.config(0x0e) & 0x80 != 0, "several functions");
    first.set(KEEP, 1);
    second.set(KEEP, 2);
    assert_eq!((first.get(KEEP), second.get(KEEP)), (1, 2));
    drop(first);
    assert_eq!(leave(&rig.sim, &rig.group), Err(Errno::BUSY));
    assert_eq!(second.get(KEEP), 2, "its neighbour's end does not reset it");
    drop(second);
    assert_eq!(leave(&rig.sim, &rig.group), Ok(0));
    assert_eq!(status(&rig.sim, &rig.group), Ok(uapi::GROUP_FLAGS_VIABLE));
}
