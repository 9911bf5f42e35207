//! What a reset keeps and what it ends.

use anyhow::{Context, Result, ensure};

use super::{Outcome, Rig, attach};
use crate::devices::Driver;

const NO_RESET: &str = "the kernel knows no way to reset this device alone";

pub(super) fn config_space(rig: &Rig) -> Result<Outcome> {
    if !rig.device.info()?.can_reset {
        return Ok(Outcome::NotHere(NO_RESET));
    }
    let before = rig.config.command()?;
    rig.device.reset()?;
    attach::expect_ids(rig, &rig.config)?;
    let after = rig.config.command()?;
    ensure!(
        after == before,
        "the command register was {before:?} and is {after:?}"
    );
    Ok(Outcome::Passed)
}

pub(super) fn state(rig: &Rig, driver: &mut dyn Driver) -> Result<Outcome> {
    if !rig.device.info()?.can_reset {
        return Ok(Outcome::NotHere(NO_RESET));
    }
    let Some(started) = driver.is_started()? else {
        return Ok(Outcome::NotHere(
            "nothing tells whether this device was reset",
        ));
    };
    ensure!(started, "the device was not started");
    rig.device.reset()?;
    ensure!(
        driver.is_started()? == Some(false),
        "the device goes on as before"
    );
    driver.start()?;
    driver.identify().context("started again")?;
    Ok(Outcome::Passed)
}
