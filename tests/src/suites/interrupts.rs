//! Interrupts that the device raises.

use anyhow::{Context, Result};
use vfio_core::device::IrqIndex;

use super::delivery::Delivery;
use super::{Outcome, Rig};
use crate::devices::Driver;

pub(super) fn intx(rig: &Rig, driver: &mut dyn Driver) -> Result<Outcome> {
    take(rig, driver, IrqIndex::Intx, |delivery, driver| {
        for &cause in driver.causes() {
            driver.raise(cause)?;
            delivery.expect_one(0)?;
            driver.acknowledge()?;

            // The kernel masked the line when it delivered: the next one waits for us.
            driver.raise(cause)?;
            delivery
                .expect_none()
                .context("while the line was masked")?;
            delivery.unmask()?;
            delivery.expect_one(0).context("unmasked")?;
            driver.acknowledge()?;
            delivery.unmask()?;
            delivery
                .expect_none()
                .context("acknowledged and unmasked")?;
        }
        Ok(())
    })
}

pub(super) fn msi(rig: &Rig, driver: &mut dyn Driver) -> Result<Outcome> {
    take(rig, driver, IrqIndex::Msi, messages)
}

pub(super) fn msix(rig: &Rig, driver: &mut dyn Driver) -> Result<Outcome> {
    take(rig, driver, IrqIndex::MsiX, messages)
}

/// Each is one message: there is nothing to mask.
fn messages(delivery: &Delivery<'_>, driver: &mut dyn Driver) -> Result<()> {
    for &cause in driver.causes() {
        for _ in 0..2 {
            driver.raise(cause)?;
            delivery
                .expect_one(0)
                .with_context(|| format!("{cause:?}"))?;
            driver.acknowledge()?;
        }
    }
    Ok(())
}

/// Enables one vector, on which the device raises its interrupts, and disables it again.
fn take(
    rig: &Rig,
    driver: &mut dyn Driver,
    index: IrqIndex,
    body: impl FnOnce(&Delivery<'_>, &mut dyn Driver) -> Result<()>,
) -> Result<Outcome> {
    let Some(delivery) = Delivery::new(rig, index, 1)? else {
        return Ok(Outcome::NotHere("the device does not have such interrupts"));
    };
    // A device may look at its interrupts only when it makes its queues.
    driver.start()?;
    delivery.expect_none().context("before the first")?;
    body(&delivery, driver)?;

    delivery.disable()?;
    for &cause in driver.causes() {
        driver.raise(cause)?;
        driver.acknowledge()?;
        delivery.expect_none().context("disabled")?;
    }
    Ok(Outcome::Passed)
}
