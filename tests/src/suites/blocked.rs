//! DMA that is not to arrive.

use anyhow::{Result, ensure};
use vfio_core::address::{Access, DmaMask};
use vfio_core::iommu::DmaBuffer;

use super::{Outcome, Rig};
use crate::devices::{BUFFER_SIZE, Dma, Driver};

pub(super) fn read_only(rig: &Rig, driver: &mut dyn Driver) -> Result<Outcome> {
    let memory = buffer(rig, Access::Read)?;
    ensure!(
        driver.reads(&memory)? == Dma::Arrived,
        "the device was kept from reading"
    );
    ensure!(driver.writes(&memory)? == Dma::Blocked, "the device wrote");
    Ok(Outcome::Passed)
}

pub(super) fn unmapped_write(rig: &Rig, driver: &mut dyn Driver) -> Result<Outcome> {
    let mut memory = buffer(rig, Access::ReadWrite)?;
    ensure!(
        driver.writes(&memory)? == Dma::Arrived,
        "the device was kept from writing mapped memory"
    );
    memory.unmap()?;
    ensure!(
        driver.writes(&memory)? == Dma::Blocked,
        "the device wrote unmapped memory"
    );
    Ok(Outcome::Passed)
}

pub(super) fn unmapped_read(rig: &Rig, driver: &mut dyn Driver) -> Result<Outcome> {
    let mut memory = buffer(rig, Access::ReadWrite)?;
    ensure!(
        driver.reads(&memory)? == Dma::Arrived,
        "the device was kept from reading mapped memory"
    );
    memory.unmap()?;
    ensure!(
        driver.reads(&memory)? == Dma::Blocked,
        "the device read unmapped memory"
    );
    Ok(Outcome::Passed)
}

fn buffer(rig: &Rig, access: Access) -> Result<DmaBuffer> {
    Ok(rig
        .device
        .domain()
        .buffer(BUFFER_SIZE, DmaMask::bits(32), access)?)
}
