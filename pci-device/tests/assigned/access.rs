//! Accesses to BARs.

use pci_device::bar::BarRegister;
use pci_device::{Settings, vmm::Event};
use vfio_sim::machine::{Bar, Device};

use super::rig::*;

/// Where its BAR is put.
const AT: u64 = 0xfeb0_0000;

fn assorted() -> Rig {
    let rig = Rig::new(Device::assorted(BDF));
    rig.place(0, AT, false);
    rig.place(1, 0x1000, false);
    rig.place(2, 0x80_0000_0000, true);
    rig.place(4, AT + 0x10_0000, false);
    rig.set_command(MEMORY | IO);
    rig
}

#[test]
fn a_trapped_register_is_one_pread_whatever_its_width() {
    let rig = assorted();
    rig.write(0, 8, &[1, 2, 3, 4, 5, 6, 7, 8]);
    for len in [1, 2, 4, 8] {
        let mut bytes = vec![0; len];
        let read = || rig.device.read(BarRegister::Bar(0), 8, &mut bytes);
        assert_eq!(rig.count("pread", read), 1);
        assert_eq!(bytes, [1, 2, 3, 4, 5, 6, 7, 8][..len]);
    }
    assert_eq!(rig.count("pwrite", || rig.write(0, 8, &[0; 8])), 1);
}

#[test]
fn a_mapped_register_asks_no_kernel() {
    let rig = assorted();
    let count = |work: &dyn Fn()| {
        rig.calls.take();
        work();
        let made = rig.calls.take();
        made.get("pread").copied().unwrap_or(0) + made.get("pwrite").copied().unwrap_or(0)
    };
    assert_eq!(count(&|| rig.write(2, 0x1_2348, &[9; 8])), 0);
    assert_eq!(count(&|| assert_eq!(rig.read(2, 0x1_2348), [9; 8])), 0);
    assert_eq!(count(&|| assert_eq!(rig.read(2, 0x1_2348), [9; 2])), 0);
    // What is no register is left to the kernel.
    assert_eq!(count(&|| assert_eq!(rig.read(2, 0x1_2349), [9; 3])), 1);
    let bar = rig.device.mapped(BarRegister::Bar(2), 0x1_2348).unwrap();
    assert_eq!(bar.read::<u32>(0x1_2348).unwrap(), 0x0909_0909);
    assert!(bar.read::<u32>(0x1_2349).is_err() && bar.read::<u32>(4 << 20).is_err());
    bar.write(0x1_2348, 0x1122_3344_u32).unwrap();
    let register = bar.register::<u16>(0x1_234a).unwrap();
    assert_eq!(
        register.read().unwrap(),
        u16::from_ne_bytes([rig.read::<4>(2, 0x1_2348)[2], rig.read::<4>(2, 0x1_2348)[3]])
    );
    register.write(0x5566).unwrap();
    assert_eq!(rig.read(2, 0x1_234a), 0x5566_u16.to_ne_bytes());
    assert!(bar.register::<u32>(0x1_234a).is_err() && bar.register::<u8>(4 << 20).is_err());
    drop(bar);
    assert_eq!(
        rig.read::<2>(2, 0x1_2348),
        0x1122_3344_u32.to_ne_bytes()[..2]
    );
}

#[test]
fn what_does_not_answer_reads_as_ones() {
    let rig = assorted();
    rig.write(0, 0, &[1; 4]);
    rig.write(2, 0, &[2; 4]);
    rig.set_command(IO);
    assert_eq!(
        rig.count("pread", || assert_eq!(rig.read(0, 0), [0xff; 4])),
        0
    );
    assert_eq!(rig.read(2, 0), [0xff; 8]);
    assert!(rig.device.mapped(BarRegister::Bar(2), 0).is_none());
    rig.write(0, 0, &[3; 4]); // lost
    assert_eq!(rig.read(1, 0), [0; 4]); // ports are still there
    rig.set_command(MEMORY);
    assert_eq!((rig.read(0, 0), rig.read(2, 0)), ([1; 4], [2; 4]));
    assert_eq!(rig.read(1, 0), [0xff; 4]);
    assert_eq!(rig.read(3, 0), [0xff; 4]); // the upper half of the one before
    assert_eq!(rig.read(200, 0), [0xff; 4]);
    assert_eq!(rig.events(), []);
}

#[test]
fn an_access_may_reach_from_one_part_into_another_and_behind_the_end() {
    let rig = assorted();
    // The table of 8 vectors ends at 0x80, registers follow.
    rig.write(4, 0x80, &[7; 8]);
    let across: [u8; 16] = rig.read(4, 0x78);
    assert_eq!(across, [0, 0, 0, 0, 1, 0, 0, 0, 7, 7, 7, 7, 7, 7, 7, 7]);
    rig.write(4, 0x7c, &[0; 8]);
    assert_eq!(rig.read(4, 0x7c), [0, 0, 0, 0, 0, 0, 0, 0, 7, 7, 7, 7]);
    let end: [u8; 8] = rig.read(0, 0xfc);
    assert_eq!(end, [0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
    for offset in [0x100, 1 << 40, u64::MAX - 3, u64::MAX] {
        assert_eq!(rig.read(0, offset), [0xff; 8]);
        rig.write(0, offset, &[0; 8]);
    }
    assert_eq!(rig.events(), []);
}

/// What the guest writes into the table is the VMM's, and the hardware's table is not read.
#[test]
fn the_msix_table_is_the_vmms() {
    let rig = assorted();
    assert_eq!(
        rig.count("pread", || assert_eq!(rig.read(4, 12), [1, 0, 0, 0])),
        0
    );
    let message = 0xfee0_0000_u64.to_le_bytes();
    assert_eq!(rig.count("pwrite", || rig.write(4, 0x10, &message)), 0);
    assert_eq!(rig.read(4, 0x10), message);
    assert_eq!(rig.read(4, 0x800), [0; 8]);
    rig.write(4, 0x800, &[0xff; 8]); // pending bits cannot be written
    assert_eq!(rig.read(4, 0x800), [0; 8]);
}

#[test]
fn a_large_bar_is_mapped_when_it_is_touched() {
    let settings = Settings {
        map_at_once: 1 << 20,
        ..Settings::default()
    };
    let rig = Rig::with(Device::assorted(BDF), &settings);
    rig.place(2, 0x80_0000_0000, true);
    assert_eq!(rig.count("map_region", || rig.set_command(MEMORY)), 0);
    assert_eq!(rig.slices(), []);
    assert_eq!(
        rig.count("pread", || assert_eq!(rig.read(2, 0x1000), [0; 8])),
        1
    );
    assert_eq!(rig.slices(), [range(0x80_0000_0000, 4 << 20)]);
    assert_eq!(
        rig.count("pread", || assert_eq!(rig.read(2, 0x1000), [0; 8])),
        0
    );
}

/// So is one of which an access reaches but the first bytes.
#[test]
fn an_access_over_the_edge_touches_what_it_reaches() {
    let settings = Settings {
        map_at_once: 0,
        ..Settings::default()
    };
    let rig = Rig::with(Device::assorted(BDF), &settings);
    rig.place(4, AT, false);
    rig.set_command(MEMORY);
    assert_eq!(rig.slices(), []);
    let _: [u8; 8] = rig.read(4, 0xffc); // the table's page ends at 0x1000
    assert_eq!(rig.slices(), [range(AT + 0x1000, 0x3000)]);
}

/// A device that has gone answers nothing: the guest reads ones, and the VMM is told once.
#[test]
fn an_access_that_fails_is_told_once() {
    let device = Device {
        bars: [Some(Bar::registers(0x100)), None, None, None, None, None],
        ..Device::assorted(BDF)
    };
    let device = Device {
        interrupts: vfio_sim::machine::Interrupts::default(),
        ..device
    };
    let rig = Rig::new(device);
    rig.place(0, AT, false);
    rig.set_command(MEMORY);
    // Somebody else who has the device switches its memory off.
    let config = pci_device::ConfigSpace::of(rig.device.device()).unwrap();
    config.disable(pci_device::Command::MEMORY).unwrap();
    for _ in 0..3 {
        assert_eq!(rig.read(0, 0), [0xff; 4]);
        rig.write(0, 0, &[0; 4]);
    }
    let events = rig.events();
    assert!(
        matches!(&events[..], [Event::AccessFailed(BarRegister::Bar(0), why)] if why.errno().is_some()),
        "{events:?}"
    );
}
