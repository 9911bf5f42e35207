//! Config space of a device that lies, and a guest that writes anything: every bit is what the model has it to be, lists end,
//! and a reset brings everything back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pci_device::CapabilityId;
use pci_device::virtual_config::{Place, Seat, Shown, VirtualConfig};

#[path = "../../pci-device/tests/virtual_config/model/mod.rs"]
mod model;

use model::Model;

/// What is in config space: few doublewords matter, and they are found sooner in zeros than in noise.
type Doublewords = Vec<(u16, u32)>;
/// What a guest writes: where, how much, and what.
type Writes = Vec<(u16, u8, u32)>;

/// Some bytes, of which a capability of PCI Express is the first: without it there are no extended ones.
fn raw(len: u16, doublewords: &Doublewords) -> Vec<u8> {
    let mut raw = vec![0; usize::from(len)];
    let express = [(0x04, 1 << 20), (0x34, 0x80), (0x80, 0x0002_0010)];
    for (at, value) in express.iter().chain(doublewords) {
        let at = usize::from(at % 0x1000 & !3);
        if let Some(bytes) = raw.get_mut(at..at + 4) {
            bytes.copy_from_slice(&value.to_le_bytes());
        }
    }
    raw
}

fuzz_target!(|input: (u16, Doublewords, [u8; 3], Writes)| {
    let (len, doublewords, [choice, shown, hidden], writes) = input;
    let len = match choice >> 2 & 3 {
        0 => 0x100,
        1 => len % 0x1100,
        _ => 0x1000,
    };
    let raw = raw(len, &doublewords);
    let seat = Seat {
        place: match choice & 3 {
            0 => Place::Conventional,
            1 => Place::RootComplex,
            _ => Place::BehindPort,
        },
        shown: Shown::from_bits_truncate(shown.into()),
        multifunction: choice & 0x40 != 0,
        hidden: vec![CapabilityId(hidden)],
        ..Seat::default()
    };
    let has_msix = choice & 0x80 != 0;
    let mut config = VirtualConfig::new(&raw, &model::bars(has_msix), &seat);
    let mut model = Model::new(&raw, has_msix, &seat);
    let fresh = model.clone();
    model.check(&config);
    for (at, len, value) in writes {
        let at = if len & 0x80 == 0 { at % 0x200 } else { at };
        model.write(&mut config, at, usize::from(len % 6), value);
    }
    model.check(&config);
    model.reset(&mut config, &fresh);
});
