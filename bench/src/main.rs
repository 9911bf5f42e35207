//! What opening devices and giving them a guest's memory costs, in ioctls, beside a peer: `bench FIRST SECOND`, two
//! devices of one group.
//!
//! Prints a line a measurement: its name, ours, the peer's, with tabs between them.

mod count;
mod memory;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use iommu_type1 as _;
use vfio_core::Vfio;
use vfio_core::host::Bdf;
use vfio_ioctls::{VfioContainer, VfioDevice, VfioOps};

use count::ioctls;

fn main() -> Result<()> {
    let devices: Vec<Bdf> = std::env::args()
        .skip(1)
        .map(|name| name.parse().context("read the name of a device"))
        .collect::<Result<_>>()?;
    let [first, second] = devices[..] else {
        anyhow::bail!("two devices of one group are needed");
    };
    let ours = ours(first, second)?;
    let peers = peers(first, second)?;
    for (name, ours, peer) in [
        (
            "ioctls to open the first device of a group",
            ours.0,
            peers.0,
        ),
        (
            "ioctls to open the second device of a group",
            ours.1,
            peers.1,
        ),
        (
            "ioctls to map 64 sections that follow each other and leave together",
            ours.2,
            peers.2,
        ),
    ] {
        println!("{name}\t{ours}\t{peer}");
    }
    Ok(())
}

/// For the first device, for the second, for memory.
type Counts = (u64, u64, u64);

fn ours(first: Bdf, second: Bdf) -> Result<Counts> {
    let vfio = Vfio::new()?;
    let (one, first) = ioctls(|| vfio.open(first));
    let first = first?;
    let (two, second) = ioctls(|| vfio.open(second));
    let second = second?;
    ensure!(one > 0 && two > 0, "calls pass the counter by");
    ensure!(first.domain() == second.domain(), "not of one group");
    let three = memory::ours(first.domain())?;
    second.close()?;
    first.close()?;
    Ok((one, two, three))
}

fn peers(first: Bdf, second: Bdf) -> Result<Counts> {
    let path = |device: Bdf| PathBuf::from(format!("/sys/bus/pci/devices/{device}"));
    let (container_calls, container) = ioctls(|| VfioContainer::new(None));
    let container = Arc::new(container.context("the peer's container")?);
    let memory = Arc::clone(&container);
    let container: Arc<dyn VfioOps> = container;
    let (one, opened) = ioctls(|| VfioDevice::new(&path(first), Arc::clone(&container), false));
    let _first = opened.context("the peer's first device")?;
    let (two, opened) = ioctls(|| VfioDevice::new(&path(second), container, false));
    let _second = opened.context("the peer's second device")?;
    ensure!(one > 0 && two > 0, "calls pass the counter by");
    Ok((container_calls + one, two, memory::peers(&memory)?))
}
