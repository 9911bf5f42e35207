//! A11b, F74 to F78, F91: what a device is, its regions, mapped and not.
#![allow(unsafe_code)] // Maps regions; what is read there is only read while it is mapped.

use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use vfio_core::kernel::{Errno, Kernel, Protection, RegionMapping, Result};
use vfio_core::uapi::{self, RegionInfo, SPAPR_TCE_IOMMU, TYPE1V2_IOMMU};
use vfio_sim::machine::{Bar, Device, Group};
use vfio_sim::{Machine, Object, SimKernel};

use crate::door::{call, leave, status};
use crate::probe::{self, BUFFER, KEEP, PENDING, TABLE};
use crate::rig::{COMMAND, Open, Rig};

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
fn f78_the_msix_table_ends_where_it_ends() {
    let (_rig, device) = Rig::probe();
    assert_eq!(
        device.pread(0, TABLE + 8 * 16 - 4, 8),
        Ok(vec![0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0])
    );
    assert_eq!(
        device.pread(0, PENDING, 8),
        Ok(vec![0; 8]),
        "the pending bits are the device's"
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
    let control = usize::try_from(TABLE).unwrap() + 12;
    file.write(control, &[0; 4]).unwrap();
    file.read(control, &mut bytes).unwrap();
    assert_eq!(bytes, [0; 4], "the hardware's table can be written there");

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
