//! Windows, on an IOMMU that can create them.

use anyhow::{Context, Result, ensure};
use vfio_core::ErrorKind;
use vfio_core::address::{Access, DmaMask};
use vfio_core::iommu::{Aperture, Domain};

use super::{Outcome, Rig};
use crate::random;

/// A window is created where none is high enough, refuses to go while it is used, goes, and is not missed.
pub(super) fn come_and_go(rig: &Rig) -> Result<Outcome> {
    const MASK: DmaMask = DmaMask::bits(64);

    let domain = rig.device.domain();
    let windows = domain.capabilities()?.windows;
    if windows.is_none_or(|windows| windows.count <= 1) {
        return Ok(Outcome::NotHere("this IOMMU creates no windows"));
    }
    for _ in 0..2 {
        let size = 1 + random::up_to(1 << 18)?;
        let buffer = domain.buffer(size, MASK, Access::ReadWrite)?;
        let highest = highest(domain)?;
        ensure!(
            highest.range.contains(buffer.range()),
            "{} is not in the highest window, {}",
            buffer.range(),
            highest.range
        );
        let start = highest.range.first();
        let error = domain
            .remove_window(start)
            .err()
            .context("a window in use was removed")?;
        ensure!(error.kind() == ErrorKind::Busy, "{error}");
        drop(buffer);
        domain.remove_window(start)?;
        ensure!(
            !domain.capabilities()?.apertures.contains(&highest),
            "{} is there after it was removed",
            highest.range
        );
    }
    drop(domain.buffer(1, DmaMask::bits(32), Access::ReadWrite)?);
    Ok(Outcome::Passed)
}

fn highest(domain: &Domain) -> Result<Aperture> {
    let apertures = domain.capabilities()?.apertures;
    apertures.last().copied().context("there is no window")
}
