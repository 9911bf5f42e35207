//! A guest that reads a register of its device which is trapped.

use std::hint::black_box;
use std::sync::Arc;

use anyhow::{Result, ensure};
use pci_device::bar::BarRegister;
use pci_device::vmm::Recorder;
use pci_device::{AssignedDevice, Settings, Vmm};

use super::ours::Ours;
use super::quiet::BAR_SIZE;

const BAR: BarRegister = BarRegister::Bar(0);
const REGISTER: u64 = 8;

/// So many reads, of so many bytes each.
pub fn measure(ours: &Ours, reads: u64, len: u64) -> Result<()> {
    let vmm = Vmm::with_bus(Arc::new(Recorder::default()));
    let device = AssignedDevice::new(ours.device(), vmm, &Settings::default())?;
    let mut bytes = [0; 8];
    checks_are_on(&device)?;
    let bytes = &mut bytes[..len as usize];
    for _ in 0..reads {
        device.read(BAR, REGISTER, black_box(bytes));
    }
    Ok(())
}

/// What is measured is worth nothing without the checks: they are seen to be on.
fn checks_are_on(device: &AssignedDevice) -> Result<()> {
    let read = |offset| {
        let mut bytes = [0x5a; 4];
        device.read(BAR, offset, &mut bytes);
        bytes
    };
    ensure!(read(REGISTER) == [0xff; 4], "it answers without a place");
    device.write_config(0x10, &0x8000_0000_u32.to_le_bytes());
    device.write_config(4, &[2, 0]);
    ensure!(read(REGISTER) == [0x5a; 4], "the kernel is not asked"); // which fills nothing in
    ensure!(read(BAR_SIZE) == [0xff; 4], "it answers behind its end");
    Ok(())
}
