//! Interrupts that the kernel fires itself: its way to the eventfds, without the device.

use anyhow::{Context, Result, ensure};
use vfio_core::device::IrqIndex;

use super::delivery::Delivery;
use super::{Outcome, Rig};

pub(super) fn intx(rig: &Rig) -> Result<Outcome> {
    loopback(rig, IrqIndex::Intx)
}

pub(super) fn msi(rig: &Rig) -> Result<Outcome> {
    loopback(rig, IrqIndex::Msi)
}

pub(super) fn msix(rig: &Rig) -> Result<Outcome> {
    loopback(rig, IrqIndex::MsiX)
}

fn loopback(rig: &Rig, index: IrqIndex) -> Result<Outcome> {
    const MOST_VECTORS: u32 = 4;

    let Some(delivery) = Delivery::new(rig, index, MOST_VECTORS)? else {
        return Ok(Outcome::NotHere("the device does not have such interrupts"));
    };
    delivery.expect_none()?;
    for vector in 0..delivery.count() {
        delivery.fire(vector)?;
        delivery.expect_one(vector)?;
    }
    delivery.disable()?;
    ensure!(
        delivery.fire(0).is_err(),
        "an interrupt that is disabled can be fired"
    );
    delivery.expect_none().context("disabled")?;
    Ok(Outcome::Passed)
}
