//! DMA that is to arrive, both ways, low and high.

use anyhow::{Result, ensure};
use vfio_core::address::{Access, DmaMask, Iova};
use vfio_core::iommu::{Aperture, DmaBuffer};

use super::{Outcome, Rig};
use crate::devices::{BUFFER_SIZE, Dma, Driver};

pub(super) fn identify(_: &Rig, driver: &mut dyn Driver) -> Result<Outcome> {
    driver.identify()?;
    Ok(Outcome::Passed)
}

pub(super) fn reads_32(rig: &Rig, driver: &mut dyn Driver) -> Result<Outcome> {
    expect_reads(driver, &low(rig)?)
}

pub(super) fn writes_32(rig: &Rig, driver: &mut dyn Driver) -> Result<Outcome> {
    expect_writes(driver, &low(rig)?)
}

pub(super) fn reads_64(rig: &Rig, driver: &mut dyn Driver) -> Result<Outcome> {
    match high(rig)? {
        Some(memory) => expect_reads(driver, &memory),
        None => Ok(NO_HIGH_ADDRESSES),
    }
}

pub(super) fn writes_64(rig: &Rig, driver: &mut dyn Driver) -> Result<Outcome> {
    match high(rig)? {
        Some(memory) => expect_writes(driver, &memory),
        None => Ok(NO_HIGH_ADDRESSES),
    }
}

const NO_HIGH_ADDRESSES: Outcome = Outcome::NotHere("this IOMMU maps nothing above 4 GiB");

/// Places and sizes are random, so a few of them.
const ROUNDS: usize = 2;

fn expect_reads(driver: &mut dyn Driver, memory: &DmaBuffer) -> Result<Outcome> {
    for _ in 0..ROUNDS {
        let outcome = driver.reads(memory)?;
        ensure!(
            outcome == Dma::Arrived,
            "the device was kept from reading {}",
            memory.range()
        );
    }
    Ok(Outcome::Passed)
}

fn expect_writes(driver: &mut dyn Driver, memory: &DmaBuffer) -> Result<Outcome> {
    for _ in 0..ROUNDS {
        let outcome = driver.writes(memory)?;
        ensure!(
            outcome == Dma::Arrived,
            "the device was kept from writing {}",
            memory.range()
        );
    }
    Ok(Outcome::Passed)
}

/// Memory for a device with 32 address lines.
fn low(rig: &Rig) -> Result<DmaBuffer> {
    Ok(rig
        .device
        .domain()
        .buffer(BUFFER_SIZE, DmaMask::bits(32), Access::ReadWrite)?)
}

/// Memory at an address that needs more than 32 lines; `None` if the IOMMU has no such addresses.
fn high(rig: &Rig) -> Result<Option<DmaBuffer>> {
    const MASK: DmaMask = DmaMask::bits(64);
    const FIRST: Iova = Iova(1 << 32);

    let domain = rig.device.domain();
    let first = domain.buffer(BUFFER_SIZE, MASK, Access::ReadWrite)?;
    if first.iova() >= FIRST {
        return Ok(Some(first));
    }
    let capabilities = domain.capabilities()?;
    let has_high = |aperture: &Aperture| aperture.range.last() >= FIRST;
    if !capabilities.apertures.iter().any(has_high) {
        ensure!(
            capabilities
                .windows
                .is_none_or(|windows| windows.count <= 1),
            "no window was created above 4 GiB"
        );
        return Ok(None);
    }
    // One aperture, from the low addresses to the high ones: take what is left of the low ones.
    let _low = domain.alloc(FIRST.0 - first.iova().0, MASK)?;
    let second = domain.buffer(BUFFER_SIZE, MASK, Access::ReadWrite)?;
    ensure!(second.iova() >= FIRST, "{} is below 4 GiB", second.range());
    Ok(Some(second))
}
