//! Resets, by the guest and by the VMM.

use pci_device::vmm::{Call, Recorder};
use pci_device::{AssignedDevice, ResetMethod, Settings, reset_guest};
use std::sync::Arc;
use vfio_core::ErrorKind;
use vfio_sim::Machine;
use vfio_sim::machine::Device;

use super::rig::*;

const HIGH: u64 = 0x80_0000_0000;

fn busy(rig: &Rig) {
    rig.place(2, HIGH, true);
    rig.set_command(MEMORY | MASTER | NO_LINE);
    rig.write(4, 0x10, &[0x10; 4]); // no decode there yet: lost
    rig.device.write_config(0x52, &[1, 0]); // MSI on
}

#[test]
fn the_guests_function_level_reset() {
    let rig = Rig::new(Device::assorted(BDF));
    busy(&rig);
    rig.vmm.take();
    let resets = rig.count("VFIO_DEVICE_RESET", || {
        rig.device.write_config(0x89, &[0x80])
    });
    assert_eq!(resets, 1);
    assert_eq!((rig.vmm.traps(), rig.vmm.slices()), (vec![], vec![]));
    assert_eq!((rig.read32(4) & 0xffff, rig.read32(0x18)), (0, 0xc));
    let told = rig.vmm.take();
    assert!(told.contains(&Call::Line { disabled: false }), "{told:?}");
    assert!(
        told.iter()
            .any(|it| matches!(it, Call::Msi(state) if !state.enabled)),
        "{told:?}"
    );
    assert_eq!(rig.read32(0x88) & 0x8000, 0); // the bit reads as 0
    // The real device does not decode its memory, either.
    let config = pci_device::ConfigSpace::of(rig.device.device()).unwrap();
    assert!(config.command().unwrap().is_empty());
}

#[test]
fn the_vmms_reset() {
    let rig = Rig::new(Device::assorted(BDF));
    busy(&rig);
    let alone = std::slice::from_ref(&rig.device);
    assert_eq!(
        rig.device.reset_method(alone).unwrap(),
        ResetMethod::Function
    );
    assert_eq!(
        rig.count("VFIO_DEVICE_RESET", || rig.device.reset().unwrap()),
        1
    );
    assert_eq!((rig.read32(4) & 0xffff, rig.vmm.traps()), (0, vec![]));
    // It is used anew.
    busy(&rig);
    assert_eq!(rig.slices(), [range(HIGH, 4 << 20)]);
}

/// What cannot be reset says so beforehand, and is as after a reset for the guest.
#[test]
fn a_device_that_cannot_be_reset() {
    let rig = Rig::new(Device::edu(BDF));
    rig.place(0, 0xfeb0_0000, false);
    rig.set_command(MEMORY);
    let error = rig.device.reset_method(&[]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let diagnosis = error.diagnose(&rig.sim).unwrap();
    assert_eq!(diagnosis.code, "VFIO-11");
    assert!(rig.device.reset().is_err());
    assert_eq!((rig.read32(4) & 0xffff, rig.vmm.traps()), (0, vec![]));
}

/// Devices on one bus: reset once, with both of them stopped; and not at all without the other.
#[test]
fn a_whole_guest() {
    let devices = ["0000:00:05.0", "0000:00:06.0"].map(|bdf| Device::edu(bdf).on_reset_bus(1));
    let machine = Machine::x86_64().with_devices(devices);
    let rig = Rig::on(machine, &Settings::default(), |_| {});
    let vmm = Arc::new(Recorder::default());
    let other = rig.vfio.open("0000:00:06.0".parse().unwrap()).unwrap();
    let other = AssignedDevice::new(&other, recorded(&vmm), &Settings::default()).unwrap();
    other.write_config(4, &MEMORY.to_le_bytes());
    assert_eq!(vmm.traps().len(), 1);

    let error = rig.device.reset_method(&[]).unwrap_err();
    assert!(error.to_string().contains("0000:00:06.0"), "{error}");
    let guest = [rig.device.clone(), other];
    assert_eq!(rig.device.reset_method(&guest).unwrap(), ResetMethod::Bus);
    let mut failed = Vec::new();
    let resets = rig.count("VFIO_DEVICE_PCI_HOT_RESET", || failed = reset_guest(&guest));
    assert_eq!((resets, failed.len()), (1, 0));
    assert_eq!(vmm.traps(), []);
}

/// The kernel saves what a guest has written, and restores it after a reset: it is written back, by whoever resets.
#[test]
fn control_registers_are_as_before_they_were_the_guests() {
    let rig = Rig::new(Device::assorted(BDF));
    let config = vfio_core::device::RegionIndex::Config;
    let config = rig.device.device().region(config).unwrap();
    let real = || config.read::<u16>(0x88).unwrap();
    let before = real();
    for by_guest in [false, true] {
        rig.device.write_config(0x88, &[0x1f, 0x08]);
        assert_ne!(real(), before);
        match by_guest {
            true => rig.device.write_config(0x89, &[0x80]),
            false => rig.device.reset().unwrap(),
        }
        assert_eq!(real(), before, "by the guest: {by_guest}");
    }
}
