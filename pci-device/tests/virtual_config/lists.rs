//! Lists of capabilities: filtered, linked anew, and malformed.

use pci_device::virtual_config::{Seat, Shown};

use crate::built::{Built, Guest};

/// A capability of PCI Express, which extended ones want.
fn express() -> Built {
    Built::new(4096).with(&[(0x80, 0x10, &[2, 0])])
}

fn extended(list: &[(u16, u16)], shown: Shown) -> Guest {
    let seat = Seat {
        shown,
        ..Seat::default()
    };
    express().extended(list).shown(&seat)
}

#[test]
fn a_list_keeps_its_order_and_its_places() {
    let guest = Built::new(256)
        .with(&[
            (0xa0, 9, &[4]),
            (0x40, 0x0c, &[]),
            (0x50, 3, &[]),
            (0x44, 0x14, &[]),
        ])
        .shown(&Seat::default());
    assert_eq!(guest.list(), [(0xa0, 9), (0x50, 3)]);
    assert_eq!(guest.read(0x06, 2) & 0x10, 0x10);
    assert!(guest.0.faults().is_empty());
}

#[test]
fn without_a_list_there_is_none() {
    let mut built = Built::new(256).with(&[(0x40, 9, &[4])]);
    built.put(0x06, &[0]);
    let guest = built.shown(&Seat::default());
    assert_eq!((guest.read(0x34, 1), guest.read(0x06, 2) & 0x10), (0, 0));
    let guest = Built::new(256)
        .with(&[(0x40, 0x0c, &[])])
        .shown(&Seat::default());
    assert_eq!((guest.read(0x34, 1), guest.read(0x06, 2) & 0x10), (0, 0));
}

/// What comes before a list makes no sense is as good as any; what is wrong is said.
#[test]
fn a_malformed_list_ends() {
    let circle = |len: usize| {
        let places = [0x40, 0x50, 0x60, 0x70];
        let list: Vec<(u8, u8, &[u8])> =
            places[..len].iter().map(|at| (*at, 9, &[4][..])).collect();
        let mut built = Built::new(256).with(&list);
        built.put(usize::from(places[len - 1]) + 1, &[0x40]);
        built
    };
    for len in 1..=4 {
        let guest = circle(len).shown(&Seat::default());
        assert_eq!(guest.list().len(), len);
        assert!(
            guest.0.faults()[0].contains("circle"),
            "{:?}",
            guest.0.faults()
        );
    }
    let mut into_header = Built::new(256).with(&[(0x40, 9, &[4])]);
    into_header.put(0x41, &[0x10]);
    let guest = into_header.shown(&Seat::default());
    assert_eq!(guest.list(), [(0x40, 9)]);
    assert!(guest.0.faults()[0].contains("into the header"));
    // The lowest bits of a pointer are reserved.
    let mut unaligned = Built::new(256).with(&[(0x40, 9, &[4]), (0x50, 3, &[])]);
    unaligned.put(0x34, &[0x43]);
    unaligned.put(0x41, &[0x52]);
    assert_eq!(
        unaligned.shown(&Seat::default()).list(),
        [(0x40, 9), (0x50, 3)]
    );
}

/// What is cut off, or overlaps another one, is left out, and no bit of it reaches the device.
#[test]
fn what_overlaps_is_left_out() {
    let built = Built::new(256).with(&[(0xfc, 5, &[0x80, 0]), (0x40, 9, &[0x20]), (0x48, 1, &[])]);
    let mut guest = built.shown(&Seat::default());
    assert_eq!(guest.list(), [(0x40, 9)]);
    assert_eq!(guest.0.faults().len(), 2);
    assert_eq!(guest.effects(0xfc, 4, u32::MAX), []);
    assert_eq!((guest.read(0xfc, 4), guest.device(0xfc, 4)), (0, 0));
    // The other's bytes are its own.
    assert_eq!(guest.device(0x48, 4), u32::MAX);
}

#[test]
fn a_device_has_one_of_each() {
    let msi: &[u8] = &[0, 0, 0, 0, 0, 0, 0, 0];
    let mut guest = Built::new(256)
        .with(&[(0x40, 5, msi), (0x60, 5, msi)])
        .shown(&Seat::default());
    assert_eq!(guest.list(), [(0x40, 5)]);
    assert_eq!(guest.effects(0x60, 4, u32::MAX), []);
    assert_eq!(guest.device(0x60, 4), 0);
}

const AER: u16 = 0x01;
const SERIAL: u16 = 0x03;

#[test]
fn what_the_vmm_does_not_support_is_hidden() {
    for (id, shown) in [
        (0x0e, Shown::ARI),
        (0x0f, Shown::ATS),
        (0x10, Shown::SR_IOV),
        (0x13, Shown::PRI),
        (0x15, Shown::RESIZABLE_BAR),
        (0x24, Shown::RESIZABLE_BAR),
        (0x1b, Shown::PASID),
    ] {
        let list = [(0x100, AER), (0x148, id), (0x200, SERIAL)];
        let guest = extended(&list, Shown::empty());
        assert_eq!(guest.extended_list(), [(0x100, 1), (0x200, 3)], "{id:#x}");
        assert_eq!((guest.read(0x148, 4), guest.device(0x150, 4)), (0, 0));
        assert_eq!(guest.device(0x104, 4), u32::MAX);
        let guest = extended(&list, shown);
        assert_eq!(guest.extended_list().len(), 3, "{id:#x}");
        let guest = extended(&list, Shown::all() - shown);
        assert_eq!(guest.extended_list().len(), 2, "{id:#x}");
    }
}

/// The list starts at 0x100, whatever is shown there.
#[test]
fn the_first_is_hidden() {
    let mut guest = extended(
        &[(0x100, 0x10), (0x180, AER), (0x140, SERIAL)],
        Shown::empty(),
    );
    assert_eq!(guest.read(0x100, 4), 0x1800_0000);
    assert_eq!(guest.extended_list(), [(0x180, 1), (0x140, 3)]);
    assert_eq!(guest.effects(0x120, 4, u32::MAX), []);
    let guest = extended(&[(0x100, 0x10)], Shown::empty());
    assert_eq!((guest.read(0x100, 4), guest.extended_list()), (0, vec![]));
    let guest = express().shown(&Seat::default());
    assert_eq!((guest.extended_list(), guest.0.faults().len()), (vec![], 0));
}

#[test]
fn extended_space_belongs_to_express() {
    let guest = Built::new(4096)
        .extended(&[(0x100, AER)])
        .shown(&Seat::default());
    assert_eq!(
        (guest.0.len(), guest.read(0x100, 4), guest.device(0x104, 4)),
        (4096, 0, 0)
    );
}

#[test]
fn a_malformed_extended_list_ends() {
    let with = |list: &[(u16, u16)], at: usize, header: u32| {
        let mut built = express().extended(list);
        built.put(at, &header.to_le_bytes());
        built.shown(&Seat::default())
    };
    let link = |to: u32| 0x0001_0001 | to << 20;
    for (header, says) in [
        (link(0x100), "circle"),
        (link(0x040), "among the standard ones"),
        (link(0x800), "there is none"),
    ] {
        let guest = with(&[(0x100, SERIAL), (0x140, AER)], 0x140, header);
        assert_eq!(guest.extended_list(), [(0x100, 3), (0x140, 1)], "{says}");
        assert!(guest.0.faults()[0].contains(says), "{:?}", guest.0.faults());
    }
    let guest = with(&[(0x100, SERIAL), (0x140, AER)], 0x140, link(0x203));
    assert_eq!(guest.extended_list().len(), 2);
    // Hardware that does not answer.
    let guest = with(&[(0x100, SERIAL)], 0x100, u32::MAX);
    assert_eq!((guest.extended_list(), guest.0.faults().len()), (vec![], 0));
}
