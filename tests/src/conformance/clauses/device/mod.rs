//! F74 to F79: devices, their regions and their config space.

mod access;
mod config;
mod decoding;
mod header;
mod info;
mod map;
mod regions;

use vfio_core::kernel::{Arg, Result};
use vfio_core::uapi::{self, RegionInfo};
use vfio_sim::machine::{Bar, BarKind, Device, Sriov};

use crate::conformance::clause::Clause;
use crate::conformance::host::Host;
use crate::conformance::raw::{call, ioctl};
use crate::conformance::rig::{COMMAND, Open, Rig};

pub(super) const CLAUSES: &[&[Clause]] = &[
    info::CLAUSES,
    regions::CLAUSES,
    map::CLAUSES,
    access::CLAUSES,
    decoding::CLAUSES,
    header::CLAUSES,
    config::CLAUSES,
];

const CONFIG: u32 = uapi::PCI_CONFIG_REGION_INDEX;
const ROM: u32 = uapi::PCI_ROM_REGION_INDEX;
const VGA: u32 = uapi::PCI_VGA_REGION_INDEX;
/// Behind the last region.
const NO_REGION: u32 = 9;

/// In the command register: memory space, ports.
const MEMORY_SPACE: u16 = 1 << 1;
const IO_SPACE: u16 = 1 << 0;

const READ: u32 = uapi::REGION_FLAG_READ;
const BOTH: u32 = READ | uapi::REGION_FLAG_WRITE;
const MMAP: u32 = uapi::REGION_FLAG_MMAP;
const CAPS: u32 = uapi::REGION_FLAG_CAPS;

/// Every device of the host that VFIO has and opens without a token, open, one after the other, but for those that are
/// reset with a bus of their own: to open one takes seconds.
fn each(host: &Host, ask: impl Fn(&Open, &Device)) {
    let is_quick = |device: &Device| device.function_reset || !host.machine().can_reset(device);
    each_like(host, is_quick, ask);
}

fn each_like(host: &Host, like: impl Fn(&Device) -> bool, ask: impl Fn(&Open, &Device)) {
    for group in &host.machine().groups {
        let is_ours = |device: &&Device| {
            let driver = device.driver.as_deref();
            let is_virtual = matches!(device.sriov, Sriov::Virtual(_));
            driver == Some("vfio-pci") && !is_virtual && like(device)
        };
        let devices: Vec<_> = group.devices.iter().filter(is_ours).collect();
        if devices.is_empty() {
            continue;
        }
        let rig = Rig::new(host.kernel(), group.id, host.iommu());
        for device in devices {
            ask(&rig.open(&device.bdf), device);
        }
    }
}

/// What VFIO says of a region.
fn region(open: &Open, index: u32) -> Result<RegionInfo> {
    let mut info = RegionInfo {
        argsz: 32,
        index,
        ..RegionInfo::default()
    };
    let opcode = uapi::DEVICE_GET_REGION_INFO;
    call(open.kernel(), &open.device, opcode, &mut info).map(|_| info)
}

/// The same call with these bytes, of which the first are `argsz`.
fn raw_info(open: &Open, opcode: vfio_core::kernel::Opcode, bytes: &mut [u8]) -> Result<u32> {
    ioctl(open.kernel(), &open.device, opcode, Arg::InOut(bytes))
}

/// The BARs that are there and are seen by the host, each with its number.
fn bars<'a>(host: &'a Host, device: &'a Device) -> impl Iterator<Item = (u32, Bar)> + 'a {
    let seen = move |bar: &Bar| bar.size > 0 && (host.machine().io_space || !is_ports(*bar));
    (0..)
        .zip(device.bars)
        .filter_map(move |(n, bar)| Some((n, bar.filter(seen)?)))
}

fn is_ports(bar: Bar) -> bool {
    bar.kind == BarKind::Io
}

fn is_memory(bar: Bar) -> bool {
    matches!(bar.kind, BarKind::Memory { .. })
}

/// A BAR like that of a device that has one.
fn bar_of(host: &Host, device: &Device, like: impl Fn(Bar) -> bool) -> (u32, Bar) {
    bars(host, device).find(|(_, bar)| like(*bar)).unwrap()
}

/// The number of a BAR that a device does not have.
fn missing_bar(device: &Device) -> u32 {
    let missing = device.bars.iter().position(Option::is_none).unwrap();
    u32::try_from(missing).unwrap()
}

/// A register of config space, of four bytes.
fn long(open: &Open, at: u64) -> u32 {
    u32::from(open.config(at)) | u32::from(open.config(at + 2)) << 16
}

fn set_long(open: &Open, at: u64, value: u32) {
    assert_eq!(open.pwrite(CONFIG, at, &value.to_le_bytes()), Ok(4));
}

/// Changes the command register, but for bus mastering.
fn decode(open: &Open, memory: bool) {
    let rest = open.config(COMMAND) & !MEMORY_SPACE;
    let memory = if memory { MEMORY_SPACE } else { 0 };
    open.set_config(COMMAND, rest | memory);
}

/// The MSI-X table of a device: its BAR, where it starts, where it ends.
fn table(device: &Device) -> (u32, u64, u64) {
    let msix = device.interrupts.msix.unwrap();
    let start = u64::from(msix.table);
    (msix.bar.into(), start, start + 16 * u64::from(msix.vectors))
}

/// The first BAR of a device that can be mapped, and how many bytes of it can.
fn mappable_bar(host: &Host, like: crate::conformance::clause::Trait) -> (u32, u64) {
    let device = host.device(like);
    let is_mappable = |n: &u32| host.machine().is_mappable(device, *n as usize);
    let index = (0..6).find(is_mappable).unwrap();
    let bar = device.bars[index as usize].unwrap();
    (index, bar.size.next_multiple_of(host.page()))
}
