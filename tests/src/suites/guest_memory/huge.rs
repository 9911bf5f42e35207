//! Windows of huge pages.

use anyhow::{Context, Result, ensure};
use vfio_core::address::{Iova, IovaRange};
use vfio_core::guest::{AddressSpace, Section};
use vfio_core::iommu::{Window, WindowPages, WindowRequest};

use super::view::View;
use super::{Outcome, Rig};
use crate::devices::{Dma, Driver};
use crate::guest::Ram;

const HUGE: usize = 2 << 20;

/// A window of huge pages is created everywhere; memory that is huge is reached through it, at both of its ends, and any
/// other is refused in words.
pub(in crate::suites) fn reached(rig: &Rig, driver: &mut dyn Driver) -> Result<Outcome> {
    let domain = rig.device.domain();
    let limits = domain.capabilities()?.windows;
    if limits.is_none_or(|it| !it.page_sizes.has(HUGE as u64)) {
        return Ok(Outcome::NotHere("this IOMMU has no windows of 2 MiB pages"));
    }
    // Cases before this one have left a window; the driver may have buffers in it.
    if domain.reset_windows().is_err() {
        return Ok(Outcome::NotHere(
            "the driver's own buffers have the second window",
        ));
    }
    let pages = WindowPages::Carried(HUGE as u64);
    let window = domain.create_window(&WindowRequest::of(1 << 30, pages))?;
    ensure!(window.page_size == HUGE as u64, "{window:?}");
    let seen = refused(rig, &window).and_then(|()| match Ram::huge(2 * HUGE) {
        Ok(memory) => both_ends(rig, &window, &memory, driver).map(|()| true),
        Err(_) => Ok(false),
    });
    domain.remove_window(window.range.first())?;
    Ok(match seen? {
        true => Outcome::Passed,
        false => Outcome::NotHere(
            "the window was created, and maps no other memory; this host has no huge pages",
        ),
    })
}

/// Memory of ordinary pages, however well it is aligned, is not mapped, and what it lacks is said.
fn refused(rig: &Rig, window: &Window) -> Result<()> {
    let memory = Ram::new(rig.vfio().kernel(), 4 * HUGE)?;
    let start = memory.block().range().addr();
    let offset = start.next_multiple_of(HUGE) - start;
    let range = at(window.range.first().0)?;
    let space = AddressSpace::new();
    let section = Section::ram(range, memory.block(), offset)?;
    let _ = space.edit().insert(section).commit()?;
    let error = space.follow(rig.device.domain()).err();
    let error = error.context("memory of small pages was mapped")?;
    ensure!(error.to_string().contains("hugetlb"), "{error}");
    Ok(())
}

fn both_ends(rig: &Rig, window: &Window, memory: &Ram, driver: &mut dyn Driver) -> Result<()> {
    let range = window.range;
    let space = AddressSpace::new();
    let _ = space.follow(rig.device.domain())?;
    for (n, start) in [range.first().0, range.last().0 + 1 - HUGE as u64]
        .into_iter()
        .enumerate()
    {
        let here = at(start)?;
        let section = Section::ram(here, memory.block(), n * HUGE)?;
        let _ = space.edit().insert(section).commit()?;
        for (offset, len) in [(0, 4096), (HUGE - 4096, 4096)] {
            let view = View {
                ram: memory,
                offset: n * HUGE + offset,
                len,
                iova: Iova(start + offset as u64),
            };
            let done = (driver.reads(&view)?, driver.writes(&view)?);
            ensure!(done == (Dma::Arrived, Dma::Arrived), "{done:?}");
        }
        let _ = space.edit().remove(here).commit()?;
        let view = View {
            ram: memory,
            offset: n * HUGE,
            len: 4096,
            iova: Iova(start),
        };
        ensure!(
            driver.writes(&view)? == Dma::Blocked,
            "after it was unmapped"
        );
    }
    Ok(())
}

/// One huge page.
fn at(start: u64) -> Result<IovaRange> {
    IovaRange::new(Iova(start), HUGE as u64).context("a huge page")
}
