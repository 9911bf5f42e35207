//! A guest on POWER that writes one TCE after the other, among many that are live.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use iommu_spapr::guest::{Bridge, DefaultWindow};
use vfio_core::address::{HostRange, Iova, IovaRange};
use vfio_core::guest::{AddressSpace, Block, Section};

use super::ours::Ours;

const LIOBN: u32 = 0x8000_0000;
const PAGE: u64 = 4096;
/// Where the memory is said to be.
const MEMORY: usize = 0x7000_0000_0000;
const RAM: u64 = 4 << 30;

pub fn measure(calls: u64, live: u64) -> Result<()> {
    let ours = Ours::over(iommu_spapr::SPAPR_V2)?;
    let space = Arc::new(AddressSpace::new());
    let memory = HostRange::new(MEMORY, RAM as usize).context("memory")?;
    // SAFETY: nothing is mapped: no call reaches a kernel.
    let block = unsafe { Block::new(memory, ()) };
    let ram = IovaRange::new(Iova(0), RAM).context("RAM")?;
    let _ = space
        .edit()
        .insert(Section::ram(ram, &block, 0)?)
        .commit()?;
    let default = DefaultWindow {
        liobn: LIOBN,
        range: IovaRange::new(Iova(0), 1 << 31).context("a window")?,
        page_shift: 12,
    };
    let bridge = Bridge::new(&space, default, None)?;
    bridge.follow(ours.domain())?;
    checks_are_on(&bridge, default.range)?;
    let place = |n: u64| 2 * PAGE * n;
    let tce = |n: u64| (PAGE * (n * 31 % (RAM / PAGE))) | 3;
    for n in 0..live {
        bridge.put(LIOBN, place(n), tce(n))?;
    }
    // One call is of a TCE that goes, and the next one of one that comes.
    for pair in 0..calls / 2 {
        let n = pair * 7919 % live;
        bridge.put(LIOBN, place(n), 0)?;
        bridge.put(LIOBN, place(n), tce(n))?;
    }
    Ok(())
}

/// What is measured is worth nothing without the checks: they are seen to be on.
fn checks_are_on(bridge: &Bridge, window: IovaRange) -> Result<()> {
    let end = window.last().0 + 1;
    for (liobn, ioba, tce) in [
        (LIOBN + 1, 0, 3),
        (LIOBN, end, 3),
        (LIOBN, 0x10, 3),
        (LIOBN, 0, 0x13),
    ] {
        ensure!(
            bridge.put(liobn, ioba, tce).is_err(),
            "{liobn:#x} {ioba:#x} {tce:#x} is put"
        );
    }
    Ok(())
}
