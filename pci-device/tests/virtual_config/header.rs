//! The header.

use pci_device::Command;
use pci_device::bar::{BarRegister, Bars, Change};
use pci_device::virtual_config::{Effect, Identity, Place, Seat};

use crate::built::{Built, bars};

#[test]
fn who_it_is_cannot_be_written_and_can_be_overridden() {
    let built = Built::new(256);
    let mut guest = built.shown(&Seat::default());
    for at in [0x00, 0x08, 0x2c] {
        let before = guest.read(at, 4);
        assert_eq!(guest.effects(at, 4, !before), []);
        assert_eq!((guest.read(at, 4), guest.device(at, 4)), (before, 0));
    }
    assert_eq!(guest.read(0x08, 4), 0x0108_0207);
    let identity = Identity {
        vendor: Some(0x1af4),
        device: Some(0x1001),
        subsystem_vendor: Some(1),
        subsystem: Some(2),
        class: Some(0x02_0000),
        revision: Some(9),
    };
    let guest = built.shown(&Seat {
        identity,
        multifunction: true,
        ..Seat::default()
    });
    assert_eq!(guest.read(0x00, 4), 0x1001_1af4);
    assert_eq!(guest.read(0x08, 4), 0x0200_0009);
    assert_eq!(guest.read(0x2c, 4), 0x0002_0001);
    assert_eq!(guest.read(0x0e, 1), 0x80);
}

#[test]
fn the_command_register_has_what_the_device_has() {
    let mut guest = Built::new(256).shown(&Seat::default());
    let all = Command::IO | Command::MEMORY | Command::BUS_MASTER | Command::INTX_DISABLE;
    let all = all | Command::from_bits_retain(0x140); // parity and other errors
    let (from, to) = (Command::empty(), all);
    assert_eq!(guest.effects(4, 2, 0xffff), [Effect::Command { from, to }]);
    assert_eq!(guest.read(4, 2), 0x547);
    assert_eq!(guest.effects(4, 2, 0xffff), []);
    // A device with no BARs and no line has nothing to switch.
    let mut raw = Built::new(256);
    raw.put(0x3d, &[0]);
    let mut guest = raw.shown_with(&Bars::default(), &Seat::default());
    let _ = guest.write(4, 2, 0xffff);
    assert_eq!(guest.read(4, 2), 0x144);
}

/// A write of four bytes reaches the status register, too: of that, ones clear errors, and nothing else is the device's.
#[test]
fn command_and_status_in_one_write() {
    let mut guest = Built::new(256).shown(&Seat::default());
    let written = guest.write(4, 4, 0xffff_0004);
    assert_eq!(written.effects.len(), 1);
    let [write] = written.device[..] else {
        panic!("{written:x?}");
    };
    assert_eq!((write.offset, write.len, write.bits), (7, 1, 0xf9));
    assert_eq!(guest.device(4, 4), 0xffef_0000);
}

#[test]
fn what_firmware_writes_is_kept_and_the_rest_is_not_there() {
    let mut guest = Built::new(256).shown(&Seat::default());
    for (at, kept) in [
        (0x0c, 0xff),
        (0x0d, 0xff),
        (0x3c, 0xff),
        (0x0e, 0),
        (0x0f, 0),
        (0x28, 0),
    ] {
        assert_eq!(guest.effects(at, 1, 0xff), []);
        assert_eq!(guest.read(at, 1), kept, "{at:#x}");
    }
    assert_eq!(guest.read(0x3d, 1), 1);
}

#[test]
fn bars_are_probed_and_placed_also_by_bytes_and_across_registers() {
    let mut guest = Built::new(256).shown(&Seat::default());
    let _ = guest.write(0x10, 4, u32::MAX);
    assert_eq!(guest.read(0x10, 4), 0xffff_c000);
    let _ = guest.write(0x14, 4, u32::MAX);
    assert_eq!(guest.read(0x14, 4), 0xffff_ffe1);
    assert_eq!(guest.read(0x18, 4), 0);
    let _ = guest.write(0x10, 4, 0xfeb0_0000);
    let change = |what, from, to| {
        let what = BarRegister::Bar(what);
        Effect::Bar(Change { what, from, to })
    };
    let moved = change(0, Some(0xfeb0_0000), Some(0xfeb0_8000));
    assert_eq!(guest.effects(0x11, 1, 0x80), [moved]);
    assert_eq!(guest.effects(0x11, 1, 0x80), []);
    // The last two bytes of one, and the first two of the next.
    let moved = [
        change(0, Some(0xfeb0_8000), Some(0x1234_8000)),
        change(1, None, Some(0xffff_5660)),
    ];
    assert_eq!(guest.effects(0x12, 4, 0x5678_1234), moved);
    assert_eq!(guest.read(0x12, 4), 0x5661_1234);
}

#[test]
fn behind_the_end_there_are_ones() {
    for (len, place, end) in [
        (256, Place::BehindPort, 256),
        (4096, Place::BehindPort, 4096),
        (4096, Place::Conventional, 256),
    ] {
        let place = Seat {
            place,
            ..Seat::default()
        };
        let mut guest = Built::new(len).shown(&place);
        assert_eq!(guest.0.len(), end);
        assert_eq!(guest.read(end - 1, 4) & 0xffff_ff00, 0xffff_ff00);
        assert_eq!(
            (guest.read(u16::MAX, 4), guest.device(u16::MAX, 4)),
            (u32::MAX, 0)
        );
        assert_eq!(guest.effects(end, 4, 0), []);
        let _ = guest.write(u16::MAX, 4, 0);
    }
}

/// A reset brings back what was, and says so once.
#[test]
fn after_a_reset() {
    let mut guest = Built::new(256).shown_with(&bars(), &Seat::default());
    let _ = guest.write(0x10, 4, 0xfeb0_0000);
    let _ = guest.write(4, 2, 2);
    let _ = guest.write(0x3c, 1, 5);
    let effects = guest.0.reset();
    assert_eq!(effects.len(), 2, "{effects:?}");
    assert_eq!(
        (guest.read(0x10, 4), guest.read(4, 2), guest.read(0x3c, 1)),
        (0, 0, 0)
    );
    assert_eq!(guest.0.reset(), []);
}
