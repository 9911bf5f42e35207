//! What a device may do with memory.

use anyhow::{Result, ensure};
use vfio_core::address::{Access, DmaMask};

use super::{Outcome, Subject};
use crate::devices::{BUFFER_SIZE, Dma};

pub(super) fn kept(subject: &Subject) -> Result<Outcome> {
    let device = subject.open()?;
    let Some(mut driver) = subject.drive(&device)? else {
        return Ok(Outcome::NotHere("there is no driver for this device"));
    };
    let mask = DmaMask::bits(32);
    let mut both = device
        .domain()
        .buffer(BUFFER_SIZE, mask, Access::ReadWrite)?;
    let to_read = device.domain().buffer(BUFFER_SIZE, mask, Access::Read)?;
    ensure!(
        driver.reads(&both)? == Dma::Arrived,
        "the device did not read"
    );
    ensure!(
        driver.writes(&both)? == Dma::Arrived,
        "the device did not write"
    );
    ensure!(
        driver.reads(&to_read)? == Dma::Arrived,
        "the device did not read what it may read"
    );
    // On POWER hardware a blocked access freezes the device: nothing comes after these.
    ensure!(
        driver.writes(&to_read)? == Dma::Blocked,
        "the device wrote what it may only read"
    );
    driver.start()?;
    both.unmap()?;
    ensure!(
        driver.writes(&both)? == Dma::Blocked,
        "the device wrote unmapped memory"
    );
    Ok(Outcome::Passed)
}
