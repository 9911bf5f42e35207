//! The windows of an IOMMU that lets programs make them.

use anyhow::{Result, ensure};
use vfio_core::address::{Access, DmaMask, Iova};
use vfio_core::iommu::{WindowPages, WindowRequest};

use super::{Outcome, Subject};
use crate::devices::{BUFFER_SIZE, Dma};

/// A program that leaves other windows behind than it has found leaves none to the next one.
pub(super) fn come_back(subject: &Subject) -> Result<Outcome> {
    let device = subject.open()?;
    let domain = device.domain();
    let initial = domain.windows()?;
    if initial.is_empty() {
        return Ok(Outcome::NotHere("this IOMMU creates no windows"));
    }
    ensure!(initial == domain.initial_windows());
    for window in &initial {
        domain.remove_window(window.range.first())?;
    }
    let pages = WindowPages::Carried(subject.vfio.kernel().page_size() as u64);
    let created = domain.create_window(&WindowRequest::of(1 << 32, pages))?;
    let at = Iova(created.range.first().0 + (1 << 20));
    drop(domain.buffer(1, at, Access::Read)?);
    ensure!(domain.windows()? == [created]);
    device.close()?;

    let device = subject.open()?;
    let domain = device.domain();
    ensure!(domain.windows()? == initial, "others have stayed");
    let Some(mut driver) = subject.drive(&device)? else {
        return Ok(Outcome::Passed);
    };
    let memory = domain.buffer(BUFFER_SIZE, DmaMask::bits(32), Access::ReadWrite)?;
    let done = (driver.reads(&memory)?, driver.writes(&memory)?);
    ensure!(done == (Dma::Arrived, Dma::Arrived), "{done:?}");
    Ok(Outcome::Passed)
}
