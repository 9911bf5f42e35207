//! Any bytes, and any writes.

use pci_device::CapabilityId;
use pci_device::virtual_config::{Effect, Identity, Place, Seat, Shown, VirtualConfig};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::strategy::ValueTree;

use crate::built::{Guest, bars};
use crate::model::{self, Model};

/// Bytes of a device: some with a list that leads somewhere, some with none that makes sense.
fn raw() -> impl Strategy<Value = Vec<u8>> {
    let len = prop_oneof![1 => Just(256_usize), 3 => Just(4096), 1 => 0_usize..4200];
    let known = prop_oneof![
        3 => Just(0x10_u8), // without it nobody has extended ones
        7 => proptest::sample::select(vec![1, 3, 5, 9, 0x11, 0x13, 0x14]),
        1 => any::<u8>(),
    ];
    let standard = prop::collection::vec(
        (0x40_u8..=0xff, known, any::<[u8; 24]>(), 0x40_u8..=0xff),
        0..8,
    );
    let ids = prop_oneof![1_u16..0x30, any::<u16>()];
    let extended = prop::collection::vec((0x100_u16..0xfff, ids, 0_u32..0x1000), 0..8);
    let noise = prop::collection::vec((any::<u16>(), any::<u8>()), 0..40);
    (len, standard, extended, noise).prop_map(|(len, standard, extended, noise)| {
        let mut bytes = vec![0; len];
        let mut put = |at: usize, value: u8| {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        };
        put(0x06, 0x10);
        let mut at = 0x34;
        for (place, id, body, stray) in &standard {
            put(at, *place);
            let place = usize::from(place & !3);
            put(place, *id);
            put(place + 1, *stray & if stray & 4 == 0 { 0 } else { 0xff });
            for (offset, value) in body.iter().enumerate() {
                put(place + 2 + offset, *value);
            }
            at = place + 1;
        }
        let mut at = 0x100;
        for (place, id, stray) in &extended {
            let next = if stray % 3 == 0 {
                *stray
            } else {
                u32::from(*place)
            };
            let header = u32::from(*id) | 1 << 16 | next << 20;
            for (offset, value) in header.to_le_bytes().into_iter().enumerate() {
                put(at + offset, value);
            }
            at = usize::from(place & !3);
        }
        for (at, value) in noise {
            put(usize::from(at) % 4200, value);
        }
        bytes
    })
}

fn seat() -> impl Strategy<Value = Seat> {
    let place = prop_oneof![
        Just(Place::BehindPort),
        Just(Place::RootComplex),
        Just(Place::Conventional)
    ];
    (
        place,
        any::<u32>(),
        any::<bool>(),
        prop::option::of(any::<u16>()),
        prop::collection::vec(1_u8..0x16, 0..3),
    )
        .prop_map(|(place, shown, multifunction, vendor, hidden)| Seat {
            place,
            shown: Shown::from_bits_truncate(shown),
            multifunction,
            identity: Identity {
                vendor,
                ..Identity::default()
            },
            hidden: hidden.into_iter().map(CapabilityId).collect(),
        })
}

/// A write, of how many bytes, and of what: anywhere, or so far behind the start of a capability.
type Write = (Option<Index>, u16, usize, u32);

fn writes() -> impl Strategy<Value = Vec<Write>> {
    let at = prop_oneof![3 => 0_u16..0x40, 6 => 0x40_u16..0x110, 1 => 0x100_u16..0x1010, 1 => any::<u16>()];
    let value = prop_oneof![Just(u32::MAX), Just(0), any::<u32>()];
    let len = prop_oneof![8 => 1_usize..=4, 1 => 0_usize..9, 1 => Just(usize::MAX)];
    prop::collection::vec((any::<Option<Index>>(), at, len, value), 1..30)
}

/// What the guest reads of a byte: its value, and what of it is the device's.
fn byte(config: &VirtualConfig, at: u16) -> (u32, u32) {
    let read = config.read(at, 1);
    (read.value, read.device)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn lists_end_and_widths_agree(raw in raw(), seat in seat()) {
        let guest = Guest(VirtualConfig::new(&raw, &bars(), &seat));
        guest.list();
        guest.extended_list();
        for at in (0..guest.0.len()).chain([0xfff, 0x1000, u16::MAX]) {
            for len in 1..=4_usize {
                let read = guest.0.read(at, len);
                for (lane, place) in (0..len).zip(u32::from(at)..) {
                    let shift = 8 * u32::try_from(lane).unwrap();
                    let (value, device) = match u16::try_from(place) {
                        Ok(place) => byte(&guest.0, place),
                        Err(_) => (0xff, 0),
                    };
                    prop_assert_eq!(read.value >> shift & 0xff, value);
                    prop_assert_eq!(read.device >> shift & 0xff, device);
                }
                prop_assert_eq!(read.value & read.device, 0);
            }
        }
    }

    #[test]
    fn every_bit_is_what_it_is_to_be(
        raw in raw(), seat in seat(), has_msix: bool, writes in writes(),
    ) {
        let mut config = VirtualConfig::new(&raw, &model::bars(has_msix), &seat);
        let mut model = Model::new(&raw, has_msix, &seat);
        model.check(&config);
        let fresh = (model.clone(), config.clone());
        let list = Guest(config.clone()).list();
        for (of, at, len, value) in writes {
            let at = match of {
                Some(of) if !list.is_empty() => of.get(&list).0 + at % 0x40,
                _ => at,
            };
            model.write(&mut config, at, len, value);
            let before = config.clone();
            let again = config.write(at, len, value).effects;
            prop_assert!(again.iter().all(|it| *it == Effect::FunctionReset), "{:?}", again);
            prop_assert_eq!(&config, &before);
        }
        model.check(&config);
        model.reset(&mut config, &fresh.0);
        prop_assert_eq!(&config, &fresh.1);
        prop_assert_eq!(config.reset(), []);
    }
}

/// The strategies above do find lists: otherwise they would prove little.
#[test]
fn lists_are_found() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut lengths = [0; 2];
    for _ in 0..200 {
        let raw = raw().new_tree(&mut runner).unwrap().current();
        let guest = Guest(VirtualConfig::new(&raw, &bars(), &Seat::default()));
        lengths[0] += guest.list().len();
        lengths[1] += guest.extended_list().len();
    }
    assert!(lengths[0] > 200 && lengths[1] > 20, "{lengths:?}");
}
