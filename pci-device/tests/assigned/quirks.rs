//! Devices that need more than the specification says.

use pci_device::ResetMethod;
use pci_device::bar::BarRegister;
use vfio_sim::machine::{Bar, Device, Interrupts, MakeModel};
use vfio_sim::model::{Bus, Model, Plain};

use super::rig::*;

/// A graphics card whose first BAR mirrors config space.
pub(crate) fn mirrored() -> Device {
    Device {
        vendor: 0x10de,
        device: 0x1380,
        class: 0x03_0000,
        bars: [Some(Bar::registers(16 << 20)), None, None, None, None, None],
        interrupts: Interrupts {
            line: true,
            msi: 1,
            msix: None,
        },
        model: MakeModel(|| Box::new(Plain::new([16 << 20, 0, 0, 0, 0, 0]))),
        ..Device::assorted(BDF)
    }
}

#[test]
fn a_mirror_is_the_guests_config_space() {
    let rig = Rig::new(mirrored());
    rig.place(0, 0xe000_0000, false);
    rig.set_command(MEMORY);
    // The page of the mirror is trapped, the rest is mapped.
    let mapped = [0xe000_0000..0xe008_8000, 0xe008_9000..0xe100_0000];
    assert_eq!(rig.slices(), mapped);
    assert_eq!(rig.read(0, 0x8_8000), [0xde, 0x10, 0x80, 0x13]);
    assert_eq!(rig.read(0, 0x8_8010), 0xe000_0000_u32.to_le_bytes());
    rig.write(0, 0x8_8004, &(MEMORY | MASTER).to_le_bytes());
    assert_eq!(rig.read32(4) & 0xffff, u32::from(MEMORY | MASTER));
    // What reaches over its edge is nobody's: the device's own config space has the host's addresses.
    for (offset, len) in [(0x8_7ffe, 4), (0x8_8ffe, 4), (0x8_7ffc, 8)] {
        let mut bytes = vec![0; len];
        let read = || rig.device.read(BarRegister::Bar(0), offset, &mut bytes);
        assert_eq!(rig.count("pread", read), 0);
        assert_eq!(bytes, vec![0xff; len]);
        assert_eq!(rig.count("pwrite", || rig.write(0, offset, &bytes)), 0);
    }
    // It moves itself away, and answers at its new place.
    rig.write(0, 0x8_8010, &0xd000_0000_u32.to_le_bytes());
    assert_eq!(rig.trap(0).unwrap().range.start, 0xd000_0000);
    assert_eq!(rig.read(0, 0x8_8010), 0xd000_0000_u32.to_le_bytes());
    // An acknowledged interrupt reaches the device, and nothing else does.
    let msi = u64::from(rig.read32(0x34) & 0xff);
    assert_eq!(
        rig.count("pwrite", || rig.write(0, 0x8_8000 + msi, &[0xff])),
        1
    );
    rig.set_command(0);
    assert_eq!(rig.read(0, 0x8_8000), [0xff; 4]);
}

/// A card whose controller answers as the sequence wants it.
#[derive(Debug, Default)]
struct Card {
    index: u32,
    scope: u32,
    reset: u32,
    clock: u32,
    /// How often the memory size is not there yet.
    in_reset: u32,
}

impl Model for Card {
    fn read(&mut self, _: &mut dyn Bus, bar: u8, offset: u64, bytes: &mut [u8]) {
        let value = match (bar, offset, self.index) {
            (5, 0x204, 0x8000_0000) => self.reset,
            (5, 0x204, 0x8000_0004) => self.clock,
            (5, 0x204, 0x8000_0370) => 0x2_0200,
            (5, 0x204, 0xc00c_0000) => 0x40,
            (5, 0x204, 0xc000_0010) => self.scope,
            (5, 0x5428, _) if self.in_reset > 0 => {
                self.in_reset -= 1;
                u32::MAX
            }
            (5, 0x5428, _) => 0x800,
            (5, 0x10, _) => self.clock << 8 | self.reset << 4 | self.scope,
            _ => 0,
        };
        for (byte, of_value) in bytes.iter_mut().zip(value.to_le_bytes()) {
            *byte = of_value;
        }
    }

    fn write(&mut self, _: &mut dyn Bus, bar: u8, offset: u64, bytes: &[u8]) {
        let Ok(value) = bytes.try_into().map(u32::from_le_bytes) else {
            return;
        };
        match (bar, offset, self.index) {
            (5, 0x200, _) => self.index = value,
            (5, 0x204, 0x8000_0000) => self.reset = value,
            (5, 0x204, 0x8000_0004) => self.clock = value,
            (5, 0x204, 0xc000_0010) => {
                self.scope = value;
                self.in_reset = 3;
            }
            _ => {}
        }
    }

    fn reset(&mut self) {}
}

#[test]
fn a_card_is_reset_by_its_own_controller() {
    let card = Device {
        vendor: 0x1002,
        device: 0x67b1,
        class: 0x03_0000,
        bars: [
            None,
            None,
            None,
            None,
            None,
            Some(Bar::registers(256 << 10)),
        ],
        interrupts: Interrupts::default(),
        function_reset: false,
        power_management: false,
        express: false,
        model: MakeModel(|| {
            Box::new(Card {
                scope: 2,
                ..Card::default()
            })
        }),
        ..Device::assorted(BDF)
    };
    let rig = Rig::new(card);
    rig.place(5, 0xe000_0000, false);
    assert_eq!(rig.device.reset_method(&[]).unwrap(), ResetMethod::Sequence);
    rig.device.reset().unwrap();
    // The guest finds its memory switched off; the controller and its clock are where the sequence leaves them.
    assert_eq!(rig.read32(4) & 0xffff, 0);
    rig.place(5, 0xe000_0000, false);
    rig.set_command(MEMORY);
    assert_eq!(rig.read(5, 0x10), 0x110_u32.to_le_bytes());
    // Without its firmware there is no way.
    let error = rig.device.reset().unwrap_err();
    assert!(error.to_string().contains("firmware"), "{error}");
}
