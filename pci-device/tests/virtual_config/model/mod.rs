//! What each bit of config space is by the specifications, told once more and as plainly as can be: bits, one after the
//! other, and no part of the product. The fuzz target `virtual_config` holds against it, too.

mod changes;
mod layout;
mod spec;

use pci_device::bar::{Bars, Described, Msix, Place as At};
use pci_device::virtual_config::{Effect, Place, Seat, VirtualConfig, Written};

use changes::sorted;

/// A byte: which of its bits are the device's, which a guest can write, and what the others are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Byte {
    device: u8,
    writable: u8,
    value: u8,
}

/// A config space.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    bytes: Vec<Byte>,
    msi: Option<usize>,
    msix: Option<usize>,
    power: Option<usize>,
    /// Bits that reset the device: in which byte, and which.
    resets: Vec<(usize, u8)>,
}

/// The BARs here: their registers, the bits of an address that they have, and their type.
const BARS: [(u16, u64, u32); 3] = [
    (0, 0xffff_c000, 0),               // 16 KiB
    (1, 0xffff_ffe0, 1),               // 32 ports
    (2, 0xffff_ffff_ffff_0000, 0b100), // 64 KiB, 64 bits, with the table
];
const ROM: u64 = 0xffff_f800;

/// Those BARs, and a ROM. With a table of MSI-X, or without.
pub(crate) fn bars(has_msix: bool) -> Bars {
    let mut described: [Described; 6] = Default::default();
    (described[0].size, described[1].size, described[2].size) = (0x4000, 0x20, 0x1_0000);
    (described[1].register, described[2].register) = (1, 0b100);
    let at = |offset| At { bar: 2, offset };
    let msix = Msix {
        vectors: 65,
        table: at(0x1000),
        pending: at(0x2000),
    };
    Bars::new(&described, 0x800, has_msix.then_some(msix)).expect("these make sense")
}

impl Model {
    /// What that device is to be to a guest.
    pub(crate) fn new(raw: &[u8], has_msix: bool, seat: &Seat) -> Self {
        let is_extended = raw.len() > 0x100 && seat.place != Place::Conventional;
        let len = if is_extended { 0x1000 } else { 0x100 };
        let mut raw = raw.to_vec();
        let given = raw.len().min(len);
        raw.resize(len, 0);
        let all_the_devices = Byte {
            device: 0xff,
            writable: 0xff,
            value: 0,
        };
        let mut model = Self {
            bytes: vec![all_the_devices; len],
            msi: None,
            msix: None,
            power: None,
            resets: Vec::new(),
        };
        model.header(&raw, seat);
        let is_express = model.standard(&raw, has_msix, seat);
        match is_express {
            true => model.extended(&raw[..given], seat.shown),
            false => model.hide(0x100, len),
        }
        model
    }

    /// Every byte reads as it is to.
    pub(crate) fn check(&self, config: &VirtualConfig) {
        assert_eq!(usize::from(config.len()), self.bytes.len());
        for (at, byte) in (0..).zip(&self.bytes) {
            let read = config.read(at, 1);
            let expected = (u32::from(byte.value), u32::from(byte.device));
            assert_eq!((read.value, read.device), expected, "{at:#x}: {byte:x?}");
        }
    }

    /// The guest writes, here and there: what reaches the device, what is kept, and what has changed are the same.
    pub(crate) fn write(&mut self, config: &mut VirtualConfig, at: u16, len: usize, value: u32) {
        let was = self.state();
        let mut expected = Vec::new();
        let mut is_reset = false;
        let places = usize::from(at)..;
        for (place, new) in places.zip(value.to_le_bytes()).take(len) {
            let Some(byte) = self.bytes.get_mut(place) else {
                break;
            };
            let kept = byte.writable & !byte.device;
            byte.value = byte.value & !kept | new & kept;
            let passed = byte.writable & byte.device;
            if passed != 0 {
                expected.push((place, new & passed, passed));
            }
            let sets_off = |(at, bit): &(usize, u8)| *at == place && new & bit != 0;
            is_reset |= self.resets.iter().any(sets_off);
        }
        if let Some(at) = self.power {
            let (can, told) = (self.bytes[at + 3].value, self.bytes[at + 4].value);
            self.bytes[at + 4].value = told & !3 | spec::sleep(can, was.power, told & 3);
        }
        let Written { device, effects } = config.write(at, len, value);
        let mut reached = Vec::new();
        for write in &device {
            for lane in 0..u16::from(write.len) {
                let [value, bits] =
                    [write.value, write.bits].map(|it| it.to_le_bytes()[usize::from(lane)]);
                reached.push((usize::from(write.offset + lane), value & bits, bits));
            }
        }
        assert_eq!(reached, expected, "{at:#x}, {len} bytes: {value:#x}");
        let mut changed = self.changed(&was);
        changed.extend(is_reset.then_some(Effect::FunctionReset));
        assert_eq!(
            sorted(effects),
            sorted(changed),
            "{at:#x}, {len} bytes: {value:#x}"
        );
    }

    /// As after power-on.
    pub(crate) fn reset(&mut self, config: &mut VirtualConfig, fresh: &Self) {
        let was = self.state();
        self.bytes.clone_from(&fresh.bytes);
        assert_eq!(sorted(config.reset()), sorted(self.changed(&was)));
        self.check(config);
    }

    fn value(&self, at: usize, len: usize) -> u32 {
        let bytes = self.bytes[at..at + len].iter().rev();
        bytes.fold(0, |value, byte| value << 8 | u32::from(byte.value))
    }
}
