//! The standard capabilities.

use pci_device::CapabilityId;
use pci_device::bar::{Bars, Described, Msix, Place as At};
use pci_device::virtual_config::{Effect, MsiState, Place, PowerState, Seat};

use crate::built::{Built, Guest};

fn seat(place: Place) -> Seat {
    Seat {
        place,
        ..Seat::default()
    }
}

fn shown(list: &[(u8, u8, &[u8])]) -> Guest {
    Built::new(256).with(list).shown(&Seat::default())
}

/// Control (8 vectors, 64 bits, masks), and whatever the hardware has behind it.
const MSI: &[u8] = &[
    0x86, 0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff,
];

#[test]
fn msi_is_the_vmms() {
    let mut guest = shown(&[(0x50, 5, MSI)]);
    assert_eq!(guest.read(0x50, 4), 0x0186_0005);
    assert_eq!(guest.read(0x54, 4), 0); // not what the hardware has
    for at in (0x50..0x68).step_by(4) {
        assert_eq!(guest.device(at, 4), 0);
    }
    let _ = guest.effects(0x54, 4, 0xfee0_1007);
    let _ = guest.effects(0x58, 4, 1);
    let _ = guest.effects(0x5c, 4, 0xffff_0041);
    let _ = guest.effects(0x60, 4, u32::MAX);
    let state = MsiState {
        enabled: true,
        vectors: 8, // no more than it has, whatever the guest asks for
        address: 0x1_fee0_1004,
        data: 0x41,
        masked: 0xff,
    };
    assert_eq!(guest.effects(0x52, 2, 0xffff), [Effect::Msi(state)]);
    assert_eq!(guest.read(0x52, 2), 0x01f7);
    assert_eq!(guest.effects(0x52, 2, 0xffff), []);
    assert_eq!(guest.effects(0x64, 4, u32::MAX), []); // pending bits
    assert_eq!(guest.0.msi(), Some(state));
    let quiet = MsiState {
        enabled: false,
        vectors: 1,
        address: 0,
        data: 0,
        masked: 0,
    };
    assert_eq!(guest.0.reset(), [Effect::Msi(quiet)]);
}

/// With 32 bits the data comes sooner; without masks, there are none.
#[test]
fn msi_of_32_bits() {
    let mut guest = shown(&[(0x50, 5, &[0, 0, 0, 0, 0, 0, 0xff, 0xff])]);
    let _ = guest.effects(0x54, 4, 0xfee0_0000);
    let _ = guest.effects(0x58, 2, 0x55);
    let _ = guest.effects(0x52, 2, 1);
    let state = guest.0.msi().unwrap();
    assert_eq!(
        (state.address, state.data, state.vectors),
        (0xfee0_0000, 0x55, 1)
    );
    // What is behind it is the device's own.
    assert_eq!(
        (guest.device(0x58, 4), guest.device(0x5c, 4)),
        (0xffff_0000, u32::MAX)
    );
}

#[test]
fn msix_is_where_the_bars_say_and_not_there_without_them() {
    let mut described: [Described; 6] = Default::default();
    described[2].size = 0x4000;
    let msix = Msix {
        vectors: 65,
        table: At {
            bar: 2,
            offset: 0x1000,
        },
        pending: At {
            bar: 2,
            offset: 0x2000,
        },
    };
    let bars = Bars::new(&described, 0, Some(msix)).unwrap();
    // The hardware has it elsewhere: it was moved.
    let body = [0x40, 0x00, 0, 0x20, 0, 0, 0, 0x30, 0, 0];
    let built = Built::new(256).with(&[(0x40, 0x11, &body)]);
    let mut guest = built.shown_with(&bars, &Seat::default());
    assert_eq!(
        [0x40, 0x44, 0x48].map(|at| guest.read(at, 4)),
        [0x0040_0011, 0x1002, 0x2002]
    );
    let on = Effect::MsixControl {
        enabled: true,
        masked: true,
    };
    assert_eq!(guest.effects(0x40, 4, u32::MAX), [on]);
    assert_eq!(guest.read(0x40, 4), 0xc040_0011);
    assert_eq!(guest.effects(0x44, 4, u32::MAX), []);
    assert_eq!(guest.read(0x44, 4), 0x1002);
    let guest = built.shown(&Seat::default());
    assert_eq!(
        (guest.list(), guest.read(0x40, 4), guest.device(0x40, 4)),
        (vec![], 0, 0)
    );
}

#[test]
fn power_states_come_in_the_order_that_there_is() {
    use PowerState::{D0, D1, D2, D3Hot};
    // D1 and D2, wakes the system up from all states; it forgets everything when it wakes up.
    let mut guest = shown(&[(0x60, 1, &[0x03, 0xfe, 0x00, 0x81, 0xff, 0xff])]);
    assert_eq!(guest.read(0x60, 4), 0x0603_0001); // no waking the system up
    let mut go = |to: u32, expected: Option<(PowerState, PowerState, bool)>| {
        let effects = guest.effects(0x64, 2, to | 0x8100);
        let expected = expected.map(|(from, to, resets)| Effect::Power { from, to, resets });
        assert_eq!(effects, expected.into_iter().collect::<Vec<_>>());
    };
    go(0, None);
    go(2, Some((D0, D2, false)));
    go(1, None); // not back to a lighter sleep
    go(3, Some((D2, D3Hot, false)));
    go(3, None);
    go(2, None);
    go(0, Some((D3Hot, D0, true)));
    go(1, Some((D0, D1, false)));
    go(0, Some((D1, D0, false)));
    assert!(guest.0.wakes_up_reset());
    assert_eq!(guest.read(0x64, 4), 0);
    // Without D1 and D2, and one that keeps its registers.
    let mut guest = shown(&[(0x60, 1, &[0x03, 0, 0x08, 0, 0, 0])]);
    assert_eq!(guest.effects(0x64, 1, 1), []);
    assert_eq!(guest.effects(0x64, 1, 2), []);
    let _ = guest.effects(0x64, 1, 3);
    let woken = Effect::Power {
        from: D3Hot,
        to: D0,
        resets: false,
    };
    assert_eq!(guest.effects(0x64, 1, 0), [woken]);
    assert_eq!(guest.read(0x64, 1), 8);
}

/// Version 2, of that type, with a reset; a link of 8 lanes, a slot.
fn express(kind: u8) -> Vec<u8> {
    let mut body = vec![0; 0x3a];
    body[..2].copy_from_slice(&[0x02 | kind << 4, 0x03]); // a slot; message 1
    body[2..6].copy_from_slice(&0x1000_8000_u32.to_le_bytes());
    body[10..14].copy_from_slice(&0x0000_0482_u32.to_le_bytes());
    body[18..22].copy_from_slice(&[0xff; 4]); // slot capabilities
    body
}

#[test]
fn express_is_what_the_device_is_where_it_sits() {
    for (kind, place, shown, link) in [
        (0, Place::BehindPort, 0x0202, Some(0x482)),
        (1, Place::BehindPort, 0x0212, Some(0x482)),
        (9, Place::BehindPort, 0x0202, Some(0x11)),
        (0, Place::RootComplex, 0x0292, None),
        (9, Place::RootComplex, 0x0292, None),
        (10, Place::RootComplex, 0x02a2, None),
    ] {
        let built = Built::new(4096).with(&[(0x80, 0x10, &express(kind))]);
        let guest = built.shown(&seat(place));
        assert_eq!(guest.read(0x82, 2), shown, "{kind} {place:?}");
        assert_eq!(guest.read(0x8c, 4), link.unwrap_or(0), "{kind} {place:?}");
        let status = if link == Some(0x482) { u32::MAX } else { 0 };
        assert_eq!(guest.device(0x90, 4), status, "{kind} {place:?}");
        assert_eq!((guest.read(0x94, 4), guest.device(0x98, 4)), (0, 0)); // the slot
        assert!(guest.0.has_function_reset());
    }
    let built = Built::new(4096).with(&[(0x80, 0x10, &express(0))]);
    let guest = built.shown(&seat(Place::Conventional));
    assert_eq!(
        (guest.list(), guest.read(0x82, 2), guest.0.len()),
        (vec![], 0, 256)
    );
    // The device has its reset all the same, for the VMM.
    assert!(guest.0.has_function_reset());
}

#[test]
fn the_reset_bit_is_not_the_devices() {
    let built = Built::new(256).with(&[(0x80, 0x10, &express(0))]);
    let mut guest = built.shown(&Seat::default());
    let written = guest.write(0x88, 4, 0xffff_ffff);
    assert_eq!(written.effects, [Effect::FunctionReset]);
    let [write] = written.device[..] else {
        panic!("{written:x?}");
    };
    assert_eq!((write.offset, write.len, write.bits), (0x88, 3, 0x0f_7fff));
    assert_eq!((guest.read(0x88, 2), guest.device(0x88, 2)), (0, 0x7fff));
    assert_eq!(guest.write(0x88, 2, 0x7fff).effects, []);
    // One that has none.
    let mut body = express(0);
    body[5] = 0;
    let built = Built::new(256).with(&[(0x80, 0x10, &body)]);
    let mut guest = built.shown(&Seat::default());
    assert_eq!(guest.write(0x88, 2, 0xffff).effects, []);
    assert_eq!(guest.write(0x89, 1, 0x80).device.len(), 1);
}

/// Of what a status register has seen, ones clear what is the device's to clear.
#[test]
fn a_link_has_seen_other_things_in_its_second_register() {
    let built = Built::new(4096).with(&[(0x80, 0x10, &express(0))]);
    let mut guest = built.shown(&Seat::default());
    for (at, bits) in [(0x8a, 0x000f), (0x92, 0xc000), (0xaa, 0), (0xb2, 0x8020)] {
        let written = guest.write(at, 2, 0xffff);
        let bytes = written.device.iter().map(|write| {
            let shift = 8 * u32::from(write.offset - at);
            write.bits << shift
        });
        assert_eq!(bytes.sum::<u32>(), bits, "{at:#x}");
        assert_eq!(guest.device(at, 2), 0xffff, "{at:#x}");
    }
}

/// What has no room behind version 1 is the device's own.
#[test]
fn express_of_version_1_is_shorter() {
    let mut body = express(0);
    body[0] = 0x01;
    let guest = Built::new(256)
        .with(&[(0x80, 0x10, &body)])
        .shown(&Seat::default());
    assert_eq!(
        (guest.read(0x82, 2), guest.device(0x90, 4)),
        (0x0201, u32::MAX)
    );
    assert_eq!(guest.device(0x94, 4), u32::MAX);
}

#[test]
fn advanced_features_have_a_reset() {
    let mut guest = shown(&[(0x70, 0x13, &[6, 3, 0xff, 0xff])]);
    assert_eq!(guest.read(0x70, 4), 0x0306_0013);
    let written = guest.write(0x74, 1, 1);
    assert_eq!(
        (written.effects, written.device),
        (vec![Effect::FunctionReset], vec![])
    );
    assert_eq!((guest.read(0x74, 1), guest.device(0x74, 2)), (0, 0xff00));
    let mut guest = shown(&[(0x70, 0x13, &[6, 1, 0, 0])]);
    assert_eq!(guest.effects(0x74, 1, 1), []);
}

#[test]
fn data_and_vendors_registers_are_the_devices() {
    let mut guest = shown(&[(0x40, 3, &[0; 6]), (0x48, 9, &[0x10]), (0x60, 0x0a, &[])]);
    assert_eq!(guest.list(), [(0x40, 3), (0x48, 9), (0x60, 0x0a)]);
    for at in [0x42, 0x46, 0x4a, 0x56, 0x62, 0xf0] {
        assert_eq!(guest.device(at, 2), 0xffff, "{at:#x}");
        let [write] = guest.write(at, 2, 0x1234).device[..] else {
            panic!("{at:#x}");
        };
        assert_eq!(
            (write.offset, write.value, write.bits),
            (at, 0x1234, 0xffff)
        );
    }
    assert_eq!(guest.effects(0x40, 2, 0xffff), []); // the list is not
}

#[test]
fn only_the_hosts_and_what_the_vmm_hides() {
    let list: &[(u8, u8, &[u8])] = &[
        (0x40, 0x14, &[0xff; 6]),
        (0x50, 9, &[4]),
        (0x60, 5, MSI),
        (0x80, 0x0c, &[1]),
    ];
    let hidden = Seat {
        hidden: vec![CapabilityId::MSI],
        ..Seat::default()
    };
    let mut guest = Built::new(256).with(list).shown(&hidden);
    assert_eq!((guest.list(), guest.0.msi()), (vec![(0x50, 9)], None));
    for at in [0x40, 0x44, 0x60, 0x70, 0x80] {
        assert_eq!(guest.effects(at, 4, u32::MAX), [], "{at:#x}");
        assert_eq!((guest.read(at, 4), guest.device(at, 4)), (0, 0), "{at:#x}");
    }
}
