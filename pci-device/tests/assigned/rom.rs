//! The expansion ROM.

use std::sync::Arc;

use pci_device::bar::BarRegister;
use pci_device::vmm::Event;
use pci_device::{RomSource, Settings};
use vfio_sim::machine::Device;

use super::rig::*;

const AT: u32 = 0xfec0_0000;

fn rig(rom: RomSource) -> Rig {
    let settings = Settings {
        rom,
        ..Settings::default()
    };
    let rig = Rig::with(Device::assorted(BDF), &settings);
    rig.set_command(MEMORY);
    rig.write32(0x30, AT | 1);
    rig
}

fn read<const N: usize>(rig: &Rig, offset: u64) -> [u8; N] {
    let mut bytes = [0x5a; N];
    rig.device.read(BarRegister::Rom, offset, &mut bytes);
    bytes
}

#[test]
fn it_is_read_when_it_is_first_asked_for() {
    let rig = rig(RomSource::Device);
    let trap = rig.vmm.traps()[0].clone();
    assert_eq!(
        (trap.bar, trap.range),
        (BarRegister::Rom, range(AT.into(), 0x1_0000))
    );
    assert!(rig.count("pread", || assert_eq!(read(&rig, 0), [0x55, 0xaa, 0])) > 0);
    assert_eq!(
        rig.count("pread", || assert_eq!(read(&rig, 0xffff), [0xff; 4])),
        0
    );
    rig.device.write(BarRegister::Rom, 0, &[0; 4]);
    assert_eq!(read(&rig, 0), [0x55, 0xaa]);
    rig.write32(0x30, AT);
    assert_eq!(read(&rig, 0), [0xff; 4]);
    assert_eq!((rig.vmm.traps(), rig.events()), (vec![], vec![]));
}

#[test]
fn a_file_takes_its_place() {
    let image: Arc<[u8]> = Arc::from([&[0x55, 0xaa][..], &[7; 3000]].concat());
    let rig = rig(RomSource::Image(image));
    assert_eq!(rig.vmm.traps()[0].range, range(AT.into(), 4096));
    assert_eq!(
        rig.count("pread", || assert_eq!(read(&rig, 0), [0x55, 0xaa, 7])),
        0
    );
    assert_eq!(read(&rig, 3000), [7, 7, 0xff, 0xff]);
}

#[test]
fn it_can_be_hidden() {
    let rig = rig(RomSource::Hidden);
    assert_eq!((rig.read32(0x30), rig.vmm.traps()), (0, vec![]));
}

/// Where no image is, the guest finds none, and the VMM learns why.
#[test]
fn what_is_no_rom_reads_as_ones() {
    let rig = rig(RomSource::Image(Arc::from([1, 2, 3])));
    assert_eq!(read(&rig, 0), [0xff; 4]);
    let events = rig.events();
    assert!(matches!(&events[..], [Event::NoRom(_)]), "{events:?}");
}
