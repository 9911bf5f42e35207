//! Config space of a device that lies, and a guest that writes anything: what is the VMM's does not reach the device, lists
//! end, and a reset brings everything back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pci_device::bar::{Bars, Described};
use pci_device::virtual_config::{Effect, Place, Seat, Shown, VirtualConfig};

/// A memory BAR, and one with ports.
fn bars() -> Bars {
    let mut described: [Described; 6] = Default::default();
    described[0].size = 0x4000;
    (described[1].size, described[1].register) = (0x20, 1);
    Bars::new(&described, 0, None).expect("these make sense")
}

/// A list of the guest's ends.
fn walk(config: &VirtualConfig, first: u16, next: impl Fn(u16) -> u16) {
    let mut at = first;
    for _ in 0..1024 {
        if at == 0 {
            return;
        }
        assert!(at % 4 == 0 && at < config.len(), "{at:#x}");
        at = next(at);
    }
    panic!("a list has no end");
}

/// What a guest does: `offset`, `len`, `value`.
const STEP: usize = 7;

fuzz_target!(|input: (Vec<u8>, u8, Vec<u8>)| {
    let (raw, choice, steps) = input;
    let raw = &raw[..raw.len().min(4096)];
    let seat = Seat {
        place: match choice % 3 {
            0 => Place::BehindPort,
            1 => Place::RootComplex,
            _ => Place::Conventional,
        },
        shown: Shown::from_bits_truncate(u32::from(choice >> 2)),
        ..Seat::default()
    };
    let mut config = VirtualConfig::new(raw, &bars(), &seat);
    let fresh = config.clone();
    let value = |config: &VirtualConfig, at: u16, len| config.read(at, len).value;
    walk(&config, value(&config, 0x34, 1) as u16, |at| {
        value(&config, at + 1, 1) as u16
    });
    if config.len() > 0x100 {
        walk(&config, 0x100, |at| (value(&config, at, 4) >> 20) as u16);
    }
    for step in steps.chunks_exact(STEP) {
        let at = u16::from_le_bytes([step[0], step[1]]);
        let at = if step[2] & 0x80 == 0 { at % 0x200 } else { at };
        let len = 1 + usize::from(step[2] % 4);
        let written = u32::from_le_bytes([step[3], step[4], step[5], step[6]]);
        let done = config.write(at, len, written);
        for write in &done.device {
            let end = write.offset + u16::from(write.len);
            assert!(
                write.offset >= at && usize::from(end - at) <= len,
                "{write:x?}"
            );
            assert!(
                write.offset >= 0x40 || write.offset == 7 && end == 8,
                "{write:x?}"
            );
            let passed = config.read(write.offset, write.len.into()).device;
            assert_eq!(
                (write.bits & !passed, write.bits & write.keep),
                (0, 0),
                "{write:x?}"
            );
        }
        let again = config.write(at, len, written).effects;
        assert!(
            again.iter().all(|it| *it == Effect::FunctionReset),
            "{again:?}"
        );
    }
    config.reset();
    assert_eq!(config, fresh);
});
