//! F79: config space.

use vfio_core::kernel::Errno;
use vfio_core::uapi::{self, PCI_MSI_IRQ_INDEX as MSI, PCI_MSIX_IRQ_INDEX as MSIX, TYPE1V2_IOMMU};
use vfio_sim::Machine;
use vfio_sim::machine::Device;

use crate::probe::{self, KEEP};
use crate::rig::{Open, Rig, Signal};

const CONFIG: u32 = uapi::PCI_CONFIG_REGION_INDEX;
const OFF: u32 = uapi::IRQ_SET_DATA_NONE | uapi::IRQ_SET_ACTION_TRIGGER;
const RESET: u16 = 1 << 15;
const BARS: u64 = 0x10;

fn long(device: &Open, at: u64) -> u32 {
    u32::from(device.config(at)) | u32::from(device.config(at + 2)) << 16
}

fn set_long(device: &Open, at: u64, value: u32) {
    assert_eq!(device.pwrite(CONFIG, at, &value.to_le_bytes()), Ok(4));
}

#[test]
fn f79_what_ends_beyond_is_refused_whole() {
    let (_rig, device) = Rig::probe();
    assert_eq!(
        device.pread(CONFIG, 4092, 4).map(|bytes| bytes.len()),
        Ok(4)
    );
    assert_eq!(device.pread(CONFIG, 4093, 4), Err(Errno::FAULT));
    assert_eq!(device.pwrite(CONFIG, 4096, &[0]), Err(Errno::FAULT));
    let edu = Rig::new(Machine::x86_64(), TYPE1V2_IOMMU).open("0000:00:04.0");
    assert_eq!(edu.pread(CONFIG, 254, 2).map(|bytes| bytes.len()), Ok(2));
    assert_eq!(edu.pread(CONFIG, 254, 4), Err(Errno::FAULT));
}

#[test]
fn f79_what_cannot_be_written() {
    let (_rig, device) = Rig::probe();
    let before = device.pread(CONFIG, 0, 4).unwrap();
    assert_eq!(before, [0xf4, 0x1a, 0xf0, 0x10]);
    for at in [0x00, 0x08, 0x0c, 0x2c, 0x34, 0x3d] {
        let before = device.pread(CONFIG, at, 2).unwrap();
        device
            .pwrite(CONFIG, at, &[!before[0], !before[1]])
            .unwrap();
        assert_eq!(device.pread(CONFIG, at, 2).unwrap(), before, "at {at:#x}");
    }
    device.pwrite(CONFIG, 0x3c, &[0x5a]).unwrap();
    assert_eq!(
        device.pread(CONFIG, 0x3c, 2).unwrap(),
        [0x5a, 1],
        "the line is the guest's"
    );
}

#[test]
fn f79_bars_are_sized_by_writing_ones() {
    let (_rig, device) = Rig::probe();
    for (n, low) in [
        (0, 0xffff_0000),
        (1, 0xffff_ffe1),
        (2, 0xffff_000c),
        (4, 0xffff_ff00),
    ] {
        let at = BARS + 4 * n;
        set_long(&device, at, u32::MAX);
        assert_eq!(long(&device, at), low, "BAR {n}");
        set_long(&device, at, 0xc123_4000 & low | low & 0xf);
        assert_eq!(long(&device, at), 0xc123_4000 & low | low & 0xf);
    }
    set_long(&device, BARS + 12, u32::MAX);
    assert_eq!(
        long(&device, BARS + 12),
        u32::MAX,
        "the upper half of BAR 2"
    );
    set_long(&device, BARS + 20, u32::MAX);
    assert_eq!(long(&device, BARS + 20), 0, "no BAR");
    assert_eq!(device.get(KEEP), 0, "the device is where it was");
}

#[test]
fn f79_an_access_may_span_capabilities() {
    let (_rig, device) = Rig::probe();
    let whole = device.pread(CONFIG, 0, 4096).unwrap();
    let parts: Vec<_> = (0..4096)
        .flat_map(|at| device.pread(CONFIG, at, 1).unwrap())
        .collect();
    assert_eq!(whole, parts);
    // Ones over everything up to the PCI Express capability: what has no writable bits stays.
    let end = device.capability(0x10);
    let ones = vec![0xff; usize::try_from(end).unwrap() - 0x40];
    assert_eq!(device.pwrite(CONFIG, 0x40, &ones), Ok(ones.len()));
    for id in [0x01, 0x05, 0x11, 0x10] {
        device.capability(id); // the list is whole
    }
}

#[test]
fn f79_msi_is_enabled_by_the_kernel_alone() {
    let (rig, device) = Rig::probe();
    let signal = Signal::new(&rig.sim);
    let control = device.capability(0x05) + 2;
    let before = device.config(control);
    assert_eq!(before & 0xf1, 0x80, "off, 64 bits wide");
    device.set_config(control, before | 1);
    assert_eq!(device.config(control), before, "not before SET_IRQS");
    device.trigger(MSI, 0, &[signal.number(), -1]).unwrap();
    device.set_config(control, before | 1 | 2 << 4);
    assert_eq!(
        device.config(control),
        before | 1 | 1 << 4,
        "no more than the kernel has"
    );
    device.irqs(MSI, OFF, (0, 0), &[]).unwrap();
    device.set_config(control, device.config(control));
    assert_eq!(device.config(control) & 1, 0);
}

#[test]
fn f79_msix_shows_what_the_kernel_did() {
    let (rig, device) = Rig::probe();
    let signal = Signal::new(&rig.sim);
    let control = device.capability(0x11) + 2;
    assert_eq!(device.config(control), 7, "8 vectors, off");
    device.set_config(control, 0xffff);
    assert_eq!(device.config(control), 7);
    device.trigger(MSIX, 0, &[signal.number()]).unwrap();
    assert_eq!(device.config(control), 0x8007);
    device.set_config(control, 0);
    assert_eq!(device.config(control), 0x8007);
    device.irqs(MSIX, OFF, (0, 0), &[]).unwrap();
    assert_eq!(device.config(control), 7);
    assert_eq!(device.capability(0x11), control - 2);
    assert_eq!(long(&device, control + 2), 0x8000, "the table, in BAR 0");
    assert_eq!(long(&device, control + 6), 0x9000);
}

#[test]
fn f79_the_function_level_reset_bit() {
    for (function_reset, kept) in [(true, 0), (false, 5)] {
        let (_rig, device) = Rig::with([Device {
            function_reset,
            ..probe::device(probe::NAME)
        }]);
        let control = device.capability(0x10) + 8;
        device.set(KEEP, 5);
        device.set_config(control, 0x2810);
        assert_eq!((device.get(KEEP), device.config(control)), (5, 0x2810));
        device.set_config(control, 0x2810 | RESET);
        assert_eq!(device.get(KEEP), kept);
        assert_eq!(device.config(control), 0x2810, "reads as 0");
    }
}
