//! Config space of a device that lies, and a guest that writes anything: every bit is what the model has it to be, lists end,
//! and a reset brings everything back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pci_device::CapabilityId;
use pci_device::virtual_config::{Place, Seat, Shown, VirtualConfig};

#[path = "../../pci-device/tests/virtual_config/model/mod.rs"]
mod model;

use model::Model;

/// What a guest does: where, how much, and what.
const STEP: usize = 7;

fuzz_target!(|input: (Vec<u8>, [u8; 3], Vec<u8>)| {
    let (raw, [choice, shown, hidden], steps) = input;
    let seat = Seat {
        place: match choice % 3 {
            0 => Place::BehindPort,
            1 => Place::RootComplex,
            _ => Place::Conventional,
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
    for step in steps.chunks_exact(STEP).filter_map(<[u8]>::first_chunk) {
        let [low, high, len, written @ ..]: [u8; STEP] = *step;
        let at = u16::from_le_bytes([low, high]);
        let at = if len & 0x80 == 0 { at % 0x200 } else { at };
        model.write(
            &mut config,
            at,
            usize::from(len % 6),
            u32::from_le_bytes(written),
        );
    }
    model.check(&config);
    model.reset(&mut config, &fresh);
});
