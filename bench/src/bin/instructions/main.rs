//! A map and an unmap, again and again, over a kernel that does nothing: `instructions ours|peer PAIRS [LIVE]`, with so
//! many live mappings beside it; `instructions among PAIRS LIVE`: one of so many goes and comes, any of them, as a guest's own
//! IOMMU has it; `instructions commit PAIRS SECTIONS`: the same of a section of guest memory; `instructions tce CALLS LIVE`: a
//! guest on POWER writes one TCE of so many; `instructions bar READS BYTES`: a guest reads a register of its device, of so many
//! bytes.
//!
//! Whoever runs it counts the instructions of two runs of different lengths: what the one has more than the other
//! is the price of that many pairs, and all that comes before and after them is taken out.

mod bar;
mod commit;
mod ours;
mod quiet;
mod tces;
mod translations;

use std::env::args;

use anyhow::{Context, Result, bail};
use vfio_ioctls::VfioContainer;

/// So many mappings are live while a pair's own is, unless it is said.
const LIVE: u64 = 7;
const START: u64 = 1 << 32;
const SIZE: u64 = 1 << 16;

fn main() -> Result<()> {
    let side = args().nth(1).context("whose? ours or peer")?;
    let pairs = args().nth(2).context("how many pairs?")?.parse()?;
    let live = args().nth(3).map_or(Ok(LIVE), |live| live.parse())?;
    match side.as_str() {
        "ours" => {
            let ours = ours::Ours::new()?;
            ours.checks_are_on()?;
            ours.measure(pairs, live)
        }
        "among" => translations::measure(&ours::Ours::new()?, pairs, live),
        "peer" => peer(pairs, live),
        "bar" => bar::measure(&ours::Ours::new()?, pairs, live),
        "tce" => tces::measure(pairs, live),
        "commit" => commit::measure(&ours::Ours::new()?, pairs, live),
        other => bail!("{other} is neither ours nor peer"),
    }
}

fn peer(pairs: u64, live: u64) -> Result<()> {
    let container = VfioContainer::new(None).context("the peer's container")?;
    let (size, memory) = (SIZE as usize, 0x7000_0000_0000_usize as *mut u8);
    for other in 1..live {
        // SAFETY: nothing is mapped: no call reaches a kernel.
        unsafe { container.vfio_dma_map(START + 2 * SIZE * other, size, memory) }?;
    }
    for _ in 0..pairs {
        // SAFETY: as above.
        unsafe { container.vfio_dma_map(START, size, memory) }?;
        container.vfio_dma_unmap(START, size)?;
    }
    Ok(())
}
