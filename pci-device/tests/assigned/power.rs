//! Devices that a guest puts to sleep.

use std::sync::Arc;

use pci_device::bar::BarRegister;
use pci_device::vmm::Recorder;
use pci_device::{AssignedDevice, Settings};
use vfio_core::device::RegionIndex;
use vfio_sim::machine::Device;

use super::rig::*;

const HIGH: u64 = 0x80_0000_0000;
/// Where the simulated devices have their power state.
const CONTROL: u16 = 0x64;
const ASLEEP: [u8; 2] = [3, 0];
const AWAKE: [u8; 2] = [0, 0];

#[test]
fn nothing_touches_a_bar_that_sleeps() {
    let rig = Rig::new(Device::assorted(BDF));
    rig.place(0, 0xfeb0_0000, false);
    rig.place(2, HIGH, true);
    rig.set_command(MEMORY | IO);
    rig.write(0, 0, &[1; 4]);
    rig.write(2, 0, &[2; 4]);
    rig.device.write_config(CONTROL, &ASLEEP);
    assert_eq!((rig.vmm.traps(), rig.vmm.slices()), (vec![], vec![]));
    assert_eq!(
        rig.count("pread", || assert_eq!(rig.read(0, 0), [0xff; 4])),
        0
    );
    assert_eq!(rig.read(2, 0), [0xff; 4]);
    assert!(rig.device.mapped(BarRegister::Bar(2), 0).is_none());
    assert_eq!(rig.read32(CONTROL) & 3, 3);
    // Config space is there.
    assert_eq!(rig.read32(0), 0x10f0_1af4);
    rig.device.write_config(CONTROL, &AWAKE);
    assert_eq!(rig.slices()[1..], [range(HIGH, 4 << 20)]);
    assert_eq!(rig.read(0, 0), [1; 4]);
    assert_eq!(rig.read(2, 0), [2; 4]);
    assert_eq!(rig.events(), []);
}

/// Of two registers, the guest has the one that is no other capability's; that is the one that is written.
#[test]
fn the_device_is_told_in_the_register_that_the_guest_has() {
    let second = [(0x50, 0x0084_5805), (0x58, 0x0003_6001)]; // inside of MSI, and before the other in the list
    let rig = Rig::new(Device::assorted(BDF).with_config(second));
    assert_eq!(rig.read32(0x50) >> 8 & 0xff, 0x60);
    rig.device.write_config(CONTROL, &ASLEEP);
    let real = rig.device.device().region(RegionIndex::Config).unwrap();
    let mut state = [0];
    real.read_bytes(CONTROL.into(), &mut state).unwrap();
    assert_eq!(state[0] & 3, 3);
    real.read_bytes(0x5c, &mut state).unwrap();
    assert_eq!(state, [0]);
}

/// The real device is told, once.
#[test]
fn the_device_is_told_when_its_state_changes() {
    let rig = Rig::new(Device::assorted(BDF));
    let put = |state: [u8; 2]| rig.count("pwrite", || rig.device.write_config(CONTROL, &state));
    assert_eq!(put(AWAKE), 0);
    assert_eq!(put(ASLEEP), 1);
    assert_eq!(put(ASLEEP), 0);
    assert_eq!(put([1, 0]), 0); // there is no way from there, and no such state
    assert_eq!(rig.read32(CONTROL) & 3, 3);
    assert_eq!(put(AWAKE), 1);
}

/// How awake the device itself is.
fn state(device: &AssignedDevice) -> u8 {
    let config = device.device().region(RegionIndex::Config).unwrap();
    config.read::<u8>(CONTROL.into()).unwrap() & 3
}

/// Whatever becomes of a reset, guest and device agree afterwards, and the next guest finds it awake.
#[test]
fn a_device_wakes_up_when_it_is_reset_or_given_away() {
    let stubborn = Device {
        function_reset: false,
        ..Device::assorted(BDF)
    };
    let rig = Rig::new(stubborn);
    rig.device.write_config(CONTROL, &ASLEEP);
    assert_eq!(state(&rig.device), 3);
    assert!(rig.device.reset().is_err());
    assert_eq!((rig.read32(CONTROL) & 3, state(&rig.device)), (0, 0));

    let rig = Rig::new(Device::assorted(BDF));
    rig.device.write_config(CONTROL, &ASLEEP);
    let device = rig.device.device().clone();
    // Somebody who does not say so: what the next one finds is none of theirs.
    device
        .region(RegionIndex::Config)
        .unwrap()
        .write(CONTROL.into(), 3_u16.to_le())
        .unwrap();
    let vmm = Arc::new(Recorder::default());
    let next = AssignedDevice::new(&device, recorded(&vmm), &Settings::default()).unwrap();
    assert_eq!(state(&next), 0);
}
