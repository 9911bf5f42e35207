//! Sleep and resets.

use anyhow::{Context, Result, ensure};
use pci_device::CapabilityId;
use pci_device::ConfigSpace;
use pci_device::bar::BarRegister;
use vfio_core::device::RegionIndex;

use super::guest::Guest;

/// A capability, by where the guest's list has it.
fn capability(guest: &Guest, id: CapabilityId) -> Option<u16> {
    let byte = |at: u16| guest.read_config::<1>(at)[0];
    let mut at = u16::from(byte(0x34));
    for _ in 0..48 {
        match at {
            0 => return None,
            at if byte(at) == id.0 => return Some(at),
            _ => at = u16::from(byte(at + 1)),
        }
    }
    None
}

pub(super) fn sleeps(guest: &Guest) -> Result<Option<&'static str>> {
    const CONTROL: u16 = 4;
    let Some(power) = capability(guest, CapabilityId::POWER_MANAGEMENT) else {
        return Ok(Some("the device has no power management"));
    };
    guest.place(0)?;
    let traps = guest.vmm.traps().len();
    guest.device.write_config(power + CONTROL, &[3, 0]);
    ensure!(guest.vmm.traps().is_empty() && guest.vmm.slices().is_empty());
    for (number, _) in guest.bars() {
        ensure!(
            guest.read(number, 0) == [0xff; 4],
            "BAR {number} answers in its sleep"
        );
        ensure!(guest.device.mapped(BarRegister::Bar(number), 0).is_none());
    }
    let config = guest.real().region(RegionIndex::Config)?;
    let control = u64::from(power + CONTROL);
    let state = || -> Result<u32> { Ok(u32::from_le(config.read(control)?) & 3) };
    if state()? != 3 {
        // There are hosts whose kernel keeps devices awake (powernv), whoever asks.
        config.write(control, 3_u16.to_le())?;
        ensure!(state()? != 3, "the device itself was not told to sleep");
    }
    let ids: [u8; 2] = guest.read_config(0);
    ensure!(ids == guest.sysfs.vendor.to_le_bytes());
    guest.device.write_config(power + CONTROL, &[0, 0]);
    // One that forgets everything is programmed anew.
    guest.place(0)?;
    ensure!(guest.vmm.traps().len() == traps, "{:x?}", guest.vmm.traps());
    guest.expect_no_event()?;
    Ok(None)
}

pub(super) fn resets(guest: &Guest) -> Result<Option<&'static str>> {
    const CAPABILITIES: u16 = 4;
    const CONTROL: u16 = 8;
    let express = capability(guest, CapabilityId::PCI_EXPRESS);
    let has_it = express.is_some_and(|at| guest.read_config::<4>(at + CAPABILITIES)[3] & 0x10 != 0);
    let Some(express) = express.filter(|_| has_it) else {
        return Ok(Some("the device has no function level reset"));
    };
    guest.place(0)?;
    guest.device.write_config(express + CONTROL + 1, &[0x80]);
    ensure!(guest.vmm.traps().is_empty() && guest.vmm.slices().is_empty());
    let command: [u8; 2] = guest.read_config(4);
    ensure!(command == [0; 2], "the command register is {command:x?}");
    let real = ConfigSpace::of(guest.real())?.command()?;
    ensure!(real.is_empty(), "the device's own is {real:?}");
    guest.place(0)?;
    let (number, _) = guest.bars().next().context("the device has BARs")?;
    let value: [u8; 4] = guest.read(number, 0);
    ensure!(value != [0xff; 4], "it does not answer");
    guest.expect_no_event()?;
    Ok(None)
}
