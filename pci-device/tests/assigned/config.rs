//! Config space of a device in a guest.

use std::sync::Arc;

use pci_device::vmm::{Call, Recorder};
use pci_device::{AssignedDevice, Settings};
use vfio_core::Vfio;
use vfio_core::iommu::Registry;
use vfio_sim::SimKernel;
use vfio_sim::machine::Device;

use super::rig::*;

#[test]
fn a_dword_is_one_pread_at_most() {
    let rig = Rig::new(Device::assorted(BDF));
    let mut asked = 0;
    for at in (0..4096).step_by(4) {
        let preads = rig.count("pread", || {
            rig.read32(at);
        });
        assert!(preads <= 1, "{at:#x}");
        asked += preads;
    }
    assert!(asked > 0);
    for at in [
        0x00, 0x08, 0x0c, 0x10, 0x2c, 0x30, 0x34, 0x3c, 0x40, 0x44, 0x50,
    ] {
        let read = || {
            rig.read32(at);
        };
        assert_eq!(rig.count("pread", read), 0, "{at:#x}");
    }
}

#[test]
fn bytes_and_dwords_agree_and_behind_the_end_there_are_ones() {
    let rig = Rig::new(Device::nvme(BDF));
    let mut all = vec![0; 4200];
    rig.device.read_config(0, &mut all);
    for at in 0..4200_u16 {
        let mut byte = [0x5a];
        rig.device.read_config(at, &mut byte);
        assert_eq!(byte[0], all[usize::from(at)], "{at:#x}");
    }
    assert!(all[4096..].iter().all(|it| *it == 0xff));
    let mut end = [0; 4];
    rig.device.read_config(u16::MAX, &mut end);
    assert_eq!(end, [0xff; 4]);
    rig.device.write_config(u16::MAX, &[0; 8]);
    rig.device.write_config(0xffe, &[0; 4]);
}

#[test]
fn what_the_guest_sets_of_interrupts_is_told_once() {
    let rig = Rig::new(Device::assorted(BDF));
    rig.set_command(NO_LINE);
    rig.set_command(NO_LINE | MASTER);
    rig.device.write_config(0x42, &[0, 0x80]); // MSI-X on
    rig.device.write_config(0x42, &[0, 0x80]);
    rig.device.write_config(0x43, &[0xc0]); // all masked
    let expected = [
        Call::Line { disabled: true },
        Call::Msix {
            enabled: true,
            masked: false,
        },
        Call::Msix {
            enabled: true,
            masked: true,
        },
    ];
    assert_eq!(rig.vmm.take(), expected);
}

/// MSI and MSI-X are the VMM's: whatever is written there, nothing reaches the device (XSA-128 to 131).
#[test]
fn no_bit_of_msi_reaches_the_device() {
    let rig = Rig::new(Device::assorted(BDF));
    for len in 1..=4 {
        for at in 0x40 - 3..0x5e_u16 {
            let writes = rig.count("pwrite", || rig.device.write_config(at, &[0xff; 4][..len]));
            let inside = [0x40..0x4c_u16, 0x50..0x5e];
            let len = u16::try_from(len).unwrap();
            if inside.iter().any(|it| it.start <= at && at + len <= it.end) {
                assert_eq!(writes, 0, "{len} bytes at {at:#x}");
            }
        }
    }
    let mut real = [0; 14];
    let config = vfio_core::device::RegionIndex::Config;
    let config = rig.device.device().region(config).unwrap();
    config.read_bytes(0x50, &mut real).unwrap();
    assert_eq!(real[4..], [0; 10]);
}

/// A device that has fallen off its bus is no guest's; whoever asks is told where to read on.
#[test]
fn a_device_that_does_not_answer_is_refused() {
    let dead = Device::assorted(BDF).with_config([(0, u32::MAX)]);
    let sim = SimKernel::new(machine(dead, 4096));
    let vfio = Vfio::on(Arc::new(sim), Registry::linked().unwrap());
    let device = vfio.open(BDF.parse().unwrap()).unwrap();
    let given = recorded(&Arc::new(Recorder::default()));
    let error = AssignedDevice::new(&device, given, &Settings::default()).unwrap_err();
    let words = error.to_string();
    assert!(words.contains("VFIO-12") && words.contains(BDF), "{words}");
}
